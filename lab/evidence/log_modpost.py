"""One line of modpost -> ModpostLine, for every form that 4.14 to 7.2 print.

Until 5.4 a line starts with "WARNING: " or "ERROR: " alone, later with "WARNING: modpost: "; 6.12 has no "FATAL: " any more.
The forms are those of merror(), warn(), error() and fatal() in scripts/mod/modpost.c of 4.14, 5.10, 6.1, 6.12 and 7.2, and of
the recipe in scripts/Makefile.modpost.
"""

from __future__ import annotations

import re

from lab.evidence.log_facts import BuildLog, Fact, MakeFailure, ModpostKind, ModpostLine

UNDEFINED = re.compile(
    r'(?P<word>ERROR|WARNING): (?:modpost: )?"(?P<symbol>[^"]+)" \[(?P<module>\S+?)(?:\.ko)?\] undefined!$'
)
PREFIX = re.compile(r"(?P<word>ERROR|WARNING|FATAL): (?P<ours>modpost: )?(?P<message>.*)$")

_WHO = r"(?:function|variable|\(unknown reference\))"
_FORMS = (
    (
        ModpostKind.NAMESPACE,
        r"module (?P<module>\S+) uses symbol (?P<symbol>\S+) from namespace (?P<namespace>.+?), but does not",
    ),
    (ModpostKind.NAMESPACE, r'(?P<module>[^\s:]+): explicitly importing namespace "(?P<namespace>[^"]+)" is not allowed'),
    # up to 6.1, and for exception tables of 6.1; the names may be "(unknown)"
    (
        ModpostKind.SECTION_MISMATCH,
        r"(?P<module>[^\s(]+)\((?P<from_section>[^\s+]+)\+0x[0-9a-f]+\): Section mismatch in reference from the "
        rf"{_WHO} (?P<from_symbol>\S+) to the {_WHO} (?:(?P<to_section>[^\s:]+):)?(?P<to_symbol>\S+)",
    ),
    # 6.1 on; "+0x12" behind the first name since 6.5, which may be missing
    (
        ModpostKind.SECTION_MISMATCH,
        r"(?P<module>[^\s:]+): section mismatch in reference: (?P<from_symbol>[^\s(]*?)(?:\+?0x[0-9a-f]+)? "
        r"\(section: (?P<from_section>[^)]*)\) -> (?P<to_symbol>\S*) \(section: (?P<to_section>[^)]*)\)",
    ),
    (ModpostKind.SECTION_MISMATCH, r"(?P<module>[^\s(:]+)(?:\(\S+\))?: [Ss]ection mismatch in reference"),
    (ModpostKind.SECTION_MISMATCH, r"(?P<module>[^\s:]+): EXPORT_SYMBOL used for init/exit symbol: (?P<to_symbol>\S+)"),
    (ModpostKind.SECTION_MISMATCH, r"(?P<module>[^\s:]+): (?P<to_symbol>[^\s:]+): EXPORT_SYMBOL used for (?:init|exit) symbol"),
    (ModpostKind.SECTION_MISMATCH, r"Section mismatches detected\."),
    (ModpostKind.SECTION_MISMATCH, r"Found \d+ section mismatch"),  # without CONFIG_DEBUG_SECTION_MISMATCH, in 4.14
    (ModpostKind.SECTION_MISMATCH, r"The relocation at \S+ references"),
    (
        ModpostKind.SECTION_MISMATCH,
        r"(?P<from_section>\S+)\+0x[0-9a-f]+ references non-executable section '(?P<to_section>[^']*)'",
    ),
    (ModpostKind.SECTION_MISMATCH, r"(?P<module>\S+) \((?P<to_section>[^)]*)\): unexpected non-allocatable section"),
    (ModpostKind.LICENSE, r"missing MODULE_LICENSE\(\) in (?P<module>\S+)"),
    (
        ModpostKind.LICENSE,
        r"GPL-incompatible module (?P<module>\S+) uses (?:future )?GPL-only symbol (?:marked UNUSED )?'(?P<symbol>[^']+)'",
    ),
    (
        ModpostKind.EXPORTED_TWICE,
        r"(?P<module>\S+): '(?P<symbol>[^']+)' exported twice(?:\. Previous export was in (?P<previous>\S+))?",
    ),
    (ModpostKind.VERSION, r'EXPORT symbol "(?P<symbol>[^"]+)" \[(?P<module>[^\]]+)\] version'),
    (ModpostKind.VERSION, r'"(?P<symbol>[^"]+)" \[(?P<module>[^\]]+)\] has no CRC!'),
    (ModpostKind.EXPORT, r'"(?P<symbol>[^"]+)" \[(?P<module>[^\]]+)\] was exported without definition'),
    (ModpostKind.EXPORT, r'"(?P<symbol>[^"]+)" \[(?P<module>[^\]]+)\] is a static (?:EXPORT|\(unknown\))'),  # 5.10
    (ModpostKind.EXPORT, r"(?P<module>[^\s:]+): local symbol '(?P<symbol>[^']+)' was exported"),
    (
        ModpostKind.EXPORT,
        r"(?P<module>[^\s:]+): \.export_symbol section (?:contains strange symbol|references) '(?P<symbol>[^']+)'",
    ),
    (ModpostKind.EXPORT, r"(?P<module>[^\s:]+): unknown license '[^']*' was specified for '(?P<symbol>[^']+)'"),
    (ModpostKind.OTHER, r'"(?P<symbol>[^"]+)" \[(?P<module>[^\]]+)\] is COMMON symbol'),
    (ModpostKind.OTHER, r'too long symbol "(?P<symbol>[^"]+)" \[(?P<module>[^\]]+)\]'),
    (ModpostKind.OTHER, r"module name is too long \[(?P<module>[^\]]+)\]"),
    (ModpostKind.MISSING_INPUT, r"(?:vmlinux\.o|Module\.symvers|vmlinux\.symvers|\S+/Module\.symvers) is missing\."),
    (ModpostKind.MISSING_INPUT, r'Symbol version dump "?\S+?"?(?: is missing|$)'),
    (ModpostKind.MISSING_INPUT, r"Symbol info of vmlinux is missing"),
    (ModpostKind.SUPPRESSED, r"suppressed \d+ unresolved symbol warnings"),
)  # fmt: skip
FORMS = tuple((kind, re.compile(form)) for kind, form in _FORMS)
# 6.12 and later warn of each such module, thousands in an allmodconfig build: no fault, and no room for them among the facts.
NOISE = re.compile(r"missing MODULE_DESCRIPTION\(\) in ")
_REFERENCE = ("from_symbol", "from_section", "to_symbol", "to_section")


