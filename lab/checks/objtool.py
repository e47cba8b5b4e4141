"""objtool's command lines held against kbuild's own rules, what it left in the modules, and what it said.

A missing --module is silent on most modules, and where it is not, the build goes on until 7.1: only the command line always
tells. Source: tools/objtool/check.c, create_static_call_sections(); kernel commit 850ded46c642.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

from lab.evidence import objtool, objtool_log, origin
from lab.evidence.bundle import Evidence, Shape
from lab.evidence.log_facts import BuildLog, ObjtoolLine
from lab.evidence.objtool import MODULE, Call, Marks, Violation
from lab.evidence.text import clean
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("objtool.flags", "objtool.sections", "objtool.warning")
MAX_NAMED = 50
MAX_WARNINGS = 100


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield one objtool.flags for each way in which calls break the rules, then what only the modules or the log show."""
    lines = evidence.log.objtool if evidence.log is not None else ()
    told: set[str] = set()
    for answer in _flags(evidence, lines):
        if isinstance(answer, Finding):
            told.update(answer.data["objects"])
        yield answer
    yield from _sections(evidence, lines, told)
    if evidence.log is not None and evidence.build_log is not None:
        yield from log_findings(evidence.log, evidence.name_of(evidence.build_log), told)


def _flags(evidence: Evidence, lines: Sequence[ObjtoolLine]) -> Iterator[Finding | NotApplicable]:
    config = evidence.config
    if not evidence.commands:
        yield NotApplicable(check="objtool", because="there are no .cmd files: its command lines are not known")
        return
    part_of = {path: facts.part_of for path, facts in evidence.objects.items() if facts.part_of}
    calls = tuple(objtool.calls(evidence.commands, evidence.modules_order, part_of))
    if not any(call.flags is not None for call in calls):
        yield from _flags_in_log(evidence, part_of, lines)
        return
    if not config:
        yield NotApplicable(check="objtool", because="without .config nobody knows which flags its calls must have")
        return
    for violation in objtool.violations(calls, config):
        yield _violated(violation, calls, evidence, lines)


def _flags_in_log(
    evidence: Evidence, part_of: Mapping[str, str], lines: Sequence[ObjtoolLine]
) -> Iterator[Finding | NotApplicable]:
    """Yield what a log of make V=1 shows of versions that do not note objtool's calls in .cmd files."""
    printed = evidence.log.objtool_calls if evidence.log is not None else ()
    calls = tuple(objtool_log.calls(printed, evidence.modules_order, part_of))
    if not calls or not evidence.config:
        runs = "y" in (evidence.config.get("OBJTOOL"), evidence.config.get("STACK_VALIDATION"))
        natural = bool(evidence.config) and not runs
        yield NotApplicable(check="objtool", because=_why_none(evidence.config), natural=natural)
        return
    for violation in objtool_log.violations(calls, evidence.config):
        yield _violated(violation, calls, evidence, lines)


def _why_none(config: Mapping[str, str]) -> str:
    if config.get("STACK_VALIDATION") == "y" and "OBJTOOL" not in config:
        return "this version does not note objtool's calls in .cmd files: a log of make V=1 would show them"
    if config.get("OBJTOOL") == "y":
        return "CONFIG_OBJTOOL=y, but no .cmd file of a kernel's object is there that could name it"
    if config.get("HAVE_OBJTOOL") == "y":
        return "CONFIG_OBJTOOL is not set: objtool does not run in this build"
    if config.get("HAVE_STACK_VALIDATION") == "y":
        return "CONFIG_STACK_VALIDATION is not set: until 5.18 objtool runs with that alone"
    return "objtool does not know this architecture: there is no HAVE_OBJTOOL (until 5.18, HAVE_STACK_VALIDATION)"


