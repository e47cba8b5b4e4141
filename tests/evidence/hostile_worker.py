"""Runs in a process of its own, with little memory and time: reads what was broken, and tells what crashed.

hostile_worker.py CASE FOLDER
"""

import contextlib
import resource
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))
MEMORY_BYTES = 1 << 30
CPU_S = 120

import hostile_files as files  # noqa: E402

from lab import checks  # noqa: E402
from lab.errors import UsageError  # noqa: E402
from lab.evidence import (  # noqa: E402
    boot_image,
    code,
    elf,
    exports,
    kallsyms,
    kept_passes,
    livepatch,
    modules,
    objects,
    objtool,
    positions,
)
from lab.evidence import symbols as symbol_reader  # noqa: E402
from lab.evidence.bundle import Evidence  # noqa: E402
from lab.report import judged, text  # noqa: E402


class Told:
    def __init__(self):
        self.tried, self.crashed = 0, []

    def judge(self, root, what):
        self.tried += 1
        try:
            with contextlib.suppress(UsageError):
                findings, gaps = checks.judge(Evidence(root), checks.CHECKS)
                self.crashed += [f"{what}: {one.message}" for one in findings if one.id == checks.CRASHED]
                text.judged_text(judged.judged(findings, gaps, {one.name: one.ids for one in checks.CHECKS}))
        except BaseException:
            self.crashed.append(f"{what}: {traceback.format_exc()[-700:]}")

    def read(self, path, what, readers):
        self.tried += 1
        for reader in readers:
            try:
                with contextlib.suppress(elf.UnreadableError):
                    reader(path)
            except BaseException:
                self.crashed.append(f"{what}: {traceback.format_exc()[-700:]}")


def opened(then):
    def read(path):
        with elf.open_elf(path) as file:
            then(file)

    return read


def of_module(path):
    modules.read(path, "x.ko")
    exports.modinfo_of(path)
    objtool.marks(path)
    objects.object_facts(path, "x.o")


def of_code(path):
    """Every function by name and by address, with what lies beside it."""
    found = code.of_file(path)
    for index in range(min(len(found) if found is not None else 0, 300)):
        name = found.names.text(index)
        for one in (*found.named(name), *found.beginning(name[:3])):
            found.at(one.address, one.section)
            found.beside(one, lambda near: near.file == "")


MODULE = (
    of_module,
    of_code,
    lambda path: livepatch.read(path, "x.ko"),
    opened(lambda file: list(found.rows(duplicates=True)) if (found := positions.of_module(file)) else None),
)
KERNEL = (
    kallsyms.read,
    kept_passes.listing_of,
    lambda path: boot_image.read(path, None, None),
    opened(symbol_reader.of_elf),
    of_code,
)


def broken(data, count=80):
    """Yield every way to break an ELF file. count: of those that chance chooses."""
    yield from files.truncated(data)
    yield from files.flipped(data, count)
    yield from files.reworded(data, files.header_places(data))
    yield from files.reworded(data, files.inner_places(data, count))


def case_module(folder, told):
    path = folder / "x.ko"
    for number, data in enumerate(broken(files.module())):
        path.write_bytes(data)
        told.read(path, f"module {number}", MODULE)


def case_vmlinux(folder, told):
    path = folder / "vmlinux"
    for number, data in enumerate(broken(files.vmlinux(), 20)):  # each takes a while
        path.write_bytes(data)
        told.read(path, f"vmlinux {number}", KERNEL)


def case_stripped(folder, told):
    """A kernel without symbols, whose table is found by what it looks like; in every layout."""
    path = folder / "vmlinux"
    for layout in files.kallsyms_image.LAYOUTS:
        table, _ = files.kallsyms_image.image(
            [(0x10000 + 16 * number, "T", f"name_{number}") for number in range(600)], layout=layout
        )
        image = b"\0" * 56 + b"ARM\x64" + b"\0" * 68 + table
        ways = [
            *files.truncated(image),
            *files.flipped(image, 60),
            *files.reworded(image, files.inner_places(image, 40)),
        ]
        for number, data in enumerate(ways):
            path.write_bytes(data)
            told.read(path, f"image {layout} {number}", KERNEL[2:3])


def each_file(root, told, names, seed):
    for name in names:
        path = root / name
        whole = path.read_bytes()
        ways = [
            *files.truncated(whole, 4),
            *files.flipped(whole, 5, seed),
            b"\xff" * 4096,
            b"\0" * 4096,
            b"9" * 200_000,
        ]
        ways += [b"[" * 100_000, b"\t" * 100_000 + b"\n", b'{"a":' * 50_000, b"\n" * 100_000]
        for number, data in enumerate(ways):
            path.write_bytes(data)
            told.judge(root, f"{name} {number}")
        path.write_bytes(whole)


