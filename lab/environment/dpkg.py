"""dpkg's database in a layer that is not mounted: what is installed, and what of that something needs.

Source: dpkg-query(1), "Package states"; deb-control(5); debian-policy, "Declaring relationships between packages".
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

STATUS = "var/lib/dpkg/status"
Fields = Mapping[str, str]
"""Those of one line, by name."""


def installed(layer: Path) -> dict[str, Fields]:
    """Return the fields of each package that is installed, or unpacked, in a tar archive of a root directory."""
    found: dict[str, Fields] = {}
    for paragraph in _status(layer).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if "Package" in fields and fields.get("Status", "").endswith((" installed", " unpacked")):
            found[fields["Package"]] = fields
    return found


def _status(layer: Path) -> str:
    with tarfile.open(layer) as root:
        for member in root:
            if member.name.lstrip("./") == STATUS:
                stream = root.extractfile(member)
                return stream.read().decode("utf-8", "replace") if stream else ""
    return ""


def needed(status: Mapping[str, Fields], wanted: Iterable[str]) -> set[str]:
    """Return the packages that are wanted or essential, with all that these depend on.

    Of alternatives every one that is there counts. Source: deb-control(5), "Depends", "Essential"; mmdebstrap(1), "minbase".
    """
    provided: dict[str, list[str]] = {}
    for name, fields in status.items():
        for virtual in _names(fields.get("Provides", "")):
            provided.setdefault(virtual, []).append(name)
    found: set[str] = set()
    left = [*wanted, *(name for name, fields in status.items() if fields.get("Essential") == "yes")]
    while left:
        name = left.pop()
        if name in found or name not in status:
            left += (one for one in provided.get(name, ()) if one not in found)
            continue
        found.add(name)
        left += _names(status[name].get("Depends", "")) + _names(status[name].get("Pre-Depends", ""))
    return found


def _names(relation: str) -> list[str]:
    """Return the names in a relation such as "libc6 (>= 2.34), awk:any | mawk"."""
    words = (word.split() for word in re.split(r"[,|]", relation))
    return [word[0].partition(":")[0] for word in words if word]
