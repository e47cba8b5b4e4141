"""What a build log shows before adjust_autoksyms.sh looks at its list for the first time."""

import pytest

from lab.evidence import autoksyms


def started(tmp_path, text, at=None):
    path = tmp_path / "build.txt"
    path.write_text(text)
    return autoksyms.start_of(path, at or text.count("\n") + 1)


@pytest.mark.parametrize(
    "line",
    [
        "  CC      init/main.o",
        "  CC [M]  init/main.o",
        "2024-05-01T10:00:00.1Z   AS      init/main.o",
        "  gcc -Wp,-MD,init/.main.o.d -D__KERNEL__ -c -o init/main.o init/main.c",
        "  gcc -D__KERNEL__ -c -o init/.tmp_main.o init/main.c",
        "  clang -c -nostdinc -o ./init/main.o init/main.c",
    ],
)
def test_objects_are_seen_in_quiet_and_in_verbose_logs(tmp_path, line):
    assert started(tmp_path, line + "\n").compiled == {"init/main.o"}


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("  HOSTCC  scripts/basic/fixdep", True),
        ("  HOSTCC  usr/gen_init_cpio", True),
        ("  HOSTCC  arch/x86/tools/relocs_64.o", True),
        ("  CLEAN   drivers/tty/vt", True),
        ("gcc -O2 -o usr/gen_init_cpio usr/gen_init_cpio.c", True),
        ("  HOSTCC  scripts/mod/modpost.o", False),
        ("  HOSTCC   /build/tools/objtool/fixdep.o", False),
        ("  HOSTCC  tools/objtool/fixdep.o", False),
        ("  CC      init/main.o", False),
    ],
)
def test_a_cleaned_tree_is_told_by_the_host_programs_that_it_makes_again(tmp_path, line, cleaned):
    assert started(tmp_path, line + "\n").cleaned is cleaned


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("  GEN     include/generated/autoksyms.h", True),
        ("  /bin/sh ./scripts/gen_autoksyms.sh include/generated/autoksyms.h", True),
        ("+ /bin/sh ./scripts/gen_autoksyms.sh --modorder include/generated/autoksyms.h.tmpnew", False),
        ("  CHK     include/generated/autoksyms.h", False),
    ],
)
def test_a_list_that_was_made_anew_is_no_leftover(tmp_path, line, listed):
    assert started(tmp_path, line + "\n").listed is listed


def test_what_comes_after_the_summary_does_not_count(tmp_path):
    assert started(tmp_path, "  CC      a.o\n  KSYMS\n  CC      b.o\n", at=2).compiled == {"a.o"}


def test_hostile_lines_take_no_time_and_raise_nothing(tmp_path):
    text = " -c" * 30000 + "\n" + "CC " * 30000 + "\n\x00\xff\x1b[31m\n" + "  CC      " + "a" * 200000 + "\n"
    assert started(tmp_path, text).compiled == frozenset()
