"""The rules by which something is concluded from a report or chosen for it: a name, and a sentence for whoever reads
the result."""

from __future__ import annotations

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    # ---- what is concluded from words
    "signature": "the text is signed with the beginning of a name that it gives elsewhere",
    "version-form": "a number of the form that kernel releases have, with no tool's name before it",
    "path-in-arch": "a file below arch/<name>/ is compiled for that architecture only",
    "x86-64-file": "arch/x86 compiles files called *_64 for 64 bit only",
    "cross-tools": "the prefix of cross tools is their target",
    "objtool": "only x86_64 had objtool, and these options of it are x86's",
    "relocation-type": "relocation types are called after the architecture",
    "eabi-symbol": "these helpers are those of ARM's EABI",
    "board": "the board has a processor of this architecture",
    "registers": "the registers of a crash report are this architecture's",
    "list-of-arch": "it was sent to the mailing list of this architecture",
    "clang-lto": "the kernel's LTO is clang's",
    "compiler-of-distribution": "the compiler calls itself after the distribution that built it",
    "ksyms-line": "scripts/adjust_autoksyms.sh, which prints this, runs only with CONFIG_TRIM_UNUSED_KSYMS=y",
    "modpost-of-modules": "modules are only there with CONFIG_MODULES=y",
    "kallsyms-table": "there is a table of symbols only with CONFIG_KALLSYMS=y",
    "lto-line": "kbuild prints LTO only with CONFIG_LTO_CLANG=y",
    "symbol-of-cure": "the fault goes away when it is set so: it was the other way",
    "kernel-address": "kernels of x86_64 are linked there; others that are have rarer boards",
    "up-kernel": "UP is a kernel for one processor",
    "livepatch-module": "klp-convert works on modules of CONFIG_LIVEPATCH=y",
    "zero-nanoseconds": "all file times that are listed with nanoseconds have none: the filesystem keeps whole seconds",
    "inode-size": "inodes of 128 bytes have no room for nanoseconds",
    "coarse-words": "the report calls the timestamps coarse; whole seconds are what Linux' own coarse filesystems have",
    "module-object": "a linked object of a module, called after it",
    "named-fault": "the fault is called by its name, but no line of a log shows it",
    "same-second": "of two files that are listed, one should be newer than the other and is not",
    "words-of-a-log": "the line says it although the log is not complete",
    "date-of-quotation": "it answers a mail of this date, so it is not older",
    # ---- which of several counts
    "only": "nothing else is said",
    "surest": "stated before implied, implied before guessed",
    "of-the-reporter": "the reporter's own words count before others'",
    "of-the-failure": "what was said of the failing build counts, not what worked",
    "most-said": "it is said most often",
    "first": "it is said first",
    "newest-in-thread": "the first mail is the report",
    # ---- what is chosen for a matrix
    "arch-row": "the row of lab/data/arch.yaml that has this name or alias",
    "arch-of-x86": "x86 without a sign of 32 bit: x86_64",
    "arch-default": "no architecture is said: the machine's own",
    "arch-none": "no row of lab/data/arch.yaml: an architecture that the lab has no image for",
    "emulation-native": "nothing says that it was compiled elsewhere",
    "emulation-cross": "it was built with cross tools, or the machine's kernel does not run that architecture's programs",
    "toolchain-exact": "a row of lab/data/toolchain.yaml has this compiler's version",
    "toolchain-nearest": "no row has this version: the nearest of the same compiler that has an image for the architecture",
    "toolchain-of-source": "no compiler is said: the one of the suite that this source is from",
    "toolchain-lto": "LTO needs clang and LLVM's linker",
    "source-given": "given with --source",
    "source-exact": "the version that is reported",
    "source-nearest": "the nearest source at hand that still has what is reported, or can be given it again",
    "source-by-date": "no version is said: the nearest by the date of the report",
    "source-default": "neither a version nor a date is said",
    "fault-again": "the report is older than the fix, and this source has the fix: it is taken out again, in both arms",
    "fault-there": "this source is older than the fix",
    "filesystem-said": "the row of this name",
    "filesystem-by-times": "the row with such file times",
    "filesystem-default": "no filesystem is said",
    "filesystem-race": "not said; the fault needs whole seconds, as the fix's own description says",
    "kconfig-small": "tinyconfig with what booting takes: built in a minute; what the finding needs is put on top",
    "kconfig-of-finding": "what the finding needs to be seen",
    "kconfig-said": "said by the report, and this source's Kconfig has it",
    "jobs-said": "said by the report",
    "times-of-rate": "so many attempts show a fault of the reported rate at least once with a probability of 95 %",
    "times-given": "given with --times",
    "boot": "the kernel is booted, as a bad module may only show then",
    "patch-asked": "it was sent to be tested as a fix",
    "patch-subject": "its subject says [PATCH], and it names the reporter",
    "patch-only": "it is the only patch that applies",
    "fix-of-source": "no patch of the report applies: the other arm is the source with its own fix",
    "expected": "the findings of the report's own error lines, or what the lab calls their cause",
}  # fmt: skip


def sentence(rule: str) -> str:
    """Return the sentence of a rule, "" for no rule."""
    return RULES.get(rule, "")
