"""What a reproducer bundle holds: one tar of an attempt that runs with a shell, docker and root, and nothing of the lab.

    kbuild-lab-bundle/
      MANIFEST README.txt reproduce.sh expected.json record.json
      config/final.config  config/NNN.config       the .config that was built; the fragments, in order
      patches/NNN.patch    boot/init boot/applets
      images/NAME.json     what NAME.tar is made of: build, mount, boot, guest
      images/NAME.tar      only on demand; for docker load
      source/tarball       only on demand: the unpatched tree
      program              a user's program that the guest ran

The names are ours, whatever those of a stranger's fragments and patches are. record.json is what all of the rest is made of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lab.report import reproduce
from lab.report.tarball import Member
from lab.results import store
from lab.results.expected import Expected
from lab.results.verdict import rate_words

TOP = "kbuild-lab-bundle"
SCRIPT, RECORD, EXPECTED, README = "reproduce.sh", "record.json", "expected.json", "README.txt"
SOURCE, PROGRAM = "source/tarball", "program"
IMAGES = ("build", "mount", "boot", "guest")
TOTAL_BYTES_AT_MOST = 24 << 30
_MIB, _GIB = 1 << 20, 1 << 30

LIMITS: tuple[tuple[str, int], ...] = (
    (r"README\.txt|expected\.json|images/(?:build|mount|boot|guest)\.json|boot/(?:init|applets)", 4 * _MIB),
    (r"reproduce\.sh|record\.json|program", 128 * _MIB),
    (r"config/(?:final|[0-9]{3})\.config", 16 * _MIB),
    (r"patches/[0-9]{3}\.patch", 64 * _MIB),
    (r"images/(?:build|mount|boot|guest)\.tar|source/tarball", 6 * _GIB),
)
"""What a bundle may hold, as patterns of paths, and how many bytes each."""


def limit_of(path: str) -> int | None:
    """Return how large a member of a bundle may be, None if there is no such member."""
    return next((limit for pattern, limit in LIMITS if re.fullmatch(pattern, path)), None)


def image_recipes(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the images of a record by their names in a bundle: build, mount, boot, guest; those that it needs."""
    boot = record.get("boot") or {}
    named = {"build": record["image"], "boot": boot.get("image"), "guest": boot.get("guest")}
    filesystem = record["filesystem"]
    if "loop" in (filesystem["kind"], (filesystem.get("base") or {}).get("kind")):
        named["mount"] = record.get("mount")
    return {name: named[name] for name in IMAGES if named.get(name)}


def members(
    record: Mapping[str, Any],
    wanted: Expected,
    config: bytes,
    *,
    images: Mapping[str, Path],
    source: Path | None,
    program: Path | None,
) -> tuple[Member, ...]:
    """Return the members of a bundle but MANIFEST. A KeyError names what the record lacks.

    config: the .config that was built, b"" if there was none. images: archives by the names of image_recipes(); source: the
    unpatched tree as a tarball; program: what the guest ran besides; None where they are not wanted.
    """
    return (
        Member(path=SCRIPT, data=reproduce.script(record).encode(), executable=True),
        Member(path=README, data=readme(record, wanted, with_images=set(images), with_source=source is not None)),
        Member(path=EXPECTED, data=store.encoded(wanted)),
        Member(path=RECORD, data=store.encoded(dict(record))),
        *_texts(record),
        *([Member(path="config/final.config", data=config)] if config else ()),
        *(Member(path=f"images/{name}.tar", data=path) for name, path in images.items()),
        *([Member(path=SOURCE, data=source)] if source else ()),
        *([Member(path=PROGRAM, data=program, executable=True)] if program else ()),
    )


def _texts(record: Mapping[str, Any]) -> Iterator[Member]:
    """Yield the parts of the record that people want to read or use by themselves."""
    for folder, suffix, files in (("config", "config", record["kconfig"]), ("patches", "patch", record["patches"])):
        for number, file in enumerate(files, start=1):
            yield Member(path=f"{folder}/{number:03}.{suffix}", data=_bytes(file["text"]))
    for name, recipe in image_recipes(record).items():
        text = json.dumps(recipe, indent=1, sort_keys=True, ensure_ascii=True)
        yield Member(path=f"images/{name}.json", data=f"{text}\n".encode())
    if record["boot"]:
        yield Member(path="boot/init", data=_bytes(record["boot"]["init"]))
        yield Member(path="boot/applets", data=_bytes("".join(f"{name}\n" for name in record["boot"]["applets"])))


def readme(record: Mapping[str, Any], wanted: Expected, *, with_images: set[str], with_source: bool) -> bytes:
    """Return what people read first: what it is, what it needs, how to run it, what should come out."""
    environment = Environment(
        loader=FileSystemLoader(reproduce.TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"line": reproduce.comment, "commas": ", ".join}
    text = environment.get_template("bundle.txt.j2").render(
        record=record,
        wanted=wanted,
        rate=rate_words(wanted.rate) if wanted.rate is not None and wanted.rate.trials > 1 else "",
        images=image_recipes(record),
        missing_images=sorted(set(image_recipes(record)) - with_images),
        with_source=with_source,
        cached=reproduce.has_cache(record["steps"]),
    )
    return _bytes(text)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
