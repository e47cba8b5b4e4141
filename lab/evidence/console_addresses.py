"""The places in the kernel's code that a line of a console names: "func+0x12/0x34 [module]", "[<c0101234>]".

What an address means differs by who printed it. An instruction pointer (RIP, EIP, pc, epc, NIP, PSW) is where the kernel was. A
frame of a trace is a return address: the call stands before it, and is what a reader wants to see.
Source: lib/vsprintf.c, symbol_string() (%pS, %pB); kernel/kallsyms.c, __sprint_symbol(); the traps.c of each architecture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SPOTS_A_LINE = 8
_NAME = r"[A-Za-z_.$][\w.$]{0,510}"
_HEX = r"[0-9a-f]"
# With CONFIG_STACKTRACE_BUILD_ID the module's build id follows its name.
_MODULE = rf"\)?\s{{0,4}}\[(?P<module>[A-Za-z_][\w-]{{0,63}})(?: {_HEX}{{8,64}})?\]"
_SYMBOL = rf"(?P<function>{_NAME})\+(?P<offset>0x{_HEX}{{1,8}})(?:/(?P<size>0x{_HEX}{{1,8}}))?(?!\w)(?:{_MODULE})?"
# powerpc prints addresses in brackets without <>, and 64-bit ones have 16 digits everywhere
_RAW = (
    rf"\[<\s{{0,4}}(?P<marked>{_HEX}{{8,16}})\s{{0,4}}>\]|\[(?P<boxed>{_HEX}{{16}})\]"
    rf"|(?<![\w+/])0x(?P<bare>{_HEX}{{8,16}})(?![\w+])"
)
_SPOT = re.compile(rf"{_SYMBOL}|{_RAW}")
_BETWEEN = re.compile(r"[\s?(]{0,8}")
# who says that what follows is where the kernel was; "lr", "ra" and "LR" are return addresses
_POINTER = re.compile(
    r"(?:\b(?:RIP|EIP|IP|pc|PC|epc|era|NIP)|Krnl PSW|\b[RE]IP is|\bPC is)(?: at)?\s{0,4}:?\s{0,4}"
    r"(?:[0-9a-f]{4}:|[0-9a-f]{8,16} )?[\s\[\]<>(0-9a-f]{0,60}$"
)
_LONE = re.compile(r"\s*(?:\? )?$")
# Source: arch/x86/kernel/dumpstack.c, show_iret_regs(); __USER_CS is 0x33 on 64 bit, 0x73 and 0x23 on 32
_OF_USER = re.compile(r"\s*(?:RIP: 0033:|RIP: 0023:|EIP: 00(?:73|23):)")
_WARNS_AT = re.compile(r".*\bWARNING: .*\bat \S+:\d+ (?:\[<[^>]*>\] )?$|.*\bWARNING: \S+:\d+ at $")
# Source: arch/x86/kernel/setup.c, dump_kernel_offset(), and its like in arch/{arm64,riscv,s390,loongarch}
KERNEL_OFFSET = re.compile(
    rf"\s*Kernel Offset:\s{{1,4}}"
    rf"(?:(?P<disabled>disabled)|(?P<offset>(?:0x)?{_HEX}{{1,16}})(?: from (?P<base>0x{_HEX}{{1,16}}))?)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One place in code that a line names. start, end: of its text in the line, the module's brackets left out.

    function: as printed, with what the compiler added (".constprop.0"); "" if only an address is there. offset: from its start,
    in bytes; size: what the kernel took for its length (the way to the next symbol), 0 if not said. address: as printed,
    0 if not printed. module: as the kernel names it. exact: an instruction pointer; else a return address.
    """

    start: int
    end: int
    function: str = ""
    offset: int = 0
    size: int = 0
    address: int = 0
    module: str = ""
    exact: bool = False

    @property
    def name(self) -> str:
        """The place as the kernel prints it, "func+0x12/0x34 [module]" or "0xffffffff81234567"."""
        if not self.function:
            return f"{self.address:#x}"
        size = f"/{self.size:#x}" if self.size else ""
        return f"{self.function}+{self.offset:#x}{size}" + (f" [{self.module}]" if self.module else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelOffset:
    """How far the kernel was moved from where it was linked (KASLR), as a panic says it. base: that place, 0 if not said."""

    offset: int
    base: int = 0


def spots(text: str) -> tuple[Spot, ...]:
    """Return the places that a line names, in its order, at most SPOTS_A_LINE; those of user space are left out.

    text: a line without the time that printk puts before it. An address that stands right before a symbol is that symbol's.
    """
    if "+0x" not in text and "[" not in text and "0x" not in text:
        return ()
    if _OF_USER.match(text):
        return ()
    found: list[Spot] = []
    before = 0  # where an address ended that the next symbol may own
    address = 0
    for match in _SPOT.finditer(text):
        if match["function"] is None:
            raw = match["marked"] or match["boxed"] or match["bare"]
            if match["bare"] and not _alone(text, match):
                continue
            if address and _BETWEEN.fullmatch(text, before, match.start()) and match["boxed"]:
                found.pop()  # powerpc's first is a stack pointer
            elif address and _BETWEEN.fullmatch(text, before, match.start()) and int(raw, 16) == address:
                found.pop()  # "[<a>]  [<a>] func": x86 before 4.10
            address, before = int(raw, 16), match.end()
            found.append(_spot(text, match, address))
        else:
            owned = address and _BETWEEN.fullmatch(text, before, match.start())
            if owned:
                found.pop()
            found.append(_spot(text, match, address if owned else 0))
            address = 0
        if len(found) > SPOTS_A_LINE:
            break
    # in brackets without <> and without a name behind it is whatever the text is about
    return tuple(
        one for one in found[:SPOTS_A_LINE] if one.function or text[one.start] == "0" or text[one.start + 1] == "<"
    )


def _alone(text: str, match: re.Match[str]) -> bool:
    """Whether a bare address is a frame or an instruction pointer, not some number of the text."""
    ends = not text[match.end() :].strip()
    return ends and bool(_LONE.match(text[: match.start()]) or _POINTER.search(text, 0, match.start()))


def _spot(text: str, match: re.Match[str], address: int) -> Spot:
    head = text[: match.start()]
    exact = bool(_POINTER.search(head) or _WARNS_AT.match(head))
    if match["function"] is None:
        return Spot(start=match.start(), end=match.end(), address=address, exact=exact)
    return Spot(
        start=match.start(),
        end=match.end("size") if match["size"] else match.end("offset"),
        function=match["function"],
        offset=int(match["offset"], 16),
        size=int(match["size"], 16) if match["size"] else 0,
        address=address,
        module=match["module"] if match["module"] and match["module"] != "inline" else "",
        exact=exact,
    )


def kernel_offset(text: str) -> KernelOffset | None:
    """Return what a line says of how far the kernel was moved, None if it is about something else."""
    if "Kernel Offset" not in text:
        return None
    match = KERNEL_OFFSET.match(text)
    if match is None:
        return None
    if match["disabled"]:
        return KernelOffset(offset=0)
    return KernelOffset(offset=int(match["offset"], 16), base=int(match["base"], 16) if match["base"] else 0)
