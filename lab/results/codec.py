"""Model objects as JSON with a schema version, and back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from lab.results import migrate

T = TypeVar("T")

SCHEMA_VERSION = 1
SURROGATE = re.compile("[\ud800-\udfff]")


def encoded(value: Any, *, indent: int | None = 1) -> bytes:
    """Return a model object, or a mapping of JSON values, as JSON with schema_version.

    indent: None for what no person reads; it is several times as fast.

    What comes back from decoded() is equal, as far as JSON can say it: in `data` and `facts` tuples become lists, objects
    that are no JSON their str(), numbers that are not finite None, and half a surrogate pair U+FFFD, anywhere.
    """
    try:
        # five times as fast as what follows; a run of a hundred thousand attempts writes four files for each
        quick = {"schema_version": SCHEMA_VERSION, **_plain(value)}
        return to_json(quick, indent=indent) + b"\n"
    except (_OddError, PydanticSerializationError, UnicodeEncodeError):
        pass
    document = {"schema_version": SCHEMA_VERSION, **(value if isinstance(value, Mapping) else asdict(value))}
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent, default=str)
    except ValueError:
        text = json.dumps(finite(document), ensure_ascii=False, allow_nan=False, indent=indent, default=str)
    return SURROGATE.sub("\ufffd", text).encode() + b"\n"


class _OddError(Exception):
    """Something that is not JSON as it stands."""


def _plain(value: Any) -> Any:
    """Return a value in what JSON has, records as mappings. Raises _OddError at what the json module must be asked about."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is tuple or kind is list:
        return [_plain(inner) for inner in value]
    if kind is dict:
        if all(type(key) is str for key in value):
            return {key: _plain(inner) for key, inner in value.items()}
        raise _OddError
    if issubclass(kind, StrEnum):
        return value.value
    names = _fields(cast(Hashable, kind))
    if not names:
        raise _OddError
    return {name: _plain(getattr(value, name)) for name in names}


@cache
def _fields(kind: Hashable) -> tuple[str, ...]:
    return tuple(one.name for one in fields(cast(Any, kind))) if is_dataclass(kind) else ()


def finite(value: Any) -> Any:
    """Return JSON values with None for every number that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def decoded(kind: type[T], raw: bytes) -> T | None:
    """Return the object that encoded() wrote, now or in an earlier version; None if these bytes are not one of this kind."""
    try:
        if not re.match(rb'\s*\{\s*"schema_version"\s*:\s*%d\s*,' % SCHEMA_VERSION, raw):  # as encoded() begins
            head = adapter(dict[str, Any]).validate_json(raw)
            if head.get("schema_version") != SCHEMA_VERSION:
                document = migrate.migrated(kind.__name__, head, SCHEMA_VERSION, migrate.STEPS)
                if document is None:
                    return None
                raw = json.dumps(document).encode()
        return cast(T, adapter(cast(Hashable, kind)).validate_json(raw, strict=True))
    except (ValidationError, ValueError, RecursionError):
        return None


@cache
def adapter(kind: Hashable) -> TypeAdapter[Any]:
    """Return the validator of a type; building one costs milliseconds."""
    return TypeAdapter(cast(Any, kind))
