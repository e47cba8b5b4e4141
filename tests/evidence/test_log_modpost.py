"""Every form of modpost's lines, 4.14 to 7.2: the format strings of scripts/mod/modpost.c, filled in."""

import pytest

from lab.evidence import log
from lab.evidence.log_facts import ModpostKind as Kind

MISMATCH = ("foo", ".text", "bar", ".init.text")
NAMELESS = ("", ".text", "bar", ".init.text")
LINES = [  # line, kind, fatal, symbol, module, namespace, previous
    (
        'ERROR: "__put_user_2" [net/ip_tables.ko] undefined!',
        Kind.UNDEFINED,
        True,
        "__put_user_2",
        "net/ip_tables.ko",
        "",
        "",
    ),
    ('WARNING: "s" [fs/m.ko] undefined!', Kind.UNDEFINED, False, "s", "fs/m.ko", "", ""),
    ('WARNING: modpost: "s" [fs/m.ko] undefined!', Kind.UNDEFINED, False, "s", "fs/m.ko", "", ""),
    (
        "WARNING: module m uses symbol s from namespace NS, but does not import it.",
        Kind.NAMESPACE,
        False,
        "s",
        "m",
        "NS",
        "",
    ),
    (
        "ERROR: modpost: module m uses symbol s from namespace module:kvm,a-*, but does not import it.",
        Kind.NAMESPACE,
        True,
        "s",
        "m",
        "module:kvm,a-*",
        "",
    ),
    (
        'ERROR: modpost: fs/m: explicitly importing namespace "module:kvm" is not allowed.',
        Kind.NAMESPACE,
        True,
        "",
        "fs/m",
        "module:kvm",
        "",
    ),
    (
        "WARNING: fs/m: 's' exported twice. Previous export was in fs/n.ko",
        Kind.EXPORTED_TWICE,
        False,
        "s",
        "fs/m",
        "",
        "fs/n.ko",
    ),
    (
        "ERROR: modpost: fs/m: 's' exported twice. Previous export was in vmlinux",
        Kind.EXPORTED_TWICE,
        True,
        "s",
        "fs/m",
        "",
        "vmlinux",
    ),
    ("WARNING: modpost: missing MODULE_LICENSE() in fs/m.o", Kind.LICENSE, False, "", "fs/m.o", "", ""),
    ("ERROR: modpost: missing MODULE_LICENSE() in fs/m.o", Kind.LICENSE, True, "", "fs/m.o", "", ""),
    ("FATAL: modpost: GPL-incompatible module m.ko uses GPL-only symbol 's'", Kind.LICENSE, True, "s", "m.ko", "", ""),
    (
        "FATAL: modpost: GPL-incompatible module m.ko uses GPL-only symbol marked UNUSED 's'",
        Kind.LICENSE,
        True,
        "s",
        "m.ko",
        "",
        "",
    ),
    (
        "WARNING: modpost: GPL-incompatible module m.ko uses future GPL-only symbol 's'",
        Kind.LICENSE,
        False,
        "s",
        "m.ko",
        "",
        "",
    ),
    (
        'WARNING: EXPORT symbol "s" [vmlinux] version generation failed, symbol will not be versioned.',
        Kind.VERSION,
        False,
        "s",
        "vmlinux",
        "",
        "",
    ),
    ('WARNING: modpost: "s" [fs/m.ko] has no CRC!', Kind.VERSION, False, "s", "fs/m.ko", "", ""),
    ('ERROR: modpost: "s" [fs/m.ko] was exported without definition', Kind.EXPORT, True, "s", "fs/m.ko", "", ""),
    ('WARNING: modpost: "s" [vmlinux] is a static EXPORT_SYMBOL_GPL', Kind.EXPORT, False, "s", "vmlinux", "", ""),
    ("ERROR: modpost: vmlinux: local symbol 's' was exported", Kind.EXPORT, True, "s", "vmlinux", "", ""),
    ("ERROR: modpost: fs/m: unknown license 'X' was specified for 's'", Kind.EXPORT, True, "s", "fs/m", "", ""),
    ('ERROR: modpost: too long symbol "s" [fs/m.ko]', Kind.OTHER, True, "s", "fs/m.ko", "", ""),
    ("FATAL: modpost: parse error in symbol dump file", Kind.OTHER, True, "", "", "", ""),
    ("WARNING: vmlinux.o is missing.", Kind.MISSING_INPUT, False, "", "", "", ""),
    ('WARNING: Symbol version dump "vmlinux.symvers" is missing.', Kind.MISSING_INPUT, False, "", "", "", ""),
    ("FATAL: modpost: Section mismatches detected.", Kind.SECTION_MISMATCH, True, "", "", "", ""),
    ("WARNING: modpost: Found 3 section mismatch(es).", Kind.SECTION_MISMATCH, False, "", "", "", ""),
]
MISMATCHES = [
    (
        "WARNING: vmlinux.o(.text+0x12): Section mismatch in reference from the function foo() to the "
        "function .init.text:bar()",
        "vmlinux.o",
        MISMATCH,
    ),
    (
        "WARNING: modpost: fs/m.o(.text+0x12): Section mismatch in reference from the variable foo to the "
        "function .init.text:bar()",
        "fs/m.o",
        MISMATCH,
    ),
    (
        "WARNING: modpost: vmlinux.o: section mismatch in reference: foo (section: .text) -> bar (section: .init.text)",
        "vmlinux.o",
        MISMATCH,
    ),
    (
        "WARNING: modpost: vmlinux: section mismatch in reference: foo+0x12 (section: .text) -> bar (section: .init.text)",
        "vmlinux",
        MISMATCH,
    ),
    (
        "WARNING: modpost: vmlinux: section mismatch in reference: 0x12 (section: .text) -> bar (section: .init.text)",
        "vmlinux",
        NAMELESS,
    ),
    (
        "WARNING: modpost: vmlinux.o: EXPORT_SYMBOL used for init/exit symbol: bar (section: .init.text)",
        "vmlinux.o",
        ("", "", "bar", ""),
    ),
    (
        "WARNING: modpost: fs/m: bar: EXPORT_SYMBOL used for exit symbol. Remove __exit or EXPORT_SYMBOL.",
        "fs/m",
        ("", "", "bar", ""),
    ),
]


