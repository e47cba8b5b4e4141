"""One line of a kbuild log -> what the kernel's own host programs say of it: objtool, klp-convert, BTF, kallsyms, Kconfig.

Texts are those of 5.10, 6.1, 6.12 and 7.2; each row cites its file. klp-convert was never merged: its texts are those of the
patch series, v1 to v7, on the live-patching list.
"""

from __future__ import annotations

import re

from lab.evidence.log_facts import (
    BtfLine,
    ConfigKind,
    ConfigLine,
    Fact,
    KallsymsLine,
    KconfigError,
    KlpKind,
    KlpLine,
    KsymsSummary,
    ObjtoolCall,
    ObjtoolLine,
    OrphanSection,
)

# ------------------------------------------------------------------------------------------------------------ objtool

# tools/objtool/warn.h. 7.2 leaves the object out if there is none, and adds [file:line] to its library's errors.
OBJTOOL = re.compile(r"(?:(?P<object>\S+): )?(?P<word>warning|error): objtool(?: \[\S+:\d+\])?: (?P<message>.*)")
# 5.10: "f()+0x12: …"; later "f+0x12: …", with --sec-address "f+0x12 (.text+0x34): …"; without a function the section's name
POSITION = re.compile(r"(?P<name>[\w.$]+)(?:\(\))?\+0x(?P<offset>[0-9a-f]{1,16})(?: \([^)]{1,300}\))?: ")
# "f() falls through to next function g()", "f() is missing an ELF size annotation", "f(): can't find starting instruction"
NAMED = re.compile(r"(?P<name>[\w.$]+)(?:\(\)(?: |: )|: unexpected end of section)")
TRACE = re.compile(r" {2}|\d+ warning\(s\) upgraded to errors")  # BT_FUNC(), BT_INSN()


def objtool_line(text: str, at: int, _: object) -> Fact | None:
    """A warning or error of objtool, 5.10 to 7.2."""
    if not (match := OBJTOOL.match(text)):
        return None
    message = match["message"]
    place = POSITION.match(message)
    named = place or NAMED.match(message)
    name = named["name"] if named else ""
    return ObjtoolLine(
        at=at, text=text, object=match["object"] or "", fatal=match["word"] == "error", message=message,
        function="" if name.startswith(".") else name, offset=int(place["offset"], 16) if place else 0,
        trace=TRACE.match(message) is not None,
    )  # fmt: skip


CALL = b"tools/objtool/objtool "
CALLED = re.compile(r"(?P<flags>[\w=./ -]*?) +(?P<object>\S+\.k?o)(?: *(?:$|[;&|)}]))")


