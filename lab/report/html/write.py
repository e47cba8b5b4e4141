"""Writing the site: a folder that appears whole, in place of the one before it."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UsageError
from lab.report.html.cellpage import cell_page
from lab.report.html.explained import explanation, known
from lab.report.html.history import Site, rank
from lab.report.html.overview import ASSETS, index_page
from lab.report.page import TEMPLATES, environment
from lab.results.disk import disk_fault

MARK = ".kbuild-lab-site"
"""A file that tells a folder of ours, which may be replaced, from somebody's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written. bytes: of all files together."""

    index: Path
    pages: int
    bytes: int


def write_site(site: Site, folder: Path, lab_version: str) -> Written:
    """Write the site and return what was written; an earlier site in that folder is replaced when the new one is whole.

    Raises UsageError if something else lies there, EnvironmentFault if the disk does not take it.
    """
    folder = folder.absolute()
    ours(folder)
    making = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        making.mkdir(parents=True)
        pages, size = fill(site, making, folder, lab_version)
        if folder.exists():
            folder.rename(old)
        making.rename(folder)
    except OSError as error:
        raise disk_fault(error, folder) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return Written(index=folder / "index.html", pages=pages, bytes=size)


def ours(folder: Path) -> None:
    """Raise UsageError if a site must not be put into this folder: there is something else."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{str(folder)!r} is no folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UsageError(f"{str(folder)!r} has files that are no site of the lab", hint="name an empty or a new folder")


def fill(site: Site, making: Path, folder: Path, lab_version: str) -> tuple[int, int]:
    """Write all files below `making`, with links as they will hold in `folder`; returns how many pages, and bytes."""
    templates = environment()
    css = "\n".join(path.read_text(encoding="utf-8") for path in (TEMPLATES / "run.css", ASSETS / "site.css"))
    (making / MARK).write_text("")
    size = put(making / "site.css", css)
    size += put(making / "index.html", index_page(site, lab_version, css, templates))
    ordered = sorted(site.histories, key=lambda one: rank(one.now.outcome))
    rows = [(one, f"cells/{one.matrix}/{one.cell}.html") for one in ordered]
    size += put(making / "cells.html", templates.get_template("site/list.html").render(title=site.title, rows=rows))
    for matrix in site.nights:
        (making / "cells" / matrix).mkdir(parents=True)
    for history in site.histories:
        where = Path("cells") / history.matrix
        text = cell_page(history, site.nights[history.matrix], site.detail(history), folder / where, templates)
        size += put(making / where / f"{history.cell}.html", text)
    found = {one.id for history in site.histories for one in history.now.found}
    (making / "explain").mkdir()
    page = templates.get_template("site/explain.html")
    size += put(making / "explain/index.html", page.render(title="What findings mean", text="", ids=sorted(known())))
    for one in known():
        text = page.render(title=one, text=explanation(one), found=one in found)
        size += put(making / "explain" / f"{one}.html", text)
    return len(site.histories) + len(known()) + 3, size


def put(path: Path, text: str) -> int:
    """Write a file and return its size. Not synced: a site is made again in seconds."""
    raw = text.encode("utf-8", "replace")
    path.write_bytes(raw)
    return len(raw)


def matrix_name(run: str, matrix: str) -> str:
    """Return the name that runs of one matrix share: its file's, without the ending; of a run without a file the run's own.

    run: "quickstart-20261121-101112". The name can be a folder's.
    """
    stem = Path(matrix).name.rsplit(".", 1)[0] if matrix else re.sub(r"-[0-9]{8}-[0-9]{6}(-[0-9]+)?$", "", run)
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", stem).strip("-.")[:80] or "matrix"