@pytest.mark.parametrize(("line", "kind", "fatal", "symbol", "module", "namespace", "previous"), LINES)
def test_a_line_says_what_it_is_about(line, kind, fatal, symbol, module, namespace, previous):
    (found,) = log.read_text(line + "\n").modpost
    assert (found.kind, found.fatal, found.symbol, found.module) == (kind, fatal, symbol, module)
    assert (found.namespace, found.previous) == (namespace, previous)


@pytest.mark.parametrize(("line", "module", "reference"), MISMATCHES)
def test_a_section_mismatch_names_both_ends(line, module, reference):
    (found,) = log.read_text(line + "\n").modpost
    assert (found.kind, found.fatal, found.module, found.reference) == (Kind.SECTION_MISMATCH, False, module, reference)


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: modpost: missing MODULE_DESCRIPTION() in fs/m.o",
        "WARNING: something else: entirely",
        "ERROR: a script's own: words",
        "WARNING: Symbol foo: no such thing",
        "  MODPOST Module.symvers",
    ],
)
def test_noise_and_other_programs_lines_are_not_modposts(line):
    assert log.read_text(line + "\n").modpost == ()


def test_thousands_of_missing_descriptions_do_not_push_out_the_error():
    noise = "".join(f"WARNING: modpost: missing MODULE_DESCRIPTION() in fs/m{number}.o\n" for number in range(5000))
    (found,) = log.read_text(noise + 'ERROR: modpost: "s" [fs/m.ko] undefined!\n').modpost
    assert found.at == 5001


@pytest.mark.parametrize(
    "line",
    [
        'ERROR: modpost: "' + "s" * 100_000 + '" [' + "m" * 100_000 + ".ko] undefined!",
        "WARNING: modpost: " + "a: " * 600,
        "WARNING: modpost: vmlinux: section mismatch in reference: " + "(section: " * 190,
        'ERROR: modpost: "s\x1b[31m\x00" [fs/m.ko] und',
        "WARNING: modpost: x(" + "+0x1" * 490,
    ],
)
def test_hostile_lines_are_endured(line):
    assert len(log.read_text(line + "\n").modpost) <= 1
