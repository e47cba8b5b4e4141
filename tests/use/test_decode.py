"""`lab decode`: a console with what its addresses are, by symbols alone and by debugging information."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import cli
from lab.checks import boot
from lab.errors import EnvironmentFault, ExitCode, UsageError
from lab.evidence import code, lines, traces
from lab.evidence.bundle import Evidence
from lab.evidence.lines import Where
from lab.use import decode
from lab.use import lines as reader

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("evidence", "checks")]
from code_elf import ET_REL, elf
from test_boot_places import AUTOFS, BASE, IN_MODULE, KERNEL, MODULE, SHIFT, evidence

BARE = f"""Call Trace:
 [<{BASE + SHIFT + 0x171:x}>] do_one_initcall+0x71/0x153
 [<{BASE + SHIFT + 0x40:x}>] 0x{BASE + SHIFT + 0x40:x}
 nothing+0x1/0x2
"""


def request(path, **more):
    return decode.Request(path=path, symbols_only=True, **more)


def decoded(wanted, rows, settings):
    return decode.decoded(wanted, settings, rows, lambda text: None)


def test_a_folder_of_evidence_has_the_console_and_its_kernel(tmp_path, rows, machine_settings):
    found = decoded(request(evidence(tmp_path / "a", IN_MODULE).root), rows, machine_settings)
    (report,) = found.reports
    assert (report.title, report.first, report.last) == (
        "BUG: unable to handle kernel NULL pointer dereference in autofs_probe_later", 1, 11,
    )  # fmt: skip
    assert report.lines[2] == "[    1.608064] RIP: 0010:autofs_probe_later+0x13/0x2f (fs/autofs/waitq.c) [autofs4]"
    assert report.lines[4] == "[    1.608064]  ? 0xffffffffc0261000"
    assert report.lines[7] == "[    1.608064]  do_one_initcall+0x71/0x153 (init/main.c)"
    assert (found.resolved, report.kernel_offset) == (True, hex(SHIFT))


def test_a_console_beside_its_kernel_and_one_elsewhere(tmp_path, rows, machine_settings):
    folder = evidence(tmp_path / "a", IN_MODULE).root
    beside = decoded(request(folder / "console.txt"), rows, machine_settings)
    elsewhere = tmp_path / "saved.txt"
    shutil.move(folder / "console.txt", elsewhere)
    assert decoded(request(elsewhere, kernel=folder), rows, machine_settings).reports == beside.reports
    with pytest.raises(UsageError, match="nothing says which kernel"):
        decoded(request(elsewhere), rows, machine_settings)


def test_a_vmlinux_and_a_folder_of_modules_are_enough(tmp_path, rows, machine_settings):
    (tmp_path / "vmlinux").write_bytes(elf(KERNEL))
    (tmp_path / "mods/kernel/fs/autofs").mkdir(parents=True)
    (tmp_path / "mods/kernel" / AUTOFS).write_bytes(elf(MODULE, kind=ET_REL))
    (tmp_path / "console.txt").write_text(IN_MODULE)
    wanted = request(tmp_path / "console.txt", kernel=tmp_path / "vmlinux", modules=tmp_path / "mods")
    (report,) = decoded(wanted, rows, machine_settings).reports
    assert [frame["file"] for frame in report.frames] == [AUTOFS, "", AUTOFS, AUTOFS, "vmlinux"]
    assert report.lines[2].endswith("autofs_probe_later+0x13/0x2f (waitq.c) [autofs4]")


def test_a_trace_without_a_head_is_decoded_and_its_addresses_tell_how_far_the_kernel_was_moved(
    tmp_path, rows, machine_settings
):
    (tmp_path / "vmlinux").write_bytes(elf(KERNEL))
    (tmp_path / "trace").write_text(BARE)
    (report,) = decoded(request(tmp_path / "trace", kernel=tmp_path / "vmlinux"), rows, machine_settings).reports
    assert (report.title, report.kernel_offset) == ("", hex(SHIFT))
    assert report.lines[1].endswith("do_one_initcall+0x71/0x153 (main.c)")
    assert report.lines[2] == f" [<{BASE + SHIFT + 0x40:x}>] (start_kernel+0x40) 0x{BASE + SHIFT + 0x40:x}"
    assert report.frames[-1]["why"] == "vmlinux has no function 'nothing'"


@pytest.mark.parametrize("arguments", [["--symbols-only"], ["--symbols-only", "--json"]])
def test_the_command_prints_text_or_json_and_says_what_it_does_not_know(tmp_path, arguments, capsys):
    folder = evidence(tmp_path / "a", IN_MODULE).root
    assert cli.exit_code_of(["decode", str(folder), *arguments]) == ExitCode.AS_EXPECTED
    out = capsys.readouterr().out
    if "--json" not in arguments:
        assert "not resolved: line 5, 0xffffffffc0261000: it lies outside vmlinux" in out
        assert out.endswith("4 of 5 addresses resolved; 0 with file and line\n")
        return
    contract = json.loads(out)
    assert list(contract) == ["schema_version", "exit_code", "reports", "notes"]
    assert list(contract["reports"][0]) == ["title", "first", "last", "kernel_offset", "frames", "text"]


def test_a_console_of_which_nothing_is_known_exits_with_125(tmp_path, capsys):
    folder = evidence(tmp_path / "a", IN_MODULE, kernel=False).root
    assert cli.exit_code_of(["decode", str(folder), "--symbols-only"]) == ExitCode.UNTESTABLE
    assert "there is no vmlinux" in capsys.readouterr().out
    (folder / "console.txt").write_text("[    0.000000] Linux version 6.1\n")
    assert cli.exit_code_of(["decode", str(folder), "--symbols-only"]) == ExitCode.UNTESTABLE
    assert "nothing on this console looks like an address" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["gone"], [".", "--symbols-only"], ["console.txt", "--kernel", "gone"]])
def test_a_wrong_request_is_told(tmp_path, arguments, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "console.txt").write_text(IN_MODULE)
    code_ = cli.exit_code_of(["decode", *arguments])
    assert code_ == (ExitCode.UNTESTABLE if arguments[0] == "." else ExitCode.USAGE), capsys.readouterr()


def test_without_an_engine_the_lines_are_missed_and_nothing_else(tmp_path, rows, machine_settings):
    folder = evidence(tmp_path / "a", IN_MODULE).root
    (folder / "vmlinux").write_bytes(elf(KERNEL, extra=(".debug_line",)))
    lost = dataclasses.replace(machine_settings, engine=f"unix://{tmp_path}/none.sock")
    found = decoded(dataclasses.replace(request(folder), symbols_only=False), rows, lost)
    assert any(note.startswith("file and line are not shown: no container engine answers") for note in found.notes)
    assert f"{AUTOFS}: no debugging information is here, only symbols" in found.notes
    assert found.resolved


@pytest.mark.parametrize("console", ["[    0.000000] Linux version 6.1\n", IN_MODULE])
def test_an_attempt_asks_no_engine_where_nothing_crashed_or_nothing_has_lines(
    tmp_path, console, rows, machine_settings
):
    folder = evidence(tmp_path / "a", console).root
    (folder / "lines.jsonl").unlink()
    reader.keep(folder, machine_settings, rows, None, pytest.fail)
    assert not (folder / "lines.jsonl").exists()


# ----------------------------------------------------------------------------------------------- the real tool, in a container


SOURCE = """
static inline __attribute__((always_inline)) int inner(int *p) { return *p + 1; }
static __attribute__((noipa, section(".init.text"))) int early(int *p) { return inner(p) * 2; }
int __attribute__((noipa)) middle(int *p)
{
	return inner(p) * 3;
}
int start_kernel(int *p) { return middle(p) + early(p); }
"""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A vmlinux and a module with debugging information, of one source in init/main.c."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no compiler here")
    folder = tmp_path_factory.mktemp("compiled")
    for name in ("init", "lib"):
        (folder / name).mkdir()
        (folder / name / "main.c").write_text(SOURCE)
    flags = ["-g", "-O2", "-fno-pic", "-no-pie", "-nostdlib", "-ffreestanding"]
    kernel = ["-Wl,-e,start_kernel", "-Wl,--build-id=none", "-o", "vmlinux", f"{folder}/init/main.c"]
    subprocess.run(["gcc", *flags, *kernel], cwd=folder, check=True)
    subprocess.run(["gcc", *flags, "-c", "-o", "lib/main.ko", f"{folder}/lib/main.c"], cwd=folder, check=True)
    return folder


@pytest.mark.docker
def test_lines_of_a_kernel_and_of_every_section_of_a_module(compiled, engine, rows, machine_settings):
    kernel = code.of_files(compiled / "vmlinux", {"lib/main.ko": compiled / "lib/main.ko"})
    module = code.of_file(compiled / "lib/main.ko")
    first = traces.first_of(kernel)
    wanted = [first] + [
        Where(object="lib/main.ko", section=section, address=module.named(name)[0].address)
        for name, section in (("middle", ".text"), ("early", ".init.text"))
    ]
    found = reader.read(wanted, first, kernel, machine_settings, rows, engine)
    told = [[(one.function, one.place) for one in found[where]] for where in wanted]
    assert told == [
        [("start_kernel", "init/main.c:8")],
        [("inner", "lib/main.c:2"), ("middle", "lib/main.c:6")],
        [("inner", "lib/main.c:2"), ("early", "lib/main.c:3")],
    ]


@pytest.mark.docker
def test_a_console_is_decoded_with_inlined_functions(compiled, tmp_path, capsys):
    size = code.of_file(compiled / "vmlinux").named("middle")[0].size
    (tmp_path / "console.txt").write_text(
        f"RIP: 0010:middle+0x0/{size:#x}\nCall Trace:\n middle+0x0/{size:#x} [main]\n"
    )
    arguments = ["--vmlinux", str(compiled / "vmlinux"), "--modules", str(compiled)]
    assert cli.exit_code_of(["decode", str(tmp_path / "console.txt"), *arguments]) == ExitCode.AS_EXPECTED
    out = capsys.readouterr().out
    assert f"RIP: 0010:middle+0x0/{size:#x} (init/main.c:2 init/main.c:6)" in out
    assert f" middle+0x0/{size:#x} (lib/main.c:2 lib/main.c:6) [main]" in out


def crashed(folder, compiled):
    """Write the evidence of a kernel that crashed in a function of it."""
    folder.mkdir()
    size = code.of_file(compiled / "vmlinux").named("middle")[0].size
    (folder / "record.json").write_text("{}")
    (folder / "vmlinux").write_bytes((compiled / "vmlinux").read_bytes())
    (folder / "console.txt").write_text(f"BUG: kernel NULL pointer dereference\nRIP: 0010:middle+0x0/{size:#x}\n")
    return folder


@pytest.mark.docker
def test_an_attempt_keeps_the_lines_of_its_crash_for_the_checks(compiled, tmp_path, engine, rows, machine_settings):
    folder = crashed(tmp_path / "a", compiled)
    reader.keep(folder, machine_settings, rows, engine, lambda text: None)
    (found,) = [one for one in boot.check(Evidence(folder)) if one.id == "boot.oops"]
    assert found.data["place"] == "init/main.c:6"
    assert [one["function"] for one in found.data["frames"][0]["lines"]] == ["inner", "middle"]


@pytest.mark.docker
def test_an_attempt_whose_tool_fails_says_so_and_is_judged_without_lines(
    compiled, tmp_path, engine, rows, machine_settings
):
    none = dataclasses.replace(
        rows, image={name: row for name, row in rows.image.items() if "lines" not in row.purpose.value}
    )
    said = []
    folder = crashed(tmp_path / "a", compiled)
    reader.keep(folder, machine_settings, none, engine, said.append)
    assert said[0].startswith("file and line of the crash are not known: no image has addr2line")
    assert [one.id for one in boot.check(Evidence(folder)) if one.id.startswith("boot.")] == ["boot.oops"]


@pytest.mark.docker
def test_debugging_information_that_is_damaged_gives_no_lines_and_no_error(
    compiled, tmp_path, engine, rows, machine_settings
):
    whole = (compiled / "vmlinux").read_bytes()
    at = whole.find(b"main.c")
    broken = bytearray(whole)
    broken[at - 400 : at] = b"\xff" * 400
    (tmp_path / "vmlinux").write_bytes(broken)
    kernel = code.of_files(tmp_path / "vmlinux", {})
    first = traces.first_of(kernel)
    found = reader.read([first], first, kernel, machine_settings, rows, engine)
    assert set(found) <= {first}
    assert lines.tree_of(found, first) in ("", str(compiled) + "/")


@pytest.mark.docker
def test_a_machine_without_such_an_image_says_so(compiled, engine, rows, machine_settings):
    none = dataclasses.replace(
        rows, image={name: row for name, row in rows.image.items() if "lines" not in row.purpose.value}
    )
    kernel = code.of_files(compiled / "vmlinux", {})
    first = traces.first_of(kernel)
    with pytest.raises(EnvironmentFault, match="no image has addr2line"):
        reader.read([first], first, kernel, machine_settings, none, engine)
    assert reader.read([], None, kernel, machine_settings, none, engine) == {}
