"""Parsers of what an attempt leaves behind and a stranger may send: the small files of the evidence, archives, boot images."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "evidence"))

import hostile_files
import kallsyms_image
import synthetic_tree

from lab.checks import boot_end, clock, infra, remake
from lab.evidence import (
    amplified,
    autoksyms,
    boot_image,
    boots,
    exports,
    image_format,
    image_length,
    kept_passes,
    lines,
    objects,
    writes,
)  # fmt: skip
from lab.evidence import text as texts
from lab.evidence.bundle import Evidence
from lab.evidence.console import read as read_console
from lab.evidence.elf import UnreadableError
from lab.report import bundle, tarball
from lab.results import journal
from lab.use import verify

LIMIT = 1 << 20
STEP = {
    "name": "build",
    "ending": "exited",
    "status": 0,
    "seconds": 1.0,
    "argv": ["make"],
    "bytes_free": 1,
    "set_back_s": 0.5,
}
REMADE = "  CC      init/main.o - due to: include/linux/init.h\nmake[1]: *** [Makefile:1: x.o] Error 1\n"
WRITES = (
    b"1600000000000000000\tCW\ta.o\n1600000000200000000\tA\tinclude/ksym/a\n1500000000000000000\tM\tb\\x0a.o\n\tQ\t\n"
)
MAP = b"ffffffff81000000 T _text\nffffffff81000010 t a.cold\nffffffff81000020 D b\nffffffff82000000 D _edata\n"


def folder_of(path: Path, *names: str) -> Path:
    """Return an evidence folder in which every one of the names is the input."""
    folder = path.parent / "attempt"
    folder.mkdir()
    for name in ("record.json", *names):
        (folder / name).write_bytes(path.read_bytes() if name in names else b"{}")
    return folder


def steps(path: Path) -> None:
    evidence = Evidence(folder_of(path, "steps.json", "boots.json"))
    list(infra.check(evidence))
    console = read_console(path)
    for one in boots.found(evidence.steps, evidence.file, evidence.name_of):
        list(boot_end.findings(one, console, evidence))


def steps_seeds() -> Iterator[bytes]:
    yield json.dumps([STEP, STEP | {"name": "boot", "ending": "deadline", "status": -1}]).encode()
    yield json.dumps({"steps": [STEP | {"status": 139, "detail": "x"}]}).encode()
    planned = {"step": "boot", "console": "console.txt", "modules": ["a.ko"], "borrowed": [], "because": "x"}
    yield json.dumps({"boots": [planned], "steps": [STEP]}).encode()


def remade(path: Path) -> None:
    list(remake.check(Evidence(folder_of(path, "remake.json", "remake.txt"))))


def remade_seeds() -> Iterator[bytes]:
    yield json.dumps(
        {"first": STEP, "again": STEP | {"status": 2}, "written": [["a.o", 1, 2], ["b", None, 3]]}
    ).encode()
    yield REMADE.encode()


def written(path: Path) -> None:
    events = writes.read_writes(path) or ()
    writes.steps_back(path)
    writes.lag_ns(events, {event.path: event.time_ns for event in events})
    autoksyms.rounds(events)
    list(clock.check(Evidence(folder_of(path, "writes.tsv", "mtimes.tsv"))))


def archived(path: Path) -> None:
    objects.read_jsonl(path)
    for read in (objects.archive_members, lambda path: objects.object_facts(path, "x.o")):
        with contextlib.suppress(UnreadableError):
            read(path)


def archived_seeds() -> Iterator[bytes]:
    yield synthetic_tree.thin_archive(["a.o", "lib/b.o"])
    yield json.dumps({"path": "a.o", "part_of": "vmlinux", "exports": ["a"], "undefined": ["b"]}).encode() + b"\n"
    yield hostile_files.module()


def mapped(path: Path) -> None:
    target = path.replace(path.with_name(".tmp_System.map"))
    kept_passes.listing_of(target)
    image_length.missing_bytes(target, target)


def lists(path: Path) -> None:
    autoksyms.read_list(path)
    autoksyms.start_of(path, 100)
    exports.modules_order(path)
    exports.versions_of(path)
    amplified.waits(path, ["slow gcc", "align cp", "missed cp"])
    lines.read_jsonl(texts.json_rows(path, LIMIT))
    journal.read(path)


def lists_seeds() -> Iterator[bytes]:
    yield b"#define __KSYM_a 1\n#define __KSYM_b_c 1\n"
    yield b"  CC      a.o\n  CLEAN   .\n  UPD     include/generated/autoksyms.h\n"
    yield b"fs/a.ko\nlib/b.ko\n"
    yield b"slow gcc\nalign cp\nmissed cp\n"
    yield b'{"object": "a.ko", "section": ".text", "address": 16, "lines": [{"function": "f", "file": "a.c", "line": 3}]}\n'


def image(path: Path) -> None:
    image_length.missing_bytes(path)
    image_format.of_image(path, "x")
    image_format.is_bare(path)
    boot_image.read(path, None, None)


def image_seeds() -> Iterator[bytes]:
    table, _ = kallsyms_image.image([(0x10000 + 16 * at, "T", f"function_{at}") for at in range(40)])
    bare = b"\0" * 56 + b"ARM\x64" + b"\0" * 4 + table + b"Linux version 6.1.0 (a@b) (gcc) #1 SMP\n\0"
    yield bare
    yield (
        b"\0" * 0x1F1
        + b"\4"
        + b"\0" * 2
        + b"\x10\0\0\0"
        + b"\0" * 10
        + b"HdrS"
        + gzip.compress(bare.ljust(300_000, b"\0"))
    )


def bundled(path: Path) -> None:
    verify.unpack(path, path.parent / "unpacked")


def bundled_seeds() -> Iterator[bytes]:
    out, said = io.BytesIO(), {bundle.RECORD: b"{}", bundle.SCRIPT: b"#!/bin/sh\n", bundle.EXPECTED: b"{}"}
    tarball.write_tar(bundle.TOP, [tarball.Member(path=path, data=data) for path, data in said.items()], out)
    yield out.getvalue()
