"""What may be run of a bundle from somebody else: its script runs as root, so it must be ours, made of a harmless record.

reproduce.sh is not read and judged: it is made again from record.json, and must come out the same. What of the record then
reaches a program on the host, and not only a container without network and capabilities, must have a known form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from lab.report import bundle
from lab.report.tarball import Member
from lab.results import disk
from lab.results.expected import Expected
from lab.tables import Tables
from lab.use.record import filesystem_recipe

_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,99}(?::[a-z0-9-]{1,20})?")  # of a package, dpkg's; with an architecture
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~-]{0,99}")
_SUITE = re.compile(r"[a-z][a-z0-9-]{0,40}")
_DAY = re.compile(r"(?:[0-9]{8})?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_USER = re.compile(r"[1-9][0-9]{0,9}:[1-9][0-9]{0,9}")
_RELATIVE = re.compile(r"(?!/)(?!(?:.*/)?\.\.(?:/|$))[A-Za-z0-9._/+-]{1,200}")
_ABSOLUTE = re.compile(r"/[^\0\n]{0,1000}")
_REPOSITORY = re.compile(r"(?:(?:https?|git|file)://|/)[!-~]{1,1000}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, TemplateError, RecursionError)
"""What reading a record raises that none of ours would be."""


def doubts(folder: Path, record: Mapping[str, Any], wanted: Expected, tables: Tables) -> tuple[str, ...]:
    """Return why the script in an unpacked bundle is not to be run unread; () if nothing speaks against it."""
    try:
        made = bundle.members(record, wanted, b"", images={}, source=None, program=None)
        found = [
            *_files(folder, made),
            *_filesystem(record, tables),
            *_images(record),
            *_containers(record),
            *_source(record),
        ]
    except UNREADABLE as error:
        return (f"record.json is none of ours: {type(error).__name__} {error}"[:200],)
    return tuple(found)


def _files(folder: Path, made: tuple[Member, ...]) -> Iterator[str]:
    for member in made:
        if member.path not in (bundle.README, bundle.EXPECTED, bundle.RECORD) and (
            disk.read_bytes(folder / member.path) != member.data
        ):
            yield f"{member.path} is not what this lab makes of record.json"
    known = {member.path for member in made}
    for path in sorted(folder.glob("[cp]*/[0-9]*")):
        if (name := path.relative_to(folder).as_posix()) not in known:
            yield f"{name} is not of record.json"


def _filesystem(record: Mapping[str, Any], tables: Tables) -> Iterator[str]:
    """Its options are mount(8)'s, and its server runs as root: it must be a row of this lab's tables."""
    row = tables.filesystem_named(str(record["filesystem"]["name"]))
    ours = filesystem_recipe(row, tables.base_of(row)) if row else None
    if ours is None or json.loads(json.dumps(ours)) != record["filesystem"]:
        yield f"the filesystem {record['filesystem']['name']!r} is not this lab's"


def _images(record: Mapping[str, Any]) -> Iterator[str]:
    """Names of packages and suites become options of mmdebstrap and apt."""
    for name, image in bundle.image_recipes(record).items():
        forms = (
            *((_NAME, package) for package in (*image["wanted"], *image["packages"])),
            *((_VERSION, version) for version in image["packages"].values()),
            *((_SUITE, image["suite"]), (_NAME, image["debian_arch"])),
            *((_DAY, image.get("snapshot", "")), (_DIGEST, image["id"])),
        )
        odd = next((value for form, value in forms if not form.fullmatch(value)), None)
        if odd is not None:
            yield f"the image {name} is to hold {odd!r}"


def _containers(record: Mapping[str, Any]) -> Iterator[str]:
    boot = record["boot"]
    for container in (record["container"], *([boot["container"]] if boot else [])):
        if not _USER.fullmatch(container["user"]):
            yield f"a container is to run as user {container['user']!r}"
    for path in (boot["kernel"], *boot.get("device_trees", ())) if boot else ():
        if not _RELATIVE.fullmatch(path):
            yield f"what is booted is to be taken from {path!r}"


def _source(record: Mapping[str, Any]) -> Iterator[str]:
    source = record["source"]
    forms: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {
        "debian": ((_NAME, "package"), (_VERSION, "version")),
        "git": ((_REPOSITORY, "repository"), (_COMMIT, "commit")),
        "tarball": ((_ABSOLUTE, "path"),),
        "dir": ((_ABSOLUTE, "path"),),
    }
    for form, key in forms[source["kind"]]:
        if not form.fullmatch(source[key]):
            yield f"the source's {key} is to be {source[key]!r}"
