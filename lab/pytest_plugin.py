"""`pytest matrices/x.yaml`: the cells of a matrix as test items, in the same store as `lab run`.

A matrix is collected only if its file is named on the command line, and nothing of the lab is imported before. With
pytest-xdist each cell is one item and so never split; the workers share one run, and shared preparations are done once, under
the cache's locks.

    PASS   passed                    SKIP   skipped
    FAIL   failed                    XFAIL  xfailed (with --runxfail: failed)
    ERROR  error (at setup)          XPASS  failed, as with strict xfail
    MISS   error (at setup)

Steps, findings and checks that could not look are sub-results (subtests, pytest 9); what the lab could not judge has no failed
ones.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab.events import Event
    from lab.model import Cell, Result
    from lab.results.store import Run
    from lab.settings import Settings

LOGGER = logging.getLogger("lab")
LOOKS_LIKE_A_MATRIX = (
    re.compile(r"^version:\s*1\b", re.MULTILINE),
    re.compile(r"^(matrix|defaults|include):", re.MULTILINE),
)
HEAD_CHARS = 65536
SHARED = "lab_started_at_s"
"""In a worker's input: when the session began, from which all workers make the same name of the run."""

started = pytest.StashKey[float]()
open_runs = pytest.StashKey["dict[Path, Run]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("lab", "kbuild-lab: cells of a matrix as tests")
    group.addoption(
        "--lab-run",
        metavar="NAME",
        default="",
        help="name of the run; judged cells of one that exists are not repeated",
    )
    group.addoption("--lab-accel", choices=("auto", "tcg", "kvm"), default="auto", help="how guests run")


def pytest_configure(config: pytest.Config) -> None:
    """Note when the session began; a worker of xdist is told by who started it."""
    given = getattr(config, "workerinput", {})
    config.stash[started] = float(given.get(SHARED, time.time()))
    config.stash[open_runs] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker when the session began (pytest-xdist's hook)."""
    node.workerinput[SHARED] = node.config.stash[started]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let others work in the runs."""
    for run in config.stash.get(open_runs, {}).values():
        run.close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a matrix that was named on the command line; every other file is left to others."""
    if file_path.suffix not in (".yaml", ".yml") or not parent.session.isinitpath(file_path):
        return None
    with file_path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(HEAD_CHARS)
    if not all(pattern.search(head) for pattern in LOOKS_LIKE_A_MATRIX):
        return None
    made: pytest.Collector = MatrixFile.from_parent(parent, path=file_path)
    return made


class MatrixFile(pytest.File):
    """A matrix: its cells are its items."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield the cells. A mistake in the matrix is an error of collection, told with its positions."""
        from lab.cli.plumbing import load_tables
        from lab.errors import LabError
        from lab.matrix.expand import expand
        from lab.matrix.read import read

        try:
            matrix = read(self.path, load_tables())
            cells = expand(matrix)
        except LabError as error:
            raise self.CollectError(str(error)) from error
        for cell in cells:
            yield CellItem.from_parent(self, name=cell.id, cell=cell, matrix=matrix.name)


class CellItem(pytest.Item):
    """A cell. `-k` finds it by its id, by what is chosen on an axis ("ext4-128") and by both ("filesystem:ext4-128")."""

    def __init__(self, *, cell: Cell, matrix: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.cell, self.matrix = cell, matrix
        self.result: Result | None = None
        for axis, text in cell.axes:
            self.extra_keyword_matches |= {text, f"{axis}:{text}"}
            self.user_properties.append((axis, text))

    def setup(self) -> None:
        """Build, check and boot the cell. What could not be judged is an error here, before there is anything to fail."""
        from lab.errors import LabError
        from lab.model import Outcome

        try:
            self.result = judged_cell(self)
        except LabError as error:
            pytest.fail(str(error), pytrace=False)
        told(self, self.result)
        if self.result.outcome in (Outcome.ERROR, Outcome.MISS):
            pytest.fail(self.story(), pytrace=False)

    def runtest(self) -> None:
        """Say the verdict."""
        from lab.model import Outcome

        assert self.result is not None, "setup() has run the cell"
        outcome, reason = self.result.outcome, self.result.reason
        if outcome is Outcome.SKIP:
            pytest.skip(reason)
        if outcome is Outcome.XFAIL and not self.config.option.runxfail:
            pytest.xfail(reason)
        if outcome is Outcome.XPASS:
            pytest.fail(f"[XPASS(strict)] {reason}", pytrace=False)
        if outcome is not Outcome.PASS:
            pytest.fail(self.story(), pytrace=False)

    def story(self) -> str:
        """Return the reason, the findings as `lab check` prints them, and where the evidence is: other tests' traceback."""
        from lab.report.document import findings_of
        from lab.report.text import findings_text

        assert self.result is not None
        found = findings_text(one for one in findings_of(self.result) if one.decides)
        run = self.config.stash[open_runs].get(self.path)
        attempt = next((one.folder for one in self.result.attempts if one.outcome == self.result.outcome), "")
        evidence = f"evidence: {run.folder / attempt}" if run and attempt else ""
        return "\n\n".join(filter(None, (self.result.reason, found.rstrip(), evidence)))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where the cell is from."""
        return self.path, None, self.name


def judged_cell(item: CellItem) -> Result:
    """Run a cell in the session's run and return its verdict. Raises KeyboardInterrupt if the user ended it."""
    from lab.cli.plumbing import load_tables, settings
    from lab.use import session

    given = getattr(item.config, "workerinput", {})
    options = settings()
    # each worker has its share of the machine
    options = replace(options, cores=max(1, options.cores // int(given.get("workercount", 1))))
    request = session.Request(
        matrix=item.path, name=item.matrix, cells=(item.cell,), accel=item.config.option.lab_accel
    )
    stop = threading.Event()
    with interruptible(stop):
        done = session.work(run_of(item, options), request, options, load_tables(), said, stop)
    if done.interrupted:
        raise KeyboardInterrupt
    return done.results[0]


def run_of(item: CellItem, options: Settings) -> Run:
    """Return the run of this session for the item's matrix, opened when the first of its cells is run.

    Its cells are those that are selected: the same for all workers, which open it shared.
    """
    from lab.results import store
    from lab.use.session import facts_of

    runs = item.config.stash[open_runs]
    if item.path not in runs:
        at_s = item.config.stash[started]
        cells = tuple(one.cell for one in item.session.items if isinstance(one, CellItem) and one.path == item.path)
        facts = replace(
            facts_of(item.path, item.config.option.lab_run or store.run_name(item.matrix, at_s), cells),
            started_at_s=at_s,
        )
        runs[item.path] = store.open_run(options.results, facts, shared=True)
    return runs[item.path]


class interruptible:  # noqa: N801
    """While a cell is run, a first Ctrl-C lets it end in order, a second one at once. Only the main thread has signals."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._before: Any = None

    def __enter__(self) -> None:
        """Take the signal over."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupted)

    def __exit__(self, *error: object) -> None:
        """Give it back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number: int, frame: object) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()


def said(event: Event) -> None:
    """Log what a cell is doing: `--log-cli-level=INFO` shows it."""
    from lab.events import JobStarted, Note

    if isinstance(event, Note):
        LOGGER.info("%s", event.text)
    elif isinstance(event, JobStarted):
        LOGGER.info("%s", event.title)


# ----------------------------------------------------------------------------------------------------------- sub-results


def told(item: CellItem, result: Result) -> None:
    """Report steps, findings that decide, and checks that could not look, as sub-results of the item, if pytest has them.

    A failed one only where the verdict is FAIL; of an expected fault it is xfailed. None of what was not judged.
    """
    for words, outcome, text in parts(result, runxfail=item.config.option.runxfail):
        if hasattr(pytest, "SubtestReport"):
            item.ihook.pytest_runtest_logreport(report=sub_report(item, words, outcome, text))


def parts(result: Result, *, runxfail: bool = False) -> Iterator[tuple[str, str, str]]:
    """Yield (what, outcome, text) of each sub-result; outcome: passed, failed, skipped or xfailed."""
    from lab.model import Outcome
    from lab.report.document import findings_of
    from lab.report.plain import duration, one_line

    several = len(result.attempts) > 1
    for attempt in result.attempts:
        name = f"attempt {attempt.number}, " if several else ""
        for step in attempt.steps:
            if step.ok:
                yield f"{name}step {step.name}, {duration(step.seconds)}", "passed", ""
        for gap in attempt.not_applicable:
            if not gap.natural:
                yield f"{name}check {gap.check}", "skipped", one_line(gap.because)
    expected = result.outcome is Outcome.XFAIL and not runxfail
    if result.outcome in (Outcome.FAIL, Outcome.XFAIL):
        for finding in findings_of(result):
            if finding.decides:
                words = one_line(f"{finding.id} {finding.blame}", at_most=120)
                yield words, "xfailed" if expected else "failed", one_line(finding.message)


def sub_report(item: CellItem, words: str, outcome: str, text: str) -> Any:
    """Return the report of a sub-result. It has no duration: the item's own holds all."""
    from _pytest.subtests import SubtestContext

    longrepr: Any = {"passed": None, "failed": text}.get(outcome, (str(item.path), 0, text))
    report = pytest.SubtestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="skipped" if outcome == "xfailed" else outcome,  # type: ignore[arg-type]
        longrepr=longrepr,
        when="call",
    )
    report.context = SubtestContext(msg=words, kwargs={})
    if outcome == "xfailed":
        report.wasxfail = text
    return report


# --------------------------------------------------------------------------------------------------------------- the end


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page of each run that this process, or its workers, have worked in."""
    if hasattr(session.config, "workerinput"):
        return
    for folder in folders_of(session.config):
        from lab.report import page
        from lab.results import store

        facts = store.read(store.RunFacts, folder / "run.json")
        results = store.read_results(folder)
        if facts and results:
            page.write_page(facts, results, folder)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the evidence is."""
    for folder in folders_of(config):
        terminalreporter.write_line(f"lab: {folder / 'report.html'}")


def folders_of(config: pytest.Config) -> list[Path]:
    """Return the folders of this session's runs; with workers, those that began with it. Never imports the lab for others."""
    own = [run.folder for run in config.stash.get(open_runs, {}).values()]
    if own or not config.pluginmanager.hasplugin("dsession") or not any(is_yaml(word) for word in config.args):
        return own
    from lab.cli.plumbing import settings
    from lab.results import store

    root, at_s, named = settings().results, config.stash[started], config.option.lab_run
    found = [root / named] if named else sorted(root.glob(f"*{time.strftime('-%Y%m%d-%H%M%S', time.gmtime(at_s))}"))
    read = ((folder, store.read(store.RunFacts, folder / "run.json")) for folder in found)
    return [folder for folder, facts in read if facts and (named or facts.started_at_s == at_s)]


def is_yaml(word: str) -> bool:
    """Whether an argument of the command line may name a matrix."""
    return word.split("::", 1)[0].endswith((".yaml", ".yml"))
