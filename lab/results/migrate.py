"""Documents of earlier versions, brought to today's. Pure.

Each JSON file of the store says its schema_version. A step takes a document of one version and returns it as the next one has
it; steps are applied in turn. There is one version today, so there is no step yet: who changes a document's shape raises
store.SCHEMA_VERSION and writes the step here, and old results stay readable. A document newer than this lab is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Step = Callable[[str, dict[str, Any]], dict[str, Any]]
"""(kind of the document, such as "AttemptResult"; the document) -> the document, one version newer."""

STEPS: Mapping[int, Step] = {}
"""The version that a step starts from -> the step."""


def migrated(kind: str, document: Mapping[str, Any], to: int, steps: Mapping[int, Step]) -> dict[str, Any] | None:
    """Return a document as version `to` has it; None if there is no way from its version, or it has none."""
    version = document.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= to:
        return None
    found = dict(document)
    for at in range(version, to):
        if at not in steps:
            return None
        found = {**steps[at](kind, found), "schema_version": at + 1}
    return found
