"""The probe "make again, nothing changed": a failure that it mends was stale, not broken; a finished build has nothing to do.

make decides by times alone, so what it rebuilds now is what it should have rebuilt before, or what no build finishes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.evidence import log
from lab.evidence.bundle import Evidence
from lab.evidence.log_faults import faults
from lab.evidence.remake import LOG, Rebuilt, Remake, Written
from lab.evidence.text import clean
from lab.model import Ending, Finding, NotApplicable, Severity, Span

IDS = ("timestamps.remake",)
ID = IDS[0]
MAX_ROWS = 50
MAX_REASONS = 6
NAMES = 3
# What a kernel is made of; another file that is written each time (a list, a note) is a nuisance and no wrong kernel.
PRODUCTS = (
    ".o", ".a", ".ko", ".h", ".S", ".c", ".lds", ".mod", ".so", "vmlinux", "Image", "zImage", "Module.symvers", "System.map",
)  # fmt: skip


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield at most one timestamps.remake."""
    made = evidence.remade
    if made is None:
        yield NotApplicable(
            check="remake",
            because="no second make was recorded (`probe: remake` in a matrix asks for one)",
            natural=True,
        )
        return
    if made.made is not None and made.made.again.ending is not Ending.EXITED:
        ended = made.made.again.ending.replace("-", " ")
        yield NotApplicable(check="remake", because=f"the second make did not come to its end: {ended}")
        return
    if made.made is not None and made.made.again.set_back_s:
        because = f"the machine's clock was set back by {made.made.again.set_back_s:g} s before its end"
        yield NotApplicable(check="remake", because=because)
        return
    again = _failed_targets(evidence)
    failed_again = bool(again) if made.made is None else not made.made.again.ok
    if not _failed(evidence, made):
        if failed_again:
            yield _breaks(again, made)
        elif made.rebuilt or made.written:
            yield _rebuilds(made)
        return
    machine = [fault for fault in (faults(evidence.log) if evidence.log is not None else ()) if fault.machine]
    if machine:
        because = "the build failed by the machine's doing, so what a second make does says nothing of the kernel"
        yield NotApplicable(check="remake", because=because)
    elif failed_again:
        yield _fails_again(evidence, again)
    else:
        yield _mended(evidence, made)


def _failed(evidence: Evidence, made: Remake) -> bool:
    """Whether the first make failed."""
    if made.made is not None:
        return not made.made.first.ok
    return evidence.log is not None and evidence.log.failed


def _failed_targets(evidence: Evidence) -> tuple[str, ...]:
    """Return what the second make failed to make."""
    path = evidence.file(LOG)
    try:
        return tuple(failure.target for failure in log.read(path).failures) if path is not None else ()
    except OSError:
        return ()


def _first_failures(evidence: Evidence) -> tuple[str, ...]:
    return tuple(failure.target for failure in evidence.log.failures) if evidence.log is not None else ()


def _mended(evidence: Evidence, made: Remake) -> Finding:
    failed = _first_failures(evidence)
    target = clean(failed[0]) if failed else "the build"
    told = _roots(made.rebuilt, failed)
    return Finding(
        id=ID,
        severity=Severity.FAIL,
        title="the failed build was stale, not broken: make again, with nothing changed, mends it",
        message=f"'{target}' failed, and make again, with nothing changed, succeeded: it was stale, not broken",
        where=_where(told),
        blame=target if failed else "",
        because=(
            *_reasons(told, made.written),
            "an input came too late for the first make: it was written after what needs it, or with a time that hid it",
        ),
        data=_data("mended", made, failed=failed, again=()),
    )


def _fails_again(evidence: Evidence, again: Sequence[str]) -> Finding:
    failed = _first_failures(evidence)
    same = not failed or bool(set(failed).intersection(again))
    hidden = [one.object for one in evidence.stale_exports if one.hidden]
    if not same:
        message = (
            f"make again fails at '{clean(again[0]) if again else 'another place'}', no longer at '{clean(failed[0])}'"
        )
    elif hidden:
        message = f"make again fails in the same way: it cannot see that '{clean(hidden[0])}' is stale"
    else:
        message = "make again, with nothing changed, fails in the same way: broken, not stale"
    return Finding(
        id=ID,
        severity=Severity.NOTE,
        title="make again fails as well",
        message=message,
        where=Span(file=LOG),
        blame=clean(hidden[0]) if hidden else "",
        data={
            "verdict": "same" if same else "moved",
            "failed": list(failed[:MAX_ROWS]),
            "again": list(again[:MAX_ROWS]),
        },
    )


