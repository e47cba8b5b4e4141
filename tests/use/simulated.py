"""A session that executes nothing: what became of each attempt is written down beforehand, and kept as a real one keeps it.

"." an attempt that passed, "E" one that was not judged, any other letter a fault of FAULTS.
"""

from dataclasses import replace

from lab.model import AttemptResult, Finding, Outcome, Severity, Span
from lab.results import store, verdict
from lab.use import session


def fault(id_, title, blame, **changes):
    where = Span(file="build.txt", first=7, last=7)
    return replace(
        Finding(id=id_, severity=Severity.FAIL, title=title, message=f"{blame}: {title}", blame=blame, where=where),
        **changes,
    )


FAULTS = {
    "C": fault("build.compiler", "expected expression before ';' token", "lib/ctype.o"),
    "M": fault("modpost.undefined", "'__mcb_register_driver' is undefined", "drivers/tty/serial/8250/8250_men_mcb.ko"),
    "T": fault(
        "timestamps.tie", "make could not see that a dependency is newer than its object", "drivers/mcb/mcb-core.o"
    ),
}
KILLED = fault("infra.out-of-memory", "the kernel of the host ended a process", "", severity=Severity.ERROR)


def attempt(mark, number, folder):
    if mark == "E":
        return AttemptResult(
            number=number,
            outcome=Outcome.ERROR,
            reason="infra.out-of-memory: killed",
            findings=(KILLED,),
            folder=folder,
        )
    if mark == ".":
        return AttemptResult(
            number=number, outcome=Outcome.PASS, reason="built", findings=(), folder=folder, seconds=1.0
        )
    return AttemptResult(
        number=number,
        outcome=Outcome.FAIL,
        reason=FAULTS[mark].id,
        findings=(FAULTS[mark],),
        folder=folder,
        seconds=2.0,
    )


class Machine:
    """Runs sessions by a script: cell -> marks, which are used up. executed: (run, cell, marks) of all sessions."""

    def __init__(self, script=()):
        self.script = {cell: list(marks) for cell, marks in dict(script).items()}
        self.executed = []
        self.stop_after = None

    def run(self, request, settings, tables, sink, stop):
        facts = session.facts_of(request.matrix, request.run, request.cells)
        results = []
        with store.open_run(settings.results, facts) as opened:
            finished = opened.finished()
            for cell in request.cells:
                attempts, marks = [], ""
                for number in range(1, cell.repeat + 1):
                    if (cell.id, number) in finished:
                        attempts.append(finished[cell.id, number])
                        continue
                    if stop.is_set():
                        break
                    marks += self.script[cell.id].pop(0)
                    opened.attempt_folder(cell.id, number)
                    attempts.append(attempt(marks[-1], number, f"{cell.id}/{number}"))
                    opened.keep_attempt(cell.id, attempts[-1])
                    if self.stop_after == cell.id:
                        stop.set()
                results.append(verdict.cell_result(cell, attempts))
                if attempts:
                    opened.keep_result(results[-1])
                self.executed.append((request.run, cell.id, marks))
            opened.keep_history(store.History())
        return session.Session(facts=facts, folder=opened.folder, results=tuple(results), interrupted=stop.is_set())

    def left(self):
        """Marks that nobody used."""
        return {cell: "".join(marks) for cell, marks in self.script.items() if marks}
