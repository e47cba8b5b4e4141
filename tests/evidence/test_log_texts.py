"""The texts of the kernel's own host programs, in the forms of 5.10, 6.1, 6.12 and 7.2."""

import pytest

from lab.evidence import log
from lab.evidence.log_facts import ConfigKind, KlpKind, LinkKind


@pytest.mark.parametrize(
    ("message", "function", "offset"),
    [
        ("foo()+0x12: unreachable instruction", "foo", 0x12),  # 5.10
        ("foo+0x12: unreachable instruction", "foo", 0x12),
        ("foo+0x12 (.text+0x34): unreachable instruction", "foo", 0x12),  # --sec-address
        ("foo.isra.0+0x12: return with modified stack frame", "foo.isra.0", 0x12),
        (".text+0x12: unreachable instruction", "", 0x12),
        (".altinstr_replacement+0x3: call to {dynamic}() with UACCESS enabled", "", 0x3),
        ("foo() falls through to next function bar()", "foo", 0),
        ("foo() is missing an ELF size annotation", "foo", 0),
        ("foo(): can't find starting instruction", "foo", 0),
        ("foo(): not an indirect call target", "foo", 0),
        ("foo: unexpected end of section .text", "foo", 0),
        ("static_call: can't find static_call_key symbol: __SCK__x", "", 0),
        ("file already has .orc_unwind section, skipping", "", 0),
        ("missing .rela.discard.unwind_hints section", "", 0),
    ],
)
@pytest.mark.parametrize("word", ["warning: objtool", "error: objtool", "error: objtool [check.c:12]"])
def test_objtool_s_function_and_offset_are_read(message, function, offset, word):
    (line,) = log.read_text(f"fs/x.o: {word}: {message}\n").objtool
    assert (line.object, line.function, line.offset, line.message) == ("fs/x.o", function, offset, message)
    assert (line.fatal, line.trace) == (word.startswith("error"), False)


def test_objtool_s_backtrace_is_no_warning_of_its_own():
    text = (
        "x.o: warning: objtool: f+0x1: return with UACCESS enabled\nx.o: warning: objtool:   f+0x9: (branch)\n"
        "x.o: warning: objtool:   f+0x0: <=== (sym)\n"
    )
    assert [line.trace for line in log.read_text(text).objtool] == [False, True, True]


@pytest.mark.parametrize(
    "text", ["error: objtool: --ibt requires --link", "error: objtool: At least one action required"]
)
def test_an_error_on_objtool_s_options_has_no_object(text):
    (line,) = log.read_text(text + "\n").objtool
    assert (line.object, line.fatal) == ("", True)


@pytest.mark.parametrize(
    ("text", "kind", "symbol", "positions", "harmless"),
    [
        ("Conflicting KLP_SYMPOS definition: \t\t\tvmlinux.s,1 vs. vmlinux.s,2.", KlpKind.CONFLICT, "s", (1, 2), False),
        ("Conflicting KLP_SYMPOS definition: vmlinux.s,1 vs. vmlinux.s,2.", KlpKind.CONFLICT, "s", (1, 2), False),
        ("Conflicting KLP_SYMPOS definition: vmlinux.s 1 vs. 2.", KlpKind.CONFLICT, "s", (1, 2), False),
        ("Conflicting KLP_SYMPOS definition: vmlinux.s,1 vs. md.s,2.", KlpKind.CONFLICT, "s", (1, 2), True),
        ("Conflicting KLP_SYMPOS definition: vmlinux.s,1 vs. vmlinux.s,1.", KlpKind.CONFLICT, "s", (1, 1), True),
        ("Conflicting KLP_SYMPOS definition: vmlinux.f.isra.0 1 vs. 2.", KlpKind.CONFLICT, "f.isra.0", (1, 2), False),
        ("Couldn't find rela for annotated symbol: s", KlpKind.SYMBOL, "s", (), False),
        ("Define KLP_SYMPOS for the symbol: s", KlpKind.POSITION, "s", (), False),
        ("Unable to read elf file x.ko", KlpKind.FORMAT, "", (), False),
    ],
)
def test_every_message_of_klp_convert_is_told_apart(text, kind, symbol, positions, harmless):
    (line,) = log.read_text(f"klp-convert: {text}\n").klp
    assert (line.kind, line.symbol, line.positions, line.harmless) == (kind, symbol, positions, harmless)


@pytest.mark.parametrize(
    ("text", "kind", "symbol"),
    [
        ("WARNING: unmet direct dependencies detected for FOO", ConfigKind.UNMET, "FOO"),
        ("warning: (A && B) selects FOO which has unmet direct dependencies (C)", ConfigKind.UNMET, "FOO"),
        (".config:12:warning: symbol value 'm' invalid for FOO", ConfigKind.INVALID, "FOO"),
        ("Value requested for CONFIG_FOO not in final .config", ConfigKind.DROPPED, "FOO"),
    ],
)
def test_what_kconfig_warns_of_is_read(text, kind, symbol):
    assert [(line.kind, line.symbol) for line in log.read_text(text + "\n").config] == [(kind, symbol)]


@pytest.mark.parametrize(
    "text", ["warning: override: FOO changes choice state", ".config:3:warning: override: reassigning to symbol FOO"]
)
def test_what_kconfig_only_remarks_is_not(text):
    assert log.read_text(text + "\n").config == ()


@pytest.mark.parametrize(
    ("text", "section", "owner"),
    [
        ("ld: warning: orphan section `.foo' from `a.o' being placed in section `.foo'", ".foo", "a.o"),
        (
            "aarch64-linux-gnu-ld: warning: orphan section '.foo' from 'a.o' being placed in section '.foo'",
            ".foo",
            "a.o",
        ),
        ("ld.lld-14: warning: vmlinux.a(a.o):(.foo) is being placed in '.foo'", ".foo", "vmlinux.a(a.o)"),
    ],
)
def test_orphan_sections_of_both_linkers_are_read(text, section, owner):
    read = log.read_text(text + "\n")
    assert [(line.section, line.object) for line in read.orphans] == [(section, owner)]
    assert read.linker == ()


def test_lld_s_range_error_names_symbol_and_kind():
    (error,) = log.read_text(
        "ld.lld: error: a.o:(.text+0x4): relocation R_X86_64_32S out of range: 1 is not in [0, 1]; references 'x'\n"
    ).linker
    assert (error.kind, error.symbol) == (LinkKind.RANGE, "x")


def test_a_flood_of_compilers_warnings_keeps_what_matters():
    noise = "a.c:1:2: warning: unused variable 'error: x' [-Wunused]\n    1 |   int x; /* error */\n"
    told = "x.o: warning: objtool: f+0x1: unreachable instruction\nmake[2]: warning:  Clock skew detected.\n"
    read = log.read_text(noise * 500 + told + "a.c:1:2: error: y\n")
    assert (len(read.objtool), len(read.infra), len(read.compiler)) == (1, 1, 1)


@pytest.mark.parametrize(
    "piece", ["klp-convert: Conflicting KLP_SYMPOS definition: ", "a.b,", "x.o: error: objtool: f()", "FAILED "]
)
def test_hostile_repetition_is_read_at_once_and_raises_nothing(piece):
    log.read_lines([piece * 20_000, f"klp-convert: {piece * 5000}", f"tools/objtool/objtool {piece * 5000}.o"] * 5)