def _breaks(again: Sequence[str], made: Remake) -> Finding:
    target = clean(again[0]) if again else ""
    return Finding(
        id=ID,
        severity=Severity.FAIL,
        title="a finished build fails when it is made again",
        message=f"the build succeeded, and make again, with nothing changed, fails{f' at {target!r}' if target else ''}",
        where=Span(file=LOG),
        blame=target,
        because=tuple(_reasons(_roots(made.rebuilt), made.written)),
        data=_data("breaks", made, failed=(), again=again),
    )


def _rebuilds(made: Remake) -> Finding:
    told = _roots(made.rebuilt)
    touched = [one.path for one in made.written]
    first = told[0].target if told else touched[0]
    count = len({one.target for one in told}.union(touched))
    product = any(name.endswith(PRODUCTS) for name in (*(one.target for one in told), *touched))
    what = f"'{clean(first)}'" + (f" and {count - 1} more files" if count > 1 else "")
    return Finding(
        id=ID,
        severity=Severity.FAIL if product else Severity.WARNING,
        title=f"a finished build makes {clean(first)} again",
        message=f"make again, with nothing changed, makes {what}: {_why(told[0]) if told else 'without a word'}",
        where=_where(told),
        blame=clean(first),
        because=(
            *_reasons(told[1:], [one for one in made.written if one.path != first]),
            "a finished build has nothing left to do: either the first was not what make wants, or a rule is never satisfied",
        ),
        data=_data("rebuilds", made, failed=(), again=()),
    )


def _roots(rebuilt: Sequence[Rebuilt], failed: Sequence[str] = ()) -> list[Rebuilt]:
    """Return the targets that are not made again because of another one, those that failed first; all if there are none."""
    targets = {one.target for one in rebuilt}
    own = [
        one for one in rebuilt if one.target in failed or ((one.newer or one.reason) and targets.isdisjoint(one.newer))
    ]
    return sorted(own or rebuilt, key=lambda one: (one.target not in failed, not one.newer, one.line))


def _why(one: Rebuilt) -> str:
    if one.newer:
        names = ", ".join(f"'{clean(name)}'" for name in one.newer[:NAMES])
        more = f" and {len(one.newer) - NAMES} more" if one.newer[NAMES:] else ""
        return f"{names}{more} {'is' if len(one.newer) == 1 else 'are'} newer"
    return clean(one.reason) or "its rule tells no reason"


def _reasons(told: Sequence[Rebuilt], written: Sequence[Written]) -> Iterator[str]:
    for one in told[:MAX_REASONS]:
        yield f"'{clean(one.target)}' was made again: {_why(one)}"
    named = {one.target for one in told}
    silent = [one.path for one in written if one.path not in named]
    if silent:
        names = ", ".join(f"'{clean(name)}'" for name in silent[:NAMES])
        yield f"written as well: {names}{f' and {len(silent) - NAMES} more' if silent[NAMES:] else ''}"


def _where(told: Sequence[Rebuilt]) -> Span:
    return Span(file=LOG, first=told[0].line, last=told[0].line) if told else Span(file=LOG)


def _data(verdict: str, made: Remake, *, failed: Sequence[str], again: Sequence[str]) -> dict[str, object]:
    rows = [
        {
            "tool": one.tool,
            "target": one.target,
            "newer": list(one.newer[:MAX_ROWS]),
            "reason": one.reason,
            "line": one.line,
        }
        for one in made.rebuilt[:MAX_ROWS]
    ]
    return {
        "verdict": verdict,
        "failed": list(failed[:MAX_ROWS]),
        "again": list(again[:MAX_ROWS]),
        "rebuilt": rows,
        "rebuilt_count": len(made.rebuilt),
        "written": [one.path for one in made.written[:MAX_ROWS]],
        "written_count": len(made.written),
    }
