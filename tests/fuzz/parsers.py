"""Every parser of strangers' files, with files to begin from and the errors that it may raise: what the fuzzers are about.

Seeds are fixtures of the other tests, files of tests/fuzz/seeds/<parser>/, and images that are made here. An input that once
crashed a parser stays in tests/fuzz/seeds/<parser>/: it is tried again each time.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
sys.path.insert(0, str(TESTS / "evidence"))

import evidence_parsers as attempts  # noqa: E402
import hostile_files  # noqa: E402

from lab import cli, kconfig  # noqa: E402
from lab.boot import initramfs  # noqa: E402
from lab.boot.initramfs import Entry  # noqa: E402
from lab.environment import parcels  # noqa: E402
from lab.errors import LabError  # noqa: E402
from lab.evidence import commands, deb, elf, exports, kallsyms, modules, mtimes, positions, qmp  # noqa: E402
from lab.matrix import backports  # noqa: E402
from lab.matrix.read import read_text  # noqa: E402
from lab.model import AttemptResult, Cell  # noqa: E402
from lab.repro import extract, picks  # noqa: E402
from lab.results import known, store  # noqa: E402
from lab.use import check, remote  # noqa: E402

WORDS = (
    b"\0",
    b"\n",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"%s%n",
    b"../" * 40,
    b"9" * 400,
    b"-1",
    b"\\" * 50,
    b"a" * 5000,
)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1)


@dataclass(frozen=True)
class Parser:
    """read: takes a file with the input. allowed: what it may raise for it. seeds: beginnings; made when they are asked for."""

    name: str
    read: Callable[[Path], object]
    seeds: Callable[[], Iterator[bytes]]
    allowed: tuple[type[BaseException], ...] = (LabError,)


def fixtures(*patterns: str, at_most: int = 60_000) -> Iterator[bytes]:
    for pattern in patterns:
        for path in sorted((TESTS / "fixtures").glob(pattern)):
            if path.is_file() and path.stat().st_size <= at_most:
                yield path.read_bytes()


def kept(name: str) -> Iterator[bytes]:
    folder = HERE / "seeds" / name
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield path.read_bytes()


def matrix(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    read_text(text, "m.yaml", TESTS / "fixtures" / "matrix", ROWS[0])


ROWS = [cli.load_tables()]
OPTION = b"""config HAS_LTO
	bool "x"
	depends on A && !(B || C=y) if D
	select E
	default y
	imply F
choice
endchoice
"""
CONFIG = b"""# Linux/x86 6.1.0 Kernel Configuration
CONFIG_X=y
CONFIG_S="a b"
# CONFIG_Y is not set
"""
QMP = b"""{"at_s": 0.1, "link": "up"}
{"at_s": 0.1, "asked": "query-version", "answer": {"qemu": {"major": 7, "minor": 2, "micro": 22}}}
{"at_s": 0.2, "event": "STOP", "data": {}}
{"at_s": 0.3, "asked": "query-status", "answer": {"running": false, "status": "internal-error"}}
{"at_s": 0.4, "asked": "human-monitor-command", "answer": "RIP=ffffffff81000123"}
{"at_s": 0.5, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}
{"at_s": 0.6, "link": "held", "because": "x"}
Triple fault
"""
RESULT = b"""{"schema_version": 1, "number": 1, "outcome": "PASS", "reason": "", "findings": []}"""


BACKPORTS = b"""version: 1
backports:
  - {patch: input, since: v5.4, until: 1d489151e9f9, because: "old tools"}
  - patch: p.patch
"""
KNOWN = b"""version: 1
issues:
  - {name: a, finding: timestamps.tie, blame: "drivers/*", until: 2027-01-31, links: [x], cells: ["*"]}
  - {name: b, signature: 0123456789ab}
