import time
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.evidence import log
from lab.evidence.log_facts import InfraKind, LinkKind, ModpostKind
from lab.evidence.log_faults import faults

FIXTURES = Path(__file__).parent.parent / "fixtures" / "build"
STOP = "make[2]: *** [scripts/Makefile.build:250: {}] Error 1\n"


def first_compiler_error(text):
    return log.read_text(text).compiler[0]


def test_a_compiler_error_has_place_message_and_line():
    error = first_compiler_error("  CC      fs/x.o\nfs/x.c:12:5: error: expected ';' before 'int'\n")
    assert (error.at, error.file, error.row, error.column) == (2, "fs/x.c", 12, 5)
    assert error.message == "expected ';' before 'int'"


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("{standard input}:12: Error: no such instruction: `movx'\n", "{standard input}"),
        ("arch/x86/a.S:7: Error: bad register\n", "arch/x86/a.S"),
        ("Error: arch/arm/boot/dts/foo.dts:12.3-4 syntax error\n", "arch/arm/boot/dts/foo.dts"),
        ("a/q.dts:120.1-9: ERROR (phandle_references): /soc: Reference to non-existent node\n", "a/q.dts"),
        ("error[E0425]: cannot find value `x`\n --> rust/kernel/lib.rs:12:5\n", "rust/kernel/lib.rs"),
        ("\x1b[01m\x1b[Ka.c:3:4:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kx\r\n", "a.c"),
        ("2024-05-01T10:00:00.123456Z a.c:3:4: error: x\n", "a.c"),
        ("10%\r20%\ra.c:3:4: error: x\n", "a.c"),
    ],
)
def test_every_compiler_s_form_of_an_error_is_read(text, file):
    assert first_compiler_error(text).file == file


def test_an_error_in_a_header_names_the_source_that_gcc_was_compiling():
    text = (
        "In file included from ./arch/arm/include/asm/atomic.h:16,\n"
        "                 from ./include/linux/log2.h:12,\n"
        "                 from kernel/bounds.c:13:\n"
        "./arch/arm/include/asm/cmpxchg.h:167:12: error: implicit declaration of function ‘f’\n"
    )
    assert first_compiler_error(text).source == "kernel/bounds.c"


def test_an_error_in_a_header_names_the_source_that_clang_was_compiling():
    text = (
        "In file included from kernel/bounds.c:13:\nIn file included from ./include/linux/log2.h:12:\n"
        "./include/linux/x.h:1:2: error: x\n"
    )
    assert first_compiler_error(text).source == "kernel/bounds.c"


def test_quoted_command_lines_and_quoted_sources_are_no_errors():
    text = (
        "  gcc -Wp,-MMD,x.d -DM='\"a.c:1:2: error: x\"' -c -o a.o a.c ; echo 'foo: error: no'\n"
        "set -e;  echo '  CC      a: error: x'; gcc -c\n"
        "+ echo 'make: *** [x] Error 1'\n"
        'a.c:3:4: warning: unused\n    3 |   perror("No space left on device: error: x");\n      |   ^~~~\n'
    )
    read = log.read_text(text)
    assert (read.compiler, read.tools, read.infra, read.make) == ((), (), (), ())


def test_gnu_ld_s_object_completes_the_source_of_a_multiple_definition():
    text = (
        "arm-linux-gnueabihf-ld: drivers/firmware/efi/efi-init.o: in function `.LANCHOR1':\n"
        "efi-init.c:(.data+0x0): multiple definition of `screen_info'; arch/arm/kernel/setup.o:setup.c:(.data+0x12c): "
        "first defined here\n"
    )
    error = log.read_text(text).linker[0]
    assert (error.kind, error.symbol, error.source) == (
        LinkKind.MULTIPLE,
        "screen_info",
        "drivers/firmware/efi/efi-init.c",
    )


def test_lld_s_undefined_symbol_takes_its_place_from_the_lines_below():
    text = (
        "ld.lld-14: error: undefined symbol: foo_bar\n>>> referenced by core.c:123 (/src/drivers/x/core.c:123)\n"
        ">>>               drivers/x/core.o:(init_fn) in archive vmlinux.a\n"
    )
    error = log.read_text(text).linker[0]
    assert (error.symbol, error.source, error.row) == ("foo_bar", "/src/drivers/x/core.c", 123)


def test_what_a_linker_says_in_consequence_is_no_error_of_its_own():
    text = "collect2: error: ld returned 1 exit status\nclang: error: linker command failed with exit code 1 (use -v)\n"
    read = log.read_text(text)
    assert read.linker + read.tools == ()