def _violated(violation: Violation, calls: Sequence[Call], evidence: Evidence, lines: Sequence[ObjtoolLine]) -> Finding:
    first = violation.calls[0]
    broken = {call.object: found for call in violation.calls if (found := _marks(call.module, evidence)) and found.half}
    worst = next((call for call in violation.calls if call.object in broken), first)
    names = [call.object for call in violation.calls]
    said = next((line for line in lines if line.object in names), None)
    severe = violation.uncalled or violation.missing
    return Finding(
        id="objtool.flags",
        severity=Severity.FAIL if severe else Severity.WARNING,
        title=f"objtool {_how(violation)} on a {violation.role.value}",
        message=f"objtool {_how(violation)} on {clean(worst.object)}{_more(names)}: {_why(violation)}",
        where=_proof(worst, said, evidence),
        blame=worst.module or worst.object,
        because=tuple(_reasons(violation, worst, calls, broken, evidence, said)),
        data={
            "objects": names[:MAX_NAMED],
            "object_count": len(names),
            "role": violation.role.value,
            "missing": list(violation.missing),
            "superfluous": list(violation.superfluous),
            "uncalled": violation.uncalled,
            "damaged": sorted(broken)[:MAX_NAMED],
            "intact": _intact(violation, evidence)[:MAX_NAMED],
            "call": worst.line,
        },
    )


def _how(violation: Violation) -> str:
    if violation.uncalled:
        return "did not run"
    parts = []
    if violation.missing:
        parts.append(f"ran without {' '.join(violation.missing)}")
    if violation.superfluous:
        parts.append(f"{'and ' if parts else 'ran '}with {' '.join(violation.superfluous)}")
    return " ".join(parts)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _why(violation: Violation) -> str:
    if MODULE in violation.missing:
        return "it takes a module's static calls for the kernel's own, and stops half-way at a key that is not exported"
    return "kbuild's rules ask otherwise of such an object in this configuration"


def _proof(call: Call, said: ObjtoolLine | None, evidence: Evidence) -> Span:
    if said is not None and evidence.build_log is not None:
        return Span(file=evidence.name_of(evidence.build_log), first=said.at, last=said.at)
    if call.at and evidence.build_log is not None:
        return Span(file=evidence.name_of(evidence.build_log), first=call.at, last=call.at)
    if evidence.shape is Shape.ATTEMPT:
        return Span(file="commands.jsonl", first=call.number, last=call.number)
    return Span(file=evidence.commands[call.number - 1].file, first=1, last=1)


def _reasons(
    violation: Violation,
    worst: Call,
    calls: Sequence[Call],
    broken: Mapping[str, Marks],
    evidence: Evidence,
    said: ObjtoolLine | None,
) -> Iterator[str]:
    wanted = violation.wanted or objtool.expected(violation.role, evidence.config) or frozenset()
    option = objtool.delayed(evidence.config)
    when = (
        f"CONFIG_{option}=y makes objtool wait for linked objects"
        if option
        else "objtool runs on each object as it is made"
    )
    yield f"{when}; on a {violation.role.value} it must have {' '.join(sorted(wanted))}"
    sibling = next(
        (call for call in calls if call.flags and MODULE in call.flags and call.role in objtool.IN_MODULE), None
    )
    if MODULE in violation.missing and sibling is not None:
        yield f"{clean(sibling.object)}, a {sibling.role.value} of the same build, has {MODULE}"
    if said is not None:
        yield f"it said: {clean(said.message)}"
    if worst.object in broken:
        found = broken[worst.object]
        yield (
            f"{clean(worst.module)}: {objtool.STATIC_CALLS} has {found.sites} entries and {found.relocations} relocations "
            f"(two each are needed): loading it follows pointers that are none"
        )
    lacking = _lacking(worst.module, evidence)
    if lacking:
        yield f"{clean(worst.module)} lacks {', '.join(lacking)}, which other modules of this build have"
    linked = evidence.commands[worst.number - 1].command if worst.number and worst.role is objtool.Role.MULTI else ""
    if linked:
        yield f"linked by: {clean(origin.shortened(origin.without_objtool(linked)))}"
    if worst.line:
        yield f"by hand, in O=: OBJTOOL_VERBOSE=1 {clean(worst.line)}"


# ------------------------------------------------------------------------------------------- what it left in the modules


def _marks(module: str, evidence: Evidence) -> Marks | None:
    found = next((one for one in evidence.modules if one.path == module), None)
    return found.read.marks if found is not None and found.read is not None else None


def _all_marks(evidence: Evidence) -> dict[str, Marks]:
    return {one.path: one.read.marks for one in evidence.modules if one.read is not None and one.read.marks is not None}


def _intact(violation: Violation, evidence: Evidence) -> list[str]:
    """Return the modules that were read and have all that objtool writes there: the wrong call did them no harm."""
    marks = _all_marks(evidence)
    unwritten = objtool.unwritten(marks, evidence.config)
    called = {call.module for call in violation.calls}
    return sorted(path for path, one in marks.items() if path in called and not one.half and path not in unwritten)