def modpost_line(text: str, at: int, context: object) -> Fact | None:
    """Return what a line of modpost says about a symbol, a module or its input; None for NOISE and lines of others."""
    if match := UNDEFINED.match(text):
        return ModpostLine(
            at=at, text=text, kind=ModpostKind.UNDEFINED, fatal=match["word"] == "ERROR", symbol=match["symbol"],
            message=f'"{match["symbol"]}" [{match["module"]}.ko] undefined!', module=f"{match['module']}.ko",
        )  # fmt: skip
    match = PREFIX.match(text)
    if not match or NOISE.match(match["message"]):
        return None
    fatal, message = match["word"] != "WARNING", match["message"]
    for kind, form in FORMS:
        if found := form.match(message):
            groups = {name: value for name, value in found.groupdict().items() if value}
            ends = tuple(groups.pop(name, "").removesuffix("()") for name in _REFERENCE)
            reference = ends if any(ends) else ()
            return ModpostLine(at=at, text=text, kind=kind, fatal=fatal, message=message, reference=reference, **groups)
    if not match["ours"]:
        return None
    return ModpostLine(at=at, text=text, kind=ModpostKind.OTHER, fatal=fatal, message=message)


def failure_of(log: BuildLog, at: int) -> MakeFailure | None:
    """Return make's failure of the modpost that printed a line, None if make went on (or its line is not there)."""
    for failure in log.failures:
        if failure.at > at and (
            "modpost" in f"{failure.script} {failure.target}" or failure.target.endswith("symvers")
        ):
            return failure
    return None