@pytest.mark.parametrize(
    ("line", "script", "target", "status"),
    [
        (
            "make[6]: *** [scripts/Makefile.build:244: drivers/a/b.o] Error 1",
            "scripts/Makefile.build:244",
            "drivers/a/b.o",
            1,
        ),
        ("make[2]: *** [fs/x.o] Error 1", "", "fs/x.o", 1),
        ("make[3]: *** [<builtin>: binderfs_test] Error 1", "<builtin>", "binderfs_test", 1),
        ("make: *** [/my dir/Makefile:12: all] Error 2", "/my dir/Makefile:12", "all", 2),
        ("make[1]: *** [Makefile:9: vmlinux] Killed", "Makefile:9", "vmlinux", -1),
        ("make[1]: *** [Makefile:9: a.o] Segmentation fault (core dumped)", "Makefile:9", "a.o", -1),
        ("make[2]: *** [scripts/Makefile.build:271: a.o] Fehler 1", "scripts/Makefile.build:271", "a.o", 1),
        ("make: *** No rule to make target 'Image'.  Stop.", "", "Image", 2),
        ("make[4]: *** No rule to make target `x.o', needed by `y.a'.  Stop.", "", "x.o", 2),
        ("Makefile:684: *** missing separator.  Stop.", "Makefile:684", "", 2),
    ],
)
def test_every_form_of_a_make_failure_is_read(line, script, target, status):
    failure = log.read_text(line + "\n").make[0]
    assert (failure.script, failure.target, failure.status) == (script, target, status)


@pytest.mark.parametrize(
    "line",
    [
        "make[1]: *** Waiting for unfinished jobs....",
        "make[2]: *** Deleting file 'vmlinux'",
        "make: [Makefile:3: foo] Error 1 (ignored)",
        "make: *** [Makefile:3: foo] Error 1 (ignored)",
        "*** Default configuration is based on 'defconfig'",
    ],
)
def test_what_make_says_besides_is_no_failure(line):
    assert log.read_text(line + "\n").make == ()


def test_the_levels_above_a_failure_are_echoes():
    text = (
        "make[3]: *** [scripts/Makefile.build:244: drivers/a/b.o] Error 1\n"
        "make[2]: *** [scripts/Makefile.build:485: drivers/a] Error 2\nmake[1]: *** [Makefile:1924: .] Error 2\n"
        "make: *** [Makefile:240: __sub-make] Error 2\n"
    )
    assert [failure.target for failure in log.read_text(text).failures] == ["drivers/a/b.o"]


def test_a_script_s_own_status_2_at_the_deepest_level_is_no_echo():
    assert len(log.read_text("make[1]: *** [Makefile:3: x] Error 2\n").failures) == 1


def test_a_module_s_own_makefile_only_repeats_what_the_kernel_s_said():
    told = log.read_text(
        "make[4]: *** [scripts/Makefile.modpost:144: /m/Module.symvers] Error 1\n"
        "make[2]: *** [Makefile:234: __sub-make] Error 2\n"
        "make[1]: *** [Makefile:117: vmmon.ko] Error 2\n"
        "make[1]: *** [scripts/Makefile.modfinal:59: other.ko] Error 2\n"
    )
    assert [failure.target for failure in told.failures] == ["/m/Module.symvers", "other.ko"]


def test_tools_build_s_in_o_is_an_echo_though_it_looks_like_an_object():
    text = (
        "make[4]: *** [tools/build/Makefile.build:97: /o/tools/objtool/elf.o] Error 1\n"
        "make[3]: *** [Makefile:63: /o/tools/objtool/objtool-in.o] Error 2\n"
    )
    assert [failure.target for failure in log.read_text(text).failures] == ["/o/tools/objtool/elf.o"]


@pytest.mark.parametrize(
    ("line", "kind", "fatal", "symbol", "module"),
    [
        ('ERROR: "__put_user_2" [net/x.ko] undefined!', ModpostKind.UNDEFINED, True, "__put_user_2", "net/x.ko"),
        ('WARNING: modpost: "f" [a/b.ko] undefined!', ModpostKind.UNDEFINED, False, "f", "a/b.ko"),
        (
            "ERROR: modpost: module m uses symbol s from namespace NS, but does not import it.",
            ModpostKind.NAMESPACE, True, "s", "m",
        ),
        ("FATAL: modpost: Section mismatches detected.", ModpostKind.SECTION_MISMATCH, True, "", ""),
        (
            "WARNING: vmlinux.o(.text+0x1): Section mismatch in reference from the function a() to the function b()",
            ModpostKind.SECTION_MISMATCH, False, "", "vmlinux.o",
        ),
        (
            "WARNING: modpost: vmlinux: section mismatch in reference: a (section: .text) -> b (section: .init.text)",
            ModpostKind.SECTION_MISMATCH, False, "", "vmlinux",
        ),
        ("ERROR: modpost: missing MODULE_LICENSE() in drivers/x/y.o", ModpostKind.LICENSE, True, "", "drivers/x/y.o"),
        (
            "WARNING: modpost: suppressed 12 unresolved symbol warnings because there were too many)",
            ModpostKind.SUPPRESSED, False, "", "",
        ),
    ],
)  # fmt: skip
def test_modpost_s_lines_of_every_version_are_told_apart(line, kind, fatal, symbol, module):
    found = log.read_text(line + "\n").modpost[0]
    assert (found.kind, found.fatal, found.symbol, found.module) == (kind, fatal, symbol, module)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("a.c:1:1: fatal error: error writing to /tmp/x.s: No space left on device", InfraKind.DISK_FULL),
        ("ld: final link failed: No space left on device", InfraKind.DISK_FULL),
        ("gcc: fatal error: Killed signal terminated program cc1", InfraKind.KILLED),
        ("cc1: out of memory allocating 65536 bytes after a total of 1 bytes", InfraKind.OUT_OF_MEMORY),
        ("qemu: uncaught target signal 11 (Segmentation fault) - core dumped", InfraKind.EMULATOR),
        ("/bin/sh: 1: flex: not found", InfraKind.MISSING_TOOL),
        ("make[2]: arm-linux-gnueabihf-gcc: Command not found", InfraKind.MISSING_TOOL),
        ("scripts/Kconfig.include:39: C compiler 'gcc-99' not found", InfraKind.MISSING_TOOL),
        ("make[2]: warning:  Clock skew detected.  Your build may be incomplete.", InfraKind.CLOCK),
        ("cp: cannot create regular file 'x': Read-only file system", InfraKind.READ_ONLY),
        ("/bin/sh: line 1: 12345 Killed                  ld -m elf", InfraKind.KILLED),
    ],
)
def test_the_machine_s_troubles_are_told_from_the_kernel_s(line, kind):
    assert [found.kind for found in log.read_text(line + "\n").infra] == [kind]


