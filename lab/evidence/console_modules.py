"""What a running kernel, or the program that loads modules, says of a module that it refuses.

Sources: kernel/module/main.c, version.c, kernel/params.c, arch/*/kernel/module.c, kernel/bpf/btf.c; insmod and modprobe of kmod
and busybox.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

LIMIT = 1000
NEEDLES = (
    b"symbol",
    b"version magic",
    b"relocation",
    b"xec format",
    b"nvalid module",
    b"validate module [",
    b"for parameter",
    b" ELF header",
    b"nvalid ELF section",
    b"this_module",
)


class RefusalKind(StrEnum):
    """Why a module is refused."""

    UNKNOWN_SYMBOL = "unknown symbol"
    VERSION_MAGIC = "version magic"
    SYMBOL_VERSION = "symbol version"
    DUPLICATE_SYMBOL = "duplicate symbol"
    NAMESPACE = "namespace not imported"
    RELOCATION = "relocation"
    FORMAT = "format"
    BTF = "BTF"
    PARAMETER = "parameter"


M = r"(?P<module>[\w-]{1,64})"
S = r"(?P<symbol>[\w.$]{1,512})"
# Anchored: the words occur in harmless lines, too. kmod prints a path or a name in quotes, the kernel the module's name.
K = RefusalKind
FORMS: tuple[tuple[RefusalKind, re.Pattern[str]], ...] = (
    (K.UNKNOWN_SYMBOL, re.compile(rf"{M}: Unknown symbol {S} \(err -?\d+\)")),
    (K.VERSION_MAGIC, re.compile(rf"{M}: version magic '[^']*' should be '")),
    (K.SYMBOL_VERSION, re.compile(rf"{M}: (?:disagrees about version of symbol|no symbol version for) {S}")),
    (K.DUPLICATE_SYMBOL, re.compile(rf"{M}: exports duplicate symbol {S}")),
    (K.NAMESPACE, re.compile(rf"{M}: module uses symbol \({S}\) from namespace \S+, but does not import it")),
    (K.RELOCATION, re.compile(r"(?:x86/modules: )?Invalid relocation target, existing value is nonzero")),
    (
        K.RELOCATION,
        re.compile(
            rf"(?:module )?{M}: (?:section \d+ reloc \d+ sym '[^']*': )?(?:relocation \d+ out of range"
            r"|overflow in relocation type|unsupported RELA relocation|[Uu]nknown (?:\w+ )?relocation)"
        ),
    ),
    (K.RELOCATION, re.compile(r"overflow in relocation type \d+ val \w+")),
    (K.FORMAT, re.compile(rf"{M}: \.gnu\.linkonce\.this_module section size must match")),
    (K.FORMAT, re.compile(r"Invalid (?:ELF (?:header|section)|architecture in ELF header)")),
    (K.FORMAT, re.compile(rf"{M}: module has no symbols \(stripped\?\)")),
    (K.BTF, re.compile(rf"(?:BPF: ?)?failed to validate module \[{M}\] BTF: -\d+")),
    (K.PARAMETER, re.compile(rf"{M}: `[^']*' (?:invalid|too large) for parameter `")),
    (
        K.FORMAT,
        re.compile(
            r"(?:insmod|modprobe): (?:ERROR: |FATAL: )?(?:could not insert|can't insert|can't load module|Error inserting)"
            rf"(?: module)? '?(?:\S*/)?{M}(?:\.ko\S*)?'?[ :(].*(?:[Ii]nvalid module format|[Ee]xec format error)"
        ),
    ),
)


MILD = (K.NAMESPACE, K.BTF)
"""What a kernel may also say of a module that it takes: MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS, MODULE_ALLOW_BTF_MISMATCH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRefusal:
    """One line of it. module: "" if not said. symbol: the one it is about, or ""."""

    at: int
    text: str
    kind: RefusalKind
    module: str = ""
    symbol: str = ""


def refusal(text: str, at: int) -> ModuleRefusal | None:
    """Return what a line of the console (without printk's time) says of a refused module."""
    if not any(
        word in text
        for word in (
            "symbol",
            "version magic",
            "elocation",
            "ormat",
            "this_module",
            "validate module",
            "parameter",
            " ELF ",
        )
    ):
        return None
    for kind, form in FORMS:
        if match := form.match(text):
            said = match.groupdict()
            return ModuleRefusal(
                at=at, text=text, kind=kind, module=said.get("module") or "", symbol=said.get("symbol") or ""
            )
    return None
