"""Images as files: an archive that `docker load` takes, the same bytes for the same image, and without a name.

Without a name it cannot take the place of an image that somebody has: it is known by its digest alone, which is the sha256 of
its configuration, which names the sha256 of each layer.

Source: docker image specification v1.2 (manifest.json); Docker Engine API v1.40, "Export an image".
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from lab.environment.engine import Engine
from lab.errors import EnvironmentFault, UsageError

CONFIG_BYTES_AT_MOST = 16 << 20
LAYERS_AT_MOST = 200
_EPOCH = 1_600_000_000
_LAYER = re.compile(r"layers/[0-9]{3}\.tar")


def save(image: str, engine: Engine, archive: Path, scratch: Path) -> None:
    """Write an image into a new archive. image: its id. scratch: a folder for the engine's own archive, which goes again.

    Raises EnvironmentFault if the engine does not have it, or hands out another.
    """
    raw = scratch / "engine.tar"
    try:
        engine.save(image, raw)
        with tarfile.open(raw) as given:
            config, layers = _parts(_read(given, "manifest.json"))
            text = _read(given, config)
            if f"sha256:{hashlib.sha256(text).hexdigest()}" != image:
                raise _no_image(image, "the engine's archive holds another configuration")
            with tarfile.open(archive, "x", format=tarfile.GNU_FORMAT) as out:
                _write(out, text, [given.getmember(name) for name in layers], given)
    except (tarfile.TarError, KeyError) as error:
        raise _no_image(image, str(error)) from error
    finally:
        raw.unlink(missing_ok=True)


def _write(out: tarfile.TarFile, config: bytes, layers: list[tarfile.TarInfo], given: tarfile.TarFile) -> None:
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    names = [f"layers/{number:03}.tar" for number in range(1, len(layers) + 1)]
    for path, data in (("manifest.json", _manifest(name, names)), (name, config)):
        _add(out, path, len(data), io.BytesIO(data))
    for path, layer in zip(names, layers, strict=True):
        stream = given.extractfile(layer)  # follows a link: an engine may keep equal layers once
        if stream is None:
            raise KeyError(f"no regular file {layer.name!r}")
        stream.seek(0, io.SEEK_END)
        size = stream.tell()
        stream.seek(0)
        _add(out, path, size, stream)


def _manifest(config: str, layers: list[str]) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": None, "Layers": layers}]).encode()


def _add(out: tarfile.TarFile, name: str, size: int, stream: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, _EPOCH
    out.addfile(info, stream)


# -------------------------------------------------------------------------------------------------------------- checking


def check(archive: Path, image: str) -> None:
    """Raise UsageError unless the archive is one that save() wrote of this image: nothing else is to be loaded.

    Of the layers, only their places are looked at; the engine holds them against the configuration.
    """
    seen: dict[str, bytes] = {}
    with archive.open("rb") as stream:
        for number, (info, data) in enumerate(_plain_members(stream)):
            if number > LAYERS_AT_MOST or info.name in seen:
                raise _not_ours(f"it holds {info.name[:100]!r} twice, or too much")
            seen[info.name] = data
    hexadecimal = image.removeprefix("sha256:")
    name = f"{hexadecimal}.json"
    layers = [path for path in seen if _LAYER.fullmatch(path)]
    if set(seen) != {"manifest.json", name, *layers}:
        raise _not_ours(f"it is not made of a configuration {name!r} and its layers")
    if hashlib.sha256(seen[name]).hexdigest() != hexadecimal:
        raise _not_ours("its configuration has another sha256")
    if seen["manifest.json"] != _manifest(name, sorted(layers)):
        raise _not_ours("its manifest gives it a name, or names other layers")


def _plain_members(stream: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield headers of regular files, with the data of those that are no layers. No other kind of member is looked at."""
    while True:
        block = stream.read(512)
        if len(block) == 512 and not block.strip(b"\0"):
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeError) as error:
            raise _not_ours("it is damaged, or no tar file") from error
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise _not_ours(f"{info.name[:100]!r} is no regular file")
        data = b""
        if _LAYER.fullmatch(info.name):
            stream.seek(info.size, io.SEEK_CUR)
        elif info.size <= CONFIG_BYTES_AT_MOST:
            data = stream.read(info.size)
        else:
            raise _not_ours(f"{info.name[:100]!r} is too large")
        stream.seek(-info.size % 512, io.SEEK_CUR)
        yield info, data


def _parts(manifest: bytes) -> tuple[str, list[str]]:
    """Return the names of configuration and layers in the archive of an engine."""
    try:
        image = json.loads(manifest)[0]
        return str(image["Config"]), [str(name) for name in image["Layers"]]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise KeyError("no manifest of an image") from error


def _read(given: tarfile.TarFile, name: str) -> bytes:
    stream = given.extractfile(name)
    if stream is None:
        raise KeyError(f"no regular file {name!r}")
    return stream.read(CONFIG_BYTES_AT_MOST)


def _no_image(image: str, said: str) -> EnvironmentFault:
    return EnvironmentFault(f"cannot save image {image!r}", finding="infra.image", facts=(("said", said),))


def _not_ours(why: str) -> UsageError:
    return UsageError(f"the bundle has an image archive that is not loaded: {why}")