def test_the_ksyms_summary_and_objtool_are_read():
    read = log.read_text(
        "  KSYMS   symbols: before=0, after=65, changed=65\n"
        "fs/autofs/autofs4.o: warning: objtool: static_call: can't find static_call_key symbol: __SCK__x\n"
        "x.o: error: objtool: foo+0x12: bad\n"
    )
    assert (read.ksyms[0].after, read.ksyms[0].at) == (65, 1)
    assert [(line.object, line.fatal, line.function) for line in read.objtool] == [
        ("fs/autofs/autofs4.o", False, ""),
        ("x.o", True, "foo"),
    ]


def test_a_half_written_last_line_is_no_failure():
    assert log.read_text("a.c:1:1: error: one\nmake[2]: *** [scripts/Make").make == ()


def test_parallel_errors_go_to_the_failures_that_carry_their_names():
    told = faults(log.read(FIXTURES / "parallel_two_objects.txt"))
    assert [(fault.failure.target, fault.causes[0].file) for fault in told] == [("b.o", "b.c"), ("a.o", "a.c")]


def test_a_real_log_of_undefined_symbols_is_read_whole():
    read = log.read(FIXTURES / "undefined_after_trim.txt")
    assert [failure.target for failure in read.failures] == ["Module.symvers"]
    assert sum(line.kind is ModpostKind.UNDEFINED for line in read.modpost) == 10


def test_a_file_that_is_not_there_is_a_lab_error(tmp_path):
    with pytest.raises(LabError, match=r"cannot read the build log 'none\.txt'"):
        log.read(tmp_path / "none.txt")


def test_a_line_of_many_megabytes_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"x: error: " + b"A" * (8 << 20) + b"\nfs/x.c:1:1: error: y\n")
    read = log.read(path)
    assert read.lines == 2
    assert all(len(fact.text) <= 2000 for fact in (*read.tools, *read.compiler))


def test_garbage_raises_nothing(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(
        bytes(range(256)) * 2000 + b"\n: error: \n:1: error:\nmake[99999]: *** [\n\xff\xfe: *** [a] Error 1"
    )
    assert log.read(path).lines > 0


def test_facts_beyond_the_bound_are_counted_and_not_kept():
    read = log.read_lines(f"a{number}.c:1:1: error: x" for number in range(log.FACTS_LIMIT + 5))
    assert (len(read.compiler), read.left_out) == (log.FACTS_LIMIT, 5)


def test_a_healthy_log_is_read_fast(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"  CC      drivers/some/where/in/the/tree/object.o\n" * 400_000)
    began = time.process_time()
    log.read(path)
    seconds = time.process_time() - began
    assert path.stat().st_size / seconds > 15e6  # 40 MB/s on an idle machine; tests run on busy ones


@pytest.mark.parametrize("piece", [b"1:", b"[", b"ld", b"error: ", b"make[1]: *** [", b"12:00:00 "])
def test_a_line_that_is_made_to_be_slow_is_read_at_once(piece):
    begin = time.process_time()
    log.read_lines([piece * 20_000 + b": error: x"] * 20)
    assert time.process_time() - begin < 1.0  # a quadratic pattern takes 4 s


def test_a_message_of_rustc_is_found_above_its_place():
    text = "error[E0308]: mismatched\n              types\n    --> rust/kernel/lib.rs:1234:9\nmake: *** [x] Error 1\n"
    (error,) = log.read_text(text).compiler
    assert (error.file, error.row, error.message, error.at) == ("rust/kernel/lib.rs", 1234, "mismatched", 1)


def test_the_place_of_a_rust_warning_is_no_error():
    text = "error: x\nwarning: unused\n --> a.rs:1:2\n"
    assert log.read_text(text).compiler == ()