def _lacking(module: str, evidence: Evidence) -> list[str]:
    """Return sections that more than half of the other modules have and this one does not."""
    mine = _marks(module, evidence)
    if mine is None or not mine.text:
        return []
    others = [
        found for one in evidence.modules if one.path != module and (found := _marks(one.path, evidence)) is not None
    ]
    return [
        name
        for name in objtool.SECTIONS
        if name not in mine.sections and 2 * sum(name in one.sections for one in others) > len(others)
    ]


def _sections(evidence: Evidence, lines: Sequence[ObjtoolLine], told: set[str]) -> Iterator[Finding]:
    """Yield modules that lack what objtool writes: because of its command line, or although that was right."""
    found = _all_marks(evidence)
    unwritten = objtool.unwritten(found, evidence.config)
    for module, marks in found.items():
        name = module.removesuffix(".ko") + ".o"
        if not (marks.half or module in unwritten):
            continue
        said = next((line for line in lines if line.object == name), None)
        told.add(name)
        yield _unwritten(module, marks, unwritten.get(module, ()), said, evidence)


def _unwritten(
    module: str, marks: Marks, lacking: Sequence[str], said: ObjtoolLine | None, evidence: Evidence
) -> Finding:
    file = next((one.file for one in evidence.modules if one.path == module), None)
    proof = Span(file=evidence.name_of(file)) if file is not None else Span(file=module)
    if said is not None and evidence.build_log is not None:
        proof = Span(file=evidence.name_of(evidence.build_log), first=said.at, last=said.at)
    what = [f"{objtool.STATIC_CALLS}: {marks.sites} entries, {marks.relocations} relocations"] if marks.half else []
    what += [f"no {', no '.join(lacking)}"] if lacking else []
    reasons = ["two relocations are needed for each; loading it follows pointers that are none"] if marks.half else []
    reasons += [clean(reason) for reason in _why_needed(lacking, marks, evidence)]
    reasons += [f"objtool said: {clean(said.message)}"] if said is not None else []
    return Finding(
        id="objtool.sections",
        severity=Severity.FAIL,
        title="objtool stopped half-way in a module" if marks.half else "a module lacks what objtool writes",
        message=f"{clean(module)}: {'; '.join(what)}",
        where=proof,
        blame=module,
        because=tuple(reasons),
        data={"module": module, "sites": marks.sites, "relocations": marks.relocations, "lacking": list(lacking)},
    )


def _why_needed(lacking: Sequence[str], marks: Marks, evidence: Evidence) -> Iterator[str]:
    for section, options, symbol in objtool.WRITTEN:
        option = next((one for one in options if evidence.config.get(one) == "y"), "")
        if section in lacking:
            code = f"code that refers to {symbol}" if symbol else f"code ({marks.text} bytes of it here)"
            yield f"CONFIG_{option}=y: objtool writes {section} into every module with {code}"
    if lacking:
        yield "objtool did not run on it, did not finish, or the section was taken out later (objcopy, strip)"


# ------------------------------------------------------------------------------------------------------ what it said


def log_findings(log: BuildLog, file: str, told: Set[str] = frozenset()) -> Iterator[Finding]:
    """Yield what objtool warned of, from a build log alone. told: objects that were told of with more than their warning."""
    seen: set[tuple[str, str]] = set()
    failed = log.failed  # then an "error:" is told as what stopped the build
    for line in log.objtool:
        key = (line.object, line.message)
        if line.object in told or (line.fatal and failed) or line.trace or key in seen or len(seen) >= MAX_WARNINGS:
            continue
        seen.add(key)
        stopped = line.lacks_key
        what = line.message.partition(": ")[2] if line.function and ": " in line.message else line.message
        yield Finding(
            id="objtool.warning",
            severity=Severity.FAIL if stopped else Severity.WARNING,
            title=f"objtool: {clean(what)}",
            message=f"objtool warned of {clean(line.object) or 'its options'}: {clean(line.message)}",
            where=Span(file=file, first=line.at, last=line.at),
            blame=line.object,
            function=line.function,
            because=("until 7.1 it then leaves the object half-written, and the build goes on",) if stopped else (),
            data={"object": line.object, "message": line.message, "function": line.function, "offset": line.offset},
        )
