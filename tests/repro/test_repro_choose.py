"""From facts to a matrix: each value with its rule, what is not matched told, a file that is read back as it was meant."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lab import cli
from lab.matrix.expand import expand
from lab.matrix.read import read_text
from lab.model import DebianSource
from lab.repro import choose, configure, extract, kernels, matrix_text, picks
from lab.repro.facts import Field
from lab.repro.matrix_text import Arm
from lab.repro.rules import RULES
from lab.tables import Fix

TABLES = cli.load_tables()
TRIM = (
    "I build 4.14.23 with gcc version 7.3.0 on an ext4 with 128-byte inodes, make -j1, and TRIM_UNUSED_KSYMS enabled.\n"
    'It fails once every 10 builds:\nERROR: "__put_user_2" [net/ipv4/netfilter/ip_tables.ko] undefined!\n'
    "The file is arch/x86/lib/putuser.S.\n"
)


def told(text, machine="x86_64", given_source=None):
    report = extract.report([("report.txt", text.encode())])
    ask = picks.picked(report)
    choices = choose.made(report, ask, kernels.chosen(report, ask, TABLES, given_source), TABLES, machine)
    configure.configure(choices, report, ask, TABLES, dict.fromkeys(configure.symbols_of(report), ""))
    return choices


ARMS = (Arm(name="as-reported", patches=(), about="x"),)


def matrix(text, tmp_path, **more):
    choices = told(text, **more)
    written = matrix_text.text(choices, ARMS, name="repro-x", description="d", sources=["report.txt"])
    return expand(read_text(written, "x.yaml", tmp_path, TABLES)), written


def mail_of(date, words):
    return f"From: Ann A <ann@example.org>\nTo: b@example.org\nSubject: x\nDate: {date}\n\n{words}"


def rule_of(choices, axis):
    return [choice.rule for choice in choices.choices if choice.axis == axis]


def gaps(choices):
    return {gap.what: gap.because for gap in choices.gaps}


# ------------------------------------------------------------------------------------------------------------- values


def test_a_report_becomes_the_row_of_each_table_with_its_rule():
    one = told(TRIM)
    assert (one.arch, one.toolchain, one.filesystem, one.jobs, one.emulation) == (
        "x86_64",
        "gcc-10",
        "ext4-128",
        1,
        "native",
    )
    assert one.findings == ("timestamps.tie",)
    assert one.chosen.release == "5.10"
    assert rule_of(one, "source") == ["source-nearest"]
    assert rule_of(one, "fault") == ["fault-again"]
    assert rule_of(one, "toolchain") == ["toolchain-nearest"]
    assert rule_of(one, "filesystem") == ["filesystem-by-times"]
    assert "# CONFIG_UNUSED_SYMBOLS is not set" in one.kconfig


def test_every_rule_has_a_sentence():
    one = told(TRIM)
    assert all(choice.rule in RULES and choice.reason for choice in one.choices)
    report = extract.report([("report.txt", TRIM.encode())])
    assert all(fact.rule == "" or fact.rule in RULES for fact in report.facts)
    assert all(pick.rule in RULES for pick in picks.picked(report).values())


@pytest.mark.parametrize(
    ("said", "release", "fault"),
    [
        ("4.14.23", "5.10", "fault-again"),  # before the fix: taken out again where it is
        ("4.18.1", "5.10", ""),  # has the fix: nothing is taken out
        ("4.5.2", "5.10", ""),  # before the mechanism
        ("6.1.55", "6.1", ""),
        ("6.9.3", "6.12", ""),
        ("7.1.2", "7.2", ""),
    ],
)
def test_the_fix_is_taken_out_only_for_a_report_that_is_older(said, release, fault):
    one = told(TRIM.replace("4.14.23", f"Linux {said}"))
    assert one.chosen.release == release
    assert one.chosen.fault_rule == fault


def test_a_report_without_a_version_is_dated():
    text = mail_of("Mon, 5 Mar 2012 10:00:00 +0000", "On ARM I get\n\nInconsistent kallsyms data\n")
    one = told(text)
    assert one.chosen.fix is not None
    assert one.chosen.fix.name == "kallsyms-percpu"
    assert (one.arch, one.emulation, one.chosen.release) == ("armhf", "cross", "6.1")
    assert "2012-03-05" in one.chosen.older
    later = told(text.replace("2012", "2019"))
    assert later.chosen.fix is None


def test_lto_needs_llvm_and_a_kernel_that_has_it():
    one = told(
        "On 5.11.3, x86_64, ThinLTO, clang version 12.0.0:\n"
        "fs/a.o: warning: objtool: static_call: can't find static_call_key symbol: __SCK__x\n"
    )
    assert (one.toolchain, one.lto, one.chosen.release) == ("llvm-14", "thin", "6.1")


@pytest.mark.parametrize(
    ("words", "row"),
    [
        ("on an ext4 filesystem", "ext4"),
        ("on tmpfs, in a build", "tmpfs"),
        ("on an ext3 filesystem with one-second timestamps", "ext3-128"),
        ("the timestamps have poor timestamp resolution", "ext4-128"),
        ("the output directory is on an xfs partition", "xfs"),
        ("the build is on nfs", "tmpfs"),
        ("", "tmpfs"),
    ],
)
def test_a_filesystem_is_the_row_with_its_name_and_times(words, row):
    assert told(f"Linux 6.1.2, {words}.").filesystem == row


def test_what_is_not_said_or_not_there_is_told():
    found = gaps(
        told(
            "I have a problem with Linux 4.14.23 on an omap3430 board, hexagon-linux-gcc 6.1.0, binutils 2.30, "
            "on zfs filesystem.\n"
        )
    )
    assert "a source of 4.14.23 is not at hand; 5.10 is the nearest" in found["source"]
    assert "no row of lab/data/filesystem.yaml" in found["filesystem"]
    assert "the image has its suite's" in found["binutils"]
    assert "no error line" in found["finding"]
    assert "board" in found


def test_the_day_s_packages_are_not_matched_and_that_is_said():
    found = gaps(
        told(
            "From: A <a@example.org>\nTo: b@example.org\nSubject: x\nDate: Mon, 5 Mar 2018 10:00:00 +0000\n\nLinux 4.14.23\n"
        )
    )
    assert "snapshot: 20180305" in found["packages of the day"]


def test_a_symbol_that_the_source_lacks_is_told_and_not_demanded(tmp_path):
    report = extract.report([("x", b"Linux 6.1.2 with CONFIG_KALLSYMS_ALL=y, CONFIG_MODVERSIONS=y and CONFIG_DEMO=m")])
    ask = picks.picked(report)
    one = choose.made(report, ask, kernels.chosen(report, ask, TABLES, None), TABLES, "x86_64")
    configure.configure(
        one, report, ask, TABLES, {"KALLSYMS_ALL": "", "MODVERSIONS": "this source has no CONFIG_MODVERSIONS"}
    )
    assert "CONFIG_KALLSYMS_ALL=y" in one.kconfig
    assert not any("MODVERSIONS" in item or "DEMO" in item for item in one.kconfig)
    assert gaps(one)["CONFIG_MODVERSIONS=y"] == "this source has no CONFIG_MODVERSIONS"
    assert "not demanded" in gaps(one)["CONFIG_DEMO=m"]


def test_only_harmless_make_variables_are_taken_over():
    one = told("Linux 6.1.2: make W=1 KCFLAGS=-O3 CC=/tmp/evil KALLSYMS_EXTRA_PASS=1 -j4 vmlinux")
    assert one.variables == {"W": "1"}
    assert "make's KCFLAGS" in gaps(one)


def test_the_reporter_s_words_count_before_others():
    words = (
        "It is on xfs here, in the build.\n\nOn Sun, 4 Mar 2018, Bob B wrote:\n"
        "> My build is on btrfs and on btrfs alone.\n"
    )
    report = extract.report([("x", mail_of("Mon, 5 Mar 2018 10:00:00 +0000", words).encode())])
    pick = picks.picked(report)[Field.FILESYSTEM]
    assert (pick.fact.value, pick.rule) == ("xfs", "of-the-reporter")
    assert {fact.value for fact in report.of(Field.FILESYSTEM)} == {"xfs", "btrfs"}


def test_what_worked_is_no_candidate():
    report = extract.report(
        [
            (
                "x",
                b"5.15.2 fails to build, kernel 5.14.21 was fine. It fails on ext4. On tmpfs the build succeeds every time.",
            )
        ]
    )
    ask = picks.picked(report)
    assert ask[Field.VERSION].fact.value == "5.15.2"
    assert ask[Field.FILESYSTEM].fact.value == "ext4"


# ------------------------------------------------------------------------------------------------------- the matrix file


def test_the_matrix_is_read_back_as_it_was_chosen(tmp_path):
    (cell,), written = matrix(TRIM, tmp_path)
    assert cell.source == DebianSource(package="linux-source-5.10", suite="bullseye")
    assert (cell.arch, cell.toolchain, cell.filesystem, cell.make.jobs) == ("x86_64", "gcc-10", "ext4-128", 1)
    assert cell.expect is not None
    assert cell.expect.findings == ("timestamps.tie",)
    assert "report.txt:1:" in written
    assert "# Not matched:" in written


@pytest.mark.parametrize("number", ["000", "001", "002", "003", "004"])
def test_the_matrix_of_a_real_mail_is_read_back(number, mail, tmp_path):
    report = mail(number)
    ask = picks.picked(report)
    choices = choose.made(report, ask, kernels.chosen(report, ask, TABLES, None), TABLES, "x86_64")
    configure.configure(choices, report, ask, TABLES, {})
    written = matrix_text.text(
        choices, [Arm(name="as-reported", patches=(), about="x")], name="repro-x", description="d", sources=["x"]
    )
    (cell,) = expand(read_text(written, "x.yaml", tmp_path, TABLES))
    assert not cell.impossible
    wanted = {
        "000": ("x86_64", "gcc-10", "ext4-128", "timestamps.tie"), "001": ("x86_64", "gcc-10", "ext4-128", "timestamps.tie"),
        "002": ("armhf", "gcc-12", "tmpfs", "kallsyms.inconsistent"), "003": ("x86_64", "llvm-14", "tmpfs", "objtool.flags"),
        "004": ("x86_64", "gcc-12", "tmpfs", "livepatch.conflict"),
    }  # fmt: skip
    assert (cell.arch, cell.toolchain, cell.filesystem, *cell.expect.findings) == wanted[number]


EVIL = st.text(max_size=300) | st.sampled_from(
    [
        "x: y\n- z",
        "a\u2028b: c",
        "\x1b[31m",
        "' }\nboot: off",
        '"]\n  boot: off',
        "# x\r\nboot: off",
        "\u202eevil",
        "&a *a",
        "!!python/object",
        "%YAML",
    ]
)


@settings(max_examples=150)
@given(EVIL, EVIL)
def test_no_word_of_a_report_becomes_more_than_a_comment(tmp_path_factory, one, two):
    folder = tmp_path_factory.mktemp("m")
    head = f"From: {one}\nTo: x@example.org\nSubject: {two}\nDate: Mon, 5 Mar 2018 10:00:00 +0000\n\n"
    text = f'{head}{TRIM}CONFIG_{one}="{two}"\nmake W={one} {two}\n'
    report = extract.report([(one or "x", text.encode("utf-8", "replace"))])
    ask = picks.picked(report)
    choices = choose.made(report, ask, kernels.chosen(report, ask, TABLES, None), TABLES, "x86_64")
    configure.configure(choices, report, ask, TABLES, {})
    for choice in (one, two):
        choices.take("kconfig", choice, "first", choice)
        choices.miss(choice, choice)
    arms = [Arm(name="as-reported", patches=(), about=two)]
    written = matrix_text.text(choices, arms, name="repro-x", description=f"{one} {two}", sources=[one, two])
    (cell,) = expand(read_text(written, "x.yaml", folder, TABLES))
    assert cell.boot is not None
    assert cell.toolchain == choices.toolchain
    assert [fragment.name for fragment in cell.kconfig] == choices.kconfig
    assert all(character.isprintable() for line in written.split("\n") for character in line)


# ------------------------------------------------------------------------------------------------------------ the table


def test_the_patches_of_the_table_are_those_of_the_matrices(repository):
    """A matrix may only name files in its own folder, so both have them."""
    ours = repository / "lab" / "data" / "patches"
    for path in sorted(ours.glob("*.patch")):
        assert path.read_text() == (repository / "matrices" / "reports" / "patches" / path.name).read_text(), path.name


def test_every_cause_is_a_finding_that_a_check_has():
    from lab.checks import CHECKS

    known = {one for check in CHECKS for one in check.ids}
    for fix in TABLES.fix.values():
        assert isinstance(fix, Fix)
        assert {fix.cause, *fix.findings} <= known, fix.name


@pytest.mark.parametrize(
    ("one", "other", "apart"), [("4.20", "5.0", 1), ("3.19", "4.0", 1), ("5.19", "6.0", 1), ("5.10", "5.15", 5)]
)
def test_releases_are_counted_over_majors(one, other, apart):
    assert kernels.ordinal(other) - kernels.ordinal(one) == apart
