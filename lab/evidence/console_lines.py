"""One line of a console: what a collector, printk and the terminal put around its text, and who starts a machine."""

from __future__ import annotations

import re

from lab.evidence.log import ANSI, LINE_BYTES

TEXT_LIMIT = 1000

# What stands before the text: a CI's time, a log daemon's date and host, dmesg's facility and level, "login: ", printk's time
# and caller, and what vendors of phones add to it (CPU, task). Sources: kernel/printk/printk.c, print_prefix(); dmesg.c of
# util-linux; the rest is seen in the field.
PREFIX = re.compile(
    r"(?:\d{4}-\d\d-\d\dT[\d:]{8}(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d) (?:[\w.-]{1,64} kernel: ?)?"
    r"|[a-z]{3,8} *:(?:emerg|alert|crit|err|warn|notice|info|debug) *: )?"
    r"(?:.{0,80}?(?:<\d{1,3}>)?\[ *\d+\.\d{3,9}(?:@\d)?\]|<\d{1,3}>|\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\]"
    r"|(?:\w{3} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\d[T ][\d:]{8})\S*(?: \S+)? kernel:)?(?P<space> ?)"
    r"(?:\[ *(?P<caller>[TC]\d+)\] ?)?(?:c\d +\d+ )?(?:-?\(\d\)\[\d+:[^\]]{1,24}\] ?|[IWE]?\[\d: {0,16}\S{1,24}: *\d+\] ?)?"
)
TIME = re.compile(rb"\[ *(\d+)\.\d{6}\]")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def clean(line: bytes) -> str:
    """Decode a line and take off colours, CR, printk's time, caller and level."""
    return said_by(line)[1]


def said_by(line: bytes) -> tuple[str, str]:
    """Return who printed a line ("T123": a task, "C0": a CPU in an interrupt, "": not said), and its text."""
    text = line[:LINE_BYTES].decode("utf-8", "replace")
    if "\x1b" in text:
        text = ANSI.sub("", text)
    text = CONTROL.sub("", text.strip("\r"))[:TEXT_LIMIT]
    match = PREFIX.match(text)
    return (match["caller"] or "", text[match.end() :]) if match else ("", text)


FIRMWARE = re.compile(
    r"\s*(?:$|SeaBIOS|iPXE|Booting (?:from|the kernel)|.{0,40}(?:\x1b|c\[)|U-Boot|OpenSBI|SLOF|EDK|UEFI|BdsDxe"
    r"|qemu(?:-system|: )|Loading|PCI:|EFI stub:|Decompressing Linux|Uncompressing Linux|Starting kernel|GRUB|Welcome to GRUB)"
)
# They print pages in no common form: only the kernel's time, its banner, a crash or our init ends them.
TALKATIVE = re.compile(r"\s*(?:OpenSBI v|SLOF \*)")
SAID_BY_KERNEL = ("lab-init: ", "Linux version ")
# not powerpc's announcement, before the kernel's first own line. Source: arch/powerpc/kernel/prom_init.c
REBOOT = re.compile(r"(?!.*Preparing to boot).*Linux version \d+\.\d+")
RESET = re.compile(
    r"\s*(?:SeaBIOS \(version|SLOF \*|U-Boot \d|OpenSBI v|BdsDxe: (?:loading|starting)|Booting the kernel\.\s*$)"
)
# What only a system that runs can print; what stands before the firmware may also be the words of who starts the machine.
RUNNING = re.compile(
    r"\s*(?:\d{4}/\d\d/\d\d [\d:]{8} )?executing program|.{0,40}\blogin: |(?:r\d+ = )?[a-z]\w+(?:\$\w+)?\(.*\)\s*$"
)
GOODBYE = re.compile(r".*reboot: (?:Restarting|machine restart|Power down|System halted)|.*Rebooting in \d+ seconds")
MARKERS = (
    b"lab-init: ", b"Linux version", b"SeaBIOS", b"U-Boot", b"OpenSBI", b"SLOF", b"BdsDxe", b"Booting the", b"reboot: ",
    b"Rebooting in",
)  # fmt: skip