def case_output(folder, told):
    root = files.output(folder / "out")
    told.judge(root, "sound")
    commands = sorted(str(path.relative_to(root)) for path in root.rglob("*.cmd"))[:2]
    names = [
        ".config", "Module.symvers", "modules.order", "System.map", "build.txt", "console.txt",
        "include/generated/autoksyms.h", *commands,
    ]  # fmt: skip
    each_file(root, told, [name for name in names if (root / name).exists()], 5)


def case_packed(folder, told):
    root = files.packed(files.output(folder / "out"), folder / "kept")
    told.judge(root, "sound")
    names = [
        "mtimes.tsv", "commands.jsonl", "objects.jsonl", "steps.json", "record.json", "writes.tsv", "vmlinux.zst", "config.txt",
        "Module.symvers", "lines.jsonl",
    ]  # fmt: skip
    each_file(root, told, [name for name in names if (root / name).exists()], 6)


def case_distribution(folder, told):
    root = files.distribution(folder / "root")
    told.judge(root, "sound")
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    each_file(root, told, names, 7)


def case_map(folder, told):
    path = folder / "System.map"
    whole = files.output(folder / "out").joinpath("System.map").read_bytes()
    ways = [
        *files.truncated(whole),
        *files.flipped(whole, 60),
        b"",
        b"\n" * 1_000_000,
        b" " * 1_000_000,
        whole + b"0" * 9_000_000,
    ]
    for number, data in enumerate(ways):
        path.write_bytes(data)
        told.read(path, f"map {number}", (symbol_reader.of_map, kept_passes.listing_of))


def case_crash(folder, told):
    """What this worker is for: a reader that does not take what it gets."""
    told.read(folder, "crash", (lambda path: 1 / 0,))


def case_bombs(folder, told):
    root = files.distribution(folder / "root")
    release = "lib/modules/6.1.0-9/kernel/lib"
    for form, data in files.bombs().items():
        began = time.monotonic()
        image = root / "boot/vmlinuz-6.1.0-9"
        image.write_bytes(b"MZ" + b"\0" * 500 + data * (3 if form == "gz" else 1))
        if form != "bz2":
            (root / release / f"bomb.ko.{form}").write_bytes(data)
        told.judge(root, f"bomb {form}")
        print(f"bomb {form}: {len(data)} bytes, {time.monotonic() - began:.1f} s", file=sys.stderr)


def case_crowds(folder, told):
    """Counts that are too large, names without end, and names that overlap a million times."""
    path = folder / "x.ko"
    base = files.module()
    for number, data in enumerate(crowds(base)):
        path.write_bytes(data)
        told.read(path, f"crowd {number}", (*MODULE, *KERNEL))


def crowds(base):
    at = int.from_bytes(base[40:48], "little")
    yield base[:60] + (65535).to_bytes(2, "little") + base[62:]
    yield base[:60] + (65535).to_bytes(2, "little") + base[62:] + b"\0" * 64 * 65535
    # as many sections as e_shnum's escape says, in a file that has them
    yield base[:60] + (0).to_bytes(2, "little") + base[62 : at + 32] + (1 << 20).to_bytes(8, "little") + base[at + 40 :]
    yield files.elf([files.Section("n" * 60_000, b"")] * 60, [("s", 0x12, 1, 0)])
    yield files.elf([files.Section(".text", b"")], [("x" * 5_000_000, 0x12, 1, 0)])
    yield no_end(base)
    yield overlapping()


def no_end(base):
    """A string table whose last name never ends."""
    return base.replace(b"__ksymtab_x\0", b"__ksymtab_xX", 1)


def overlapping():
    """Two million symbols whose names are the ends of one name of four thousand letters."""
    import struct

    letters = b"\0" + b"y" * 4000 + b"\0"
    rows = b"".join(struct.pack("<IBBHQQ", 1 + number % 64, 0x12, 0, 1, 0, 0) for number in range(4096)) * 488
    whole = bytearray(files.elf([files.Section(".text", b"\x90" * 16)], []))
    at = struct.unpack_from("<Q", whole, 40)[0]
    for number, body in ((2, rows), (3, letters)):
        struct.pack_into("<QQ", whole, at + 64 * number + 24, len(whole), len(body))
        whole += body
    return bytes(whole)


def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    told = Told()
    globals()[f"case_{name}"](folder, told)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{told.tried} tried, {len(told.crashed)} crashed, peak {peak} MiB")
    print("\n".join(told.crashed[:8]))
    sys.exit(bool(told.crashed))


if __name__ == "__main__":
    main()