"""


def config(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    exports.kernel_version(text)
    exports.parsed_config(text)
    kconfig.rules([text], "x86")


def command(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    commands.parse_command("fs/.x.o.cmd", text)
    target = path.with_name(".x.o.cmd")
    path.replace(target)
    list(commands.jsonl(commands.read_commands(path.parent, [target.name])))
    commands.read_jsonl(target)


def tables(path: Path) -> None:
    exports.modinfo_of(path)
    modules.read(path, "x.ko")
    with elf.open_elf(path) as file:
        found = positions.of_module(file)
        list(found.rows(duplicates=True)) if found else None


def cpio(path: Path) -> None:
    initramfs.is_whole(path)


def archive() -> Iterator[bytes]:
    import io

    out = io.BytesIO()
    initramfs.write_archive(
        [
            Entry(path="init", data=b"#!/bin/sh\n", mode=0o100755),
            Entry(path="lib/x.ko", mode=0o100644, data=b"\x7fELF"),
        ],
        out,
    )
    yield out.getvalue()


def mail(path: Path) -> None:
    picks.picked(extract.report([("m.eml", path.read_bytes())]))


def documents(path: Path) -> None:
    raw = path.read_bytes()
    for kind in (AttemptResult, Cell, store.RunFacts, store.History, remote.Tasks, remote.Report):
        store.decoded(kind, raw)


def parcel(path: Path) -> None:
    with path.open("rb") as stream:
        parcels.unpacked(stream, path.parent / "unpacked")


def parcel_seed() -> Iterator[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "cell" / "1"
        folder.mkdir(parents=True)
        (folder / "build.txt").write_text("CC a.o\n" * 50)
        parcels.packed(folder.parent, Path(scratch) / "p")
        yield (Path(scratch) / "p").read_bytes()


def log(kind: str) -> Callable[[Path], object]:
    return lambda path: check.log_file(path, kind)


def unreadable() -> tuple[type[BaseException], ...]:
    return (LabError, elf.UnreadableError)


PARSERS = (
    Parser("matrix", matrix, lambda: fixtures("matrix/*.yaml")),
    Parser("backports", lambda path: backports.read(path, ROWS[0]), lambda: iter([BACKPORTS])),
    Parser("known", lambda path: known.read(path.read_bytes(), "k.yaml"), lambda: iter([KNOWN])),
    Parser("build-log", log("build"), lambda: fixtures("build/*.txt", "build/variants/*.txt")),
    Parser("console", log("console"), lambda: fixtures("console/*.txt")),
    Parser("cmd", command, lambda: kept("cmd")),
    Parser("config", config, lambda: iter([CONFIG, OPTION])),
    Parser("symvers", exports.read_symvers, lambda: kept("symvers")),
    Parser("mtimes", mtimes.read_tsv, lambda: iter([b"1600000000000000000\t12\ta.o\n" * 3])),
    Parser("elf", tables, lambda: iter([hostile_files.module()]), unreadable()),
    Parser("kallsyms", kallsyms.read, lambda: iter([hostile_files.vmlinux()]), unreadable()),
    Parser("cpio", cpio, archive),
    Parser("mail", mail, lambda: fixtures("repro/**/*")),
    Parser("qmp", lambda path: qmp.read(path, path), lambda: iter([QMP])),
    Parser("deb", lambda path: deb.unpack(path, path.parent / "unpacked"), lambda: kept("deb"), unreadable()),
    Parser("json", documents, lambda: iter([RESULT])),
    Parser("parcel", parcel, parcel_seed),
    Parser("steps", attempts.steps, attempts.steps_seeds),
    Parser("remake", attempts.remade, attempts.remade_seeds),
    Parser("writes", attempts.written, lambda: iter([attempts.WRITES])),
    Parser("archive", attempts.archived, attempts.archived_seeds),
    Parser("map", attempts.mapped, lambda: iter([attempts.MAP]), unreadable()),
    Parser("lists", attempts.lists, attempts.lists_seeds),
    Parser("image", attempts.image, attempts.image_seeds, unreadable()),
    Parser("bundle", attempts.bundled, attempts.bundled_seeds),
)  # fmt: skip


def seeds_of(parser: Parser) -> list[bytes]:
    """Return where mutation begins: at least one input, those that crashed it once among them."""
    found = list(dict.fromkeys([*parser.seeds(), *kept(parser.name)]))
    assert found, f"no seed for {parser.name}"
    return found


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return the input with one to eight changes: bits, bytes, numbers, words, pieces left out, doubled, moved or cut off."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at, span = chance.randrange(len(out) + 1), chance.choice((1, 2, 4, 8, 32, 200))
        match chance.randrange(8):
            case 0 if out:
                out[at % len(out)] ^= 1 << chance.randrange(8)
            case 1:
                out[at : at + span] = chance.randbytes(span)
            case 2:
                size = chance.choice((1, 2, 4, 8))
                number = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
                out[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))
            case 3:
                out[at:at] = chance.choice(WORDS)
            case 4:
                del out[at : at + span]
            case 5:
                out[at:at] = out[at : at + span] * chance.choice((1, 2, 50))
            case 6:
                other = chance.randrange(len(out) + 1)
                out[at:at] = out[other : other + span]
            case 7 if chance.random() < 0.2:
                del out[at:]
    return bytes(out[: 1 << 20])
