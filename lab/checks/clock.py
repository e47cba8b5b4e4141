"""Clocks that disagree or were set: files from the future, a clock set back during the build, two clocks.

What make itself says of it (infra.clock) stands in the log; this is what times alone show.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence import writes
from lab.evidence.bundle import Evidence
from lab.evidence.mtimes import SECOND_NS, is_coarse, span, tick, utc
from lab.evidence.text import clean
from lab.evidence.writes import WRITES
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("timestamps.future", "timestamps.clock")
MAX_FILES = 50
# A clock that a network file system or a virtual machine corrects by less than this confuses nobody.
SLACK_NS = 2 * SECOND_NS
MIN_OBJECTS = 8


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield at most one timestamps.future and one timestamps.clock."""
    if not evidence.mtimes or evidence.copied:
        because = "the files' times are those of a copy" if evidence.mtimes else "there are no files' times to look at"
        yield NotApplicable(check="clock", because=because)
        return
    granularity_ns = evidence.granularity_ns or SECOND_NS
    yield from _future(evidence, granularity_ns)
    told = (*_set_back(evidence), *_apart(evidence, granularity_ns), *_backwards(evidence, granularity_ns))
    yield from told[:1]


def _future(evidence: Evidence, granularity_ns: int) -> Iterator[Finding]:
    captured_ns = evidence.tree.captured_ns
    if not captured_ns:
        return
    limit = captured_ns + max(SLACK_NS, granularity_ns)
    late = sorted(((time, path) for path, time in evidence.mtimes.items() if time > limit), reverse=True)
    if not late:
        return
    time_ns, path = late[0]
    yield Finding(
        id="timestamps.future",
        severity=Severity.WARNING,
        title="files are dated in the future",
        message=f"'{clean(path)}' is dated {utc(time_ns)}, {span(time_ns - captured_ns)} after the tree was read",
        where=Span(file=clean(path)),
        blame=clean(path),
        because=(
            f"{len(late)} files are; make takes such a file for newer than all that is made from it, or does not remake it",
            "the clocks of the machine and of the file server, or of a guest and its host, disagree",
        ),
        data={"files": [path for _, path in late[:MAX_FILES]], "file_count": len(late), "captured_ns": captured_ns},
    )


def _set_back(evidence: Evidence) -> Iterator[Finding]:
    """Yield what the record of writes shows: the kernel keeps the order of events, so only a clock turns their times round."""
    steps = writes.steps_back(evidence.file(WRITES))
    if not steps:
        return
    first = max(steps, key=lambda step: step.before_ns - step.after_ns)
    back_ns = first.before_ns - first.after_ns
    yield _finding(
        "the clock was set back while the build ran",
        f"the clock was set back by {span(back_ns)} while the build ran, from {utc(first.before_ns)}",
        Span(file=WRITES, first=first.line, last=first.line),
        "what was written afterwards is dated before what had been made already: make takes it for older and rebuilds nothing",
        {
            "kind": "set-back",
            "step_ns": back_ns,
            "steps": len(steps),
            "before_ns": first.before_ns,
            "after_ns": first.after_ns,
        },
    )


def _apart(evidence: Evidence, granularity_ns: int) -> Iterator[Finding]:
    """Yield what a comparison of the record with the files' own times shows: two clocks."""
    recorded = evidence.writes
    lag_ns = writes.lag_ns(recorded, evidence.mtimes) if recorded else None
    if lag_ns is None or -SLACK_NS <= lag_ns <= granularity_ns + SLACK_NS:
        return
    how = "behind" if lag_ns > 0 else "ahead of"
    yield _finding(
        "the clock that dates files is not the machine's",
        f"the clock that dates files is {span(abs(lag_ns))} {how} the machine's: so half of the files say, or more",
        Span(file=WRITES),
        "a file server, or the host of a guest, dates files by its own clock; inputs from elsewhere are dated by another",
        {"kind": "apart", "lag_ns": lag_ns},
    )


def _backwards(evidence: Evidence, granularity_ns: int) -> Iterator[Finding]:
    """Yield what a finished tree shows without a record: most objects of vmlinux are newer than vmlinux."""
    ends = [evidence.mtimes[name] for name in ("vmlinux", "System.map") if name in evidence.mtimes]
    if "vmlinux" not in evidence.mtimes:
        return
    linked = [
        path for path, facts in evidence.objects.items() if facts.part_of == "vmlinux" and path in evidence.mtimes
    ]
    end = tick(max(ends), granularity_ns)
    newer = sorted(path for path in linked if tick(evidence.mtimes[path], granularity_ns) > end)
    if len(linked) < MIN_OBJECTS or len(newer) * 2 <= len(linked):
        return
    exact = f"; times here are exact to {span(granularity_ns)}" if is_coarse(granularity_ns) else ""
    yield _finding(
        "vmlinux is older than the objects that it is linked from",
        f"{len(newer)} of {len(linked)} objects of vmlinux are newer than vmlinux ({utc(evidence.mtimes['vmlinux'])}{exact})",
        Span(file="vmlinux"),
        "the clock was set back while the build ran, or vmlinux is left over from an earlier build",
        {"kind": "backwards", "files": newer[:MAX_FILES], "file_count": len(newer), "object_count": len(linked)},
    )


def _finding(title: str, message: str, where: Span, reason: str, data: dict[str, object]) -> Finding:
    return Finding(
        id="timestamps.clock",
        severity=Severity.WARNING,
        title=title,
        message=message,
        where=where,
        because=(reason, "make compares times and nothing else: other findings of this tree may come from its clock"),
        data=data,
    )