def objtool_call(line: bytes, at: int) -> ObjtoolCall | None:
    """The call of objtool in a line of `make V=1`, which may stand behind the compiler's; 5.10 notes it nowhere else."""
    match = CALLED.match(line.rpartition(CALL)[2].decode("utf-8", "replace")[:2000].rstrip())
    if match is None or b"'" in line[: line.find(CALL)][:8]:
        return None
    words = match["flags"].split()
    return ObjtoolCall(
        at=at, text=f"./tools/objtool/objtool {' '.join([*words, match['object']])}", object=match["object"],
        flags=tuple(words),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ livepatch

KLP = re.compile(r"(?:\S*/)?klp-convert: (?P<message>.*)")
POS = r"(?P<object>[^.\s]+)\.(?P<symbol>[^\s,]+)"
KLP_FORMS: tuple[tuple[KlpKind, re.Pattern[str]], ...] = (
    # sympos_sanity_check(): v1 and v2 have tabs after the colon and compare the symbols' names alone; later ones have no commas
    (
        KlpKind.CONFLICT,
        re.compile(
            rf"Conflicting KLP_SYMPOS definition:\s*{POS},(?P<one>\d+) vs\. (?P<other>[^.\s]+)\.[^\s,]+,(?P<two>\d+)"
        ),
    ),
    (KlpKind.CONFLICT, re.compile(rf"Conflicting KLP_SYMPOS definition:\s*{POS} (?P<one>\d+) vs\. (?P<two>\d+)")),
    (KlpKind.SYMBOL, re.compile(r"Couldn't find rela for annotated symbol: (?P<symbol>\S+)")),
    (KlpKind.POSITION, re.compile(rf"Provided KLP_SYMPOS does not match a symbol: {POS},(?P<one>\d+)")),
    (KlpKind.POSITION, re.compile(r"Define KLP_SYMPOS for the symbol: (?P<symbol>\S+)")),
    (KlpKind.SYMBOL, re.compile(r"Unable to (?:find missing symbol|convert symbol name \([^.]*\.(?P<symbol>[^)]+)\))")),
)
KLP_CONSEQUENCE = re.compile(r"Unable to load user-provided sympos|Unable to convert relocation")
# tools/objtool/klp-*.c of 7.2, klp-sympos.c and klp-post-link.c, behind "error: objtool: "
OBJTOOL_KLP: tuple[tuple[KlpKind, re.Pattern[str]], ...] = (
    (KlpKind.POSITION, re.compile(r"can't find sympos for (?P<symbol>\S+)")),
    (KlpKind.SYMBOL, re.compile(r"can't find symbol (?P<symbol>\S+) in orig vmlinux")),
    (KlpKind.SYMBOL, re.compile(r"no \S+ entry for symbol (?P<symbol>\S+) in orig vmlinux")),
    (KlpKind.FORMAT, re.compile(r".*(?:klp|sym_checksum|special section|address mismatch for symbol)")),
    (KlpKind.FORMAT, re.compile(r"changed data: (?P<symbol>\S+)|no clone for (?P<clone>\S+)|FILE symbol mismatch")),
    (KlpKind.FORMAT, re.compile(r".*unsupported static (?:branch|call) key|malformed (?:Module\.symvers|\S*klp)")),
    (KlpKind.FORMAT, re.compile(r".*(?:not built with CONFIG_KLP_BUILD|Magic init_module\(\) function name)")),
)


def klp_line(text: str, at: int, _: object) -> Fact | None:
    """What klp-convert, or objtool klp of 7.2, says of a livepatch module."""
    if match := KLP.match(text):
        return _klp(KLP_FORMS, match["message"], text, at) or KlpLine(
            at=at, text=text, kind=KlpKind.FORMAT, message=match["message"].strip(),
            consequence=KLP_CONSEQUENCE.match(match["message"]) is not None,
        )  # fmt: skip
    match = OBJTOOL.match(text)
    return _klp(OBJTOOL_KLP, match["message"], text, at) if match and match["word"] == "error" else None


def _klp(forms: tuple[tuple[KlpKind, re.Pattern[str]], ...], message: str, text: str, at: int) -> KlpLine | None:
    for kind, form in forms:
        if match := form.match(message):
            found = match.groupdict()
            positions = tuple(int(found[key][:9]) for key in ("one", "two") if found.get(key))
            other = found.get("other")
            alike = other is None or other == found.get("object")
            return KlpLine(
                at=at, text=text, kind=kind, message=" ".join(message.split()), object=found.get("object") or "",
                symbol=(found.get("symbol") or found.get("clone") or "").rstrip("."), positions=positions,
                # an early klp-convert took one name in two objects, or one position twice, for a conflict
                harmless=kind is KlpKind.CONFLICT and (not alike or len(set(positions)) == 1),
            )  # fmt: skip
    return None


# -------------------------------------------------------------------------------------------------------------- BTF

# scripts/link-vmlinux.sh, tools/bpf/resolve_btfids/main.c, scripts/Makefile.modfinal; pahole's own last words
BTF_UNRESOLVED = re.compile(r"WARN: resolve_btfids: unresolved symbol (?P<symbol>\S+)")
BTF_FAILED = re.compile(
    r"FAILED:? (?:unresolved symbol (?P<symbol>\S+)|load (?:base )?BTF from |.*(?:BTF|btf|set name|symbol name|elf_update)"
    r"|.*ELF|malformed |cannot |get section|to get section|patching index|unsupported prefix|symbol \S+ crossed"
    r"|to (?:read|sort|find))"
    r"|ERROR: resolve_btfids: |Failed to generate BTF for |Encountered error while encoding BTF"
)
BTF_OWN = re.compile(r"FAILED |FAILED: |ERROR: resolve_btfids")


def btf_line(text: str, at: int, _: object) -> Fact | None:
    """What the making of BTF said; a pahole that is too old or not there is told as a missing tool."""
    if match := BTF_UNRESOLVED.match(text):
        return BtfLine(at=at, text=text, fatal=False, message=text, symbol=match["symbol"])
    if match := BTF_FAILED.match(text):
        said = BTF_OWN.match(text) is None
        return BtfLine(at=at, text=text, fatal=True, message=text, symbol=match["symbol"] or "", consequence=said)
    return None


# ------------------------------------------------------------------------------------------------- kallsyms, autoksyms

KALLSYMS = re.compile(
    r"Inconsistent kallsyms data$|No valid symbol\.$|Symbol \S+ too long for kallsyms|kallsyms failure: "
    r"|Failed to sort kernel tables|relative kallsyms value out of range|line format error$|Read error or end of file\.$"
)
KSYMS = re.compile(r"\s*KSYMS +symbols: before=(\d{1,9}), after=(\d{1,9}), changed=(\d{1,9})")


def kallsyms_line(text: str, at: int, _: object) -> Fact | None:
    """The kallsyms step. Source: scripts/link-vmlinux.sh, scripts/kallsyms.c, scripts/sorttable.c."""
    if not KALLSYMS.match(text):
        return None
    return KallsymsLine(at=at, text=text, inconsistent=text.startswith("Inconsistent"), message=text)


def ksyms_summary(text: str, at: int, _: object) -> Fact | None:
    """The summary of scripts/adjust_autoksyms.sh."""
    if not (match := KSYMS.match(text)):
        return None
    before, after, changed = (int(number) for number in match.groups())
    return KsymsSummary(at=at, text=text, before=before, after=after, changed=changed)


# ------------------------------------------------------------------------------------------------------------- Kconfig

KCONFIG = re.compile(r"(?P<file>[^\s:]*Kconfig[^\s:]*):(?P<row>\d+): ?(?!warning\b)(?:error: )?(?P<message>.*)")
KCONFIG_ALONE = re.compile(
    r"(?:\*\*\* +)?(?P<message>Can't find default configuration .*|Configuration file \".*\" not found!.*"
    r"|The (?:external module )?source tree is not clean.*|ERROR: Kernel configuration is invalid.*|can't find file \S+"
    r"|Error in writing or end of file.*|Error in reading or end of file.*|Error during writing of the configuration.*"
    r"|The present kernel (?:configuration has modules disabled|disabled CONFIG_MODULES).*|CONFIG_MODULE_SIG is disabled.*"
    r"|(?:error: )?recursive dependency detected!)"
)
# scripts/kconfig/symbol.c, sym_warn_unmet_dep(); confdata.c, conf_warning(); merge_config.sh
CONFIG_FORMS: tuple[tuple[ConfigKind, re.Pattern[str]], ...] = (
    (ConfigKind.UNMET, re.compile(r"WARNING: unmet direct dependencies detected for (?P<symbol>\w+)")),
    (ConfigKind.UNMET, re.compile(r"warning: \(.*\) selects (?P<symbol>\w+) which has unmet direct dependencies")),
    (
        ConfigKind.INVALID,
        re.compile(
            r"(?P<file>[^\s:]+):(?P<row>\d{1,9}):warning: symbol value '(?P<value>.*)' invalid for (?P<symbol>\w+)"
        ),
    ),
    (ConfigKind.DROPPED, re.compile(r"Value requested for (?:CONFIG_)?(?P<symbol>\w+) not in final \.config")),
)


def config_line(text: str, at: int, _: object) -> Fact | None:
    """A warning of Kconfig that this configuration is not what somebody meant; make goes on."""
    for kind, form in CONFIG_FORMS:
        if match := form.match(text):
            found = match.groupdict()
            return ConfigLine(
                at=at, text=text, kind=kind, symbol=match["symbol"], value=found.get("value") or "",
                file=found.get("file") or "", row=int(found.get("row") or 0),
            )  # fmt: skip
    return None


def kconfig_error(text: str, at: int, _: object) -> Fact | None:
    """Kconfig's parser, and make's check that there is a configuration."""
    if match := KCONFIG.match(text):
        return KconfigError(at=at, text=text, file=match["file"], row=int(match["row"][:9]), message=match["message"])
    if match := KCONFIG_ALONE.match(text):
        return KconfigError(at=at, text=text, file="", row=0, message=match["message"])
    return None


# ------------------------------------------------------------------------------------------------------ orphan sections

LD_WARNS = r"(?:\S*ld(?:\.lld|\.bfd|\.gold)?(?:-[\d.]+)?: )"
ORPHAN = re.compile(
    rf"{LD_WARNS}warning: (?:orphan section [`'\"‘](?P<section>[^'’\"]+)['’\"] from [`'\"‘](?P<object>[^'’\"]+)['’\"] being"
    r"|(?P<lld>\S+):\((?P<name>[^)]+)\) is being placed in )"
)


def orphan_section(text: str, at: int, _: object) -> Fact | None:
    """A warning of --orphan-handling=warn, of GNU ld and lld."""
    if not (match := ORPHAN.match(text)):
        return None
    section, owner = match["section"] or match["name"], match["object"] or match["lld"]
    return OrphanSection(at=at, text=text, section=section, object=owner)
