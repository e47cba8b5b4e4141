"""Lines of the source from debugging information, read by a tool in a container of ours: see lab.evidence.lines."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import kbuild
from lab.environment import image
from lab.environment.cache import Holds
from lab.environment.engine import Engine, Mount, Place
from lab.errors import EnvironmentFault
from lab.evidence import boots, code, console, lines, traces
from lab.evidence.bundle import Evidence
from lab.evidence.code import Kernel
from lab.evidence.elf import UnreadableError, open_elf
from lab.evidence.lines import Line, Lines, Where
from lab.model import Ending, Step
from lab.results.disk import write_bytes
from lab.settings import Settings
from lab.tables import Tables

DEADLINE_S = 300.0
MEMORY_MIB = 4096
ASKED_AT_MOST = 5000
ANSWER_BYTES = 8 << 20  # of one question list: names in debugging information have no bound of their own
# Section names are a stranger's: they come from files and stand between quotes.
SCRIPT = """
for list in "$0"/*.in; do
    n=${list%.in}
    echo "$1 ${n##*/}"
    if [ -s "$n.section" ]; then
        eu-addr2line -a -f -i -e "$n.elf" -j "$(cat "$n.section")" <"$list" 2>/dev/null | head -c "$2"
    else
        eu-addr2line -a -f -i -e "$n.elf" <"$list" 2>/dev/null | head -c "$2"
    fi
    echo
done
"""


def read(
    wanted: Sequence[Where], first: Where | None, kernel: Kernel, settings: Settings, tables: Tables, engine: Engine,
    say: Callable[[str], None] = lambda text: None,
) -> dict[Where, tuple[Line, ...]]:  # fmt: skip
    """Return the lines of the places of a kernel, with files as its tree names them; places without any are left out.

    first: whose line tells where the source tree is. Nothing is run where no file has debugging information. Raises
    EnvironmentFault if there is no image for this machine, or the container fails; what the tool makes of a damaged file is no
    error.
    """
    groups = _groups(wanted[:ASKED_AT_MOST], kernel)
    if not groups:
        return {}
    name = tables.lines_image(os.uname().machine)
    if name is None:
        raise EnvironmentFault(f"no image has addr2line for this machine ({os.uname().machine})", finding="infra.image")
    settings.cache.mkdir(parents=True, exist_ok=True)
    with Holds(settings) as holds, tempfile.TemporaryDirectory(prefix="lines-", dir=settings.cache) as scratch:
        built = image.prepare(tables.image[name], engine, settings, say, holds)
        folder = Path(scratch)
        folder.chmod(0o755)
        text, mark = _asked(groups, kernel, folder, settings, engine, built.id)
    found = _told(text, mark, groups)
    return lines.in_tree(found, lines.tree_of(found, first))


def keep(folder: Path, settings: Settings, tables: Tables, engine: Engine, say: Callable[[str], None]) -> None:
    """Read the lines of every crash on the consoles of an evidence folder, and keep them there for the checks.

    Only where the kernel has debugging information. What keeps the tool from running keeps nothing else from being judged: it
    is said, and the checks do without lines.
    """
    evidence = Evidence(folder)
    consoles = [one.console for one in boots.found(evidence.steps, evidence.file, evidence.name_of) if one.console]
    crashed = [(path, crashes) for path in consoles if (crashes := console.read(path).crashes)]
    if not crashed:
        return
    kernel = code.of_evidence(evidence)
    said = [traces.said(path, crashes) for path, crashes in crashed]
    found = tuple(trace for one in said for trace in traces.traces(one, kernel, {}, None))
    try:
        known = read(traces.wanted(found, kernel), traces.first_of(kernel), kernel, settings, tables, engine, say)
        if known:
            write_bytes(folder / lines.NAME, "".join(lines.jsonl(known)).encode("utf-8", "surrogateescape"))
    except EnvironmentFault as error:
        say(f"file and line of the crash are not known: {error.message}")


def _groups(wanted: Sequence[Where], kernel: Kernel) -> dict[tuple[str, str], list[int]]:
    """Return (object, section) -> addresses, of files that have debugging information."""
    groups: dict[tuple[str, str], list[int]] = {}
    for one in dict.fromkeys(wanted):
        groups.setdefault((one.object, one.section), []).append(one.address)
    lined = {name: kernel.lined(name) for name in dict.fromkeys(name for name, _ in groups)}
    return {key: addresses for key, addresses in groups.items() if lined[key[0]]}


def _asked(
    groups: dict[tuple[str, str], list[int]],
    kernel: Kernel,
    folder: Path,
    settings: Settings,
    engine: Engine,
    built: str,
) -> tuple[str, str]:
    """Lay out the files and the questions, run the tool on them; return what it said and the mark before each answer."""
    shown = folder / "in"
    shown.mkdir()
    copies: dict[str, Path] = {}
    for number, ((name, section), addresses) in enumerate(groups.items()):
        target = shown / f"{number}.elf"
        if name in copies:
            os.link(copies[name], target)
        else:
            _copied(kernel.file(name), target)
            copies[name] = target
        (shown / f"{number}.section").write_bytes(section.encode("utf-8", "surrogateescape"))
        (shown / f"{number}.in").write_text("".join(f"{address:#x}\n" for address in addresses))
    mark = secrets.token_hex(16)
    step = Step(
        name="lines",
        argv=("sh", "-c", SCRIPT, kbuild.LAB, mark, str(ANSWER_BYTES)),
        workdir="/",
        deadline_s=DEADLINE_S,
        log="lines.txt",
        environment=(("PATH", "/usr/bin:/bin"), ("LC_ALL", "C")),
    )
    place = Place(
        image=built, user=f"{settings.uid}:{settings.gid}", mounts=(Mount(host=shown, inside=kbuild.LAB),),
        memory_mib=MEMORY_MIB,
    )  # fmt: skip
    log = folder / step.log
    ended = engine.execute(step, place, log)
    if ended.ending is not Ending.EXITED:
        detail = ended.detail or "nothing more is known"
        raise EnvironmentFault(f"addr2line ended by {ended.ending.value}", facts=(("detail", detail),))
    return (log.read_bytes() if log.is_file() else b"").decode("utf-8", "surrogateescape"), mark


def _copied(path: Path | None, target: Path) -> None:
    """Put an unpacked copy where the container may read it; a file that has gone or is damaged becomes an empty one."""
    try:
        with target.open("wb") as file:
            if path is not None:
                with open_elf(path) as elf:
                    elf.copy_to(file)
    except UnreadableError:
        target.write_bytes(b"")
    target.chmod(0o644)


def _told(text: str, mark: str, groups: dict[tuple[str, str], list[int]]) -> Lines:
    found: dict[Where, tuple[Line, ...]] = {}
    keys = list(groups.items())
    for part in text.split(f"{mark} ")[1:]:
        number, _, said = part.partition("\n")
        if not number.isdigit() or int(number) >= len(keys):
            continue
        (name, section), addresses = keys[int(number)]
        answered = lines.answers(said, len(addresses))
        for address, chain in zip(addresses, answered or (), strict=False):
            if chain:
                found[Where(object=name, section=section, address=address)] = chain
    return found
