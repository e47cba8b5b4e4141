"""The groups `lab image` and `lab source`: what is made ahead of cells and kept for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lab.cli.plumbing import AsJson, MatrixFile, emit, load_tables, said, settings
from lab.errors import UsageError
from lab.matrix.expand import expand
from lab.matrix.read import read
from lab.report import inventory
from lab.use import prepare

images = typer.Typer(help="Container images: what images/*.yaml defines and what the engine has.", no_args_is_help=True)
sources = typer.Typer(help="Kernel sources: fetch them ahead, list the cache.", no_args_is_help=True)


@images.command("build")
def image_build(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="rows of images/")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every row: many downloads, several GB")] = False,
    as_json: AsJson = False,
) -> None:
    """Build images that the engine does not have as they are defined now. A run builds those that its cells need."""
    rows = load_tables()
    if not names and not everything:
        raise UsageError(
            "no image is named",
            facts=(("defined", f"{len(rows.image)}; `lab image list` shows them, and which are built"),),
            hint="name some, or say --all; `lab run` builds what its cells need by itself",
        )
    if names and everything:
        raise UsageError("--all and names of images exclude each other")
    built = [asdict(one) for one in prepare.images(settings(), rows, names or rows.image, said)]
    emit({"images": built}, inventory.images_text(built), as_json=as_json)


@images.command("list")
def image_list(as_json: AsJson = False) -> None:
    """List every definition, built or not, and images whose definition has changed since."""
    rows = [asdict(row) for row in prepare.image_rows(settings(), load_tables())]
    emit({"images": rows}, inventory.image_rows_text(rows), as_json=as_json)


@images.command("show")
def image_show(name: str, as_json: AsJson = False) -> None:
    """Show an image's digest, what state of the archive it is from, and the versions of its packages."""
    built = prepare.image(settings(), load_tables(), name)
    row = asdict(built)
    emit(row, inventory.image_text(row), as_json=as_json)


@images.command("prune")
def image_prune(as_json: AsJson = False) -> None:
    """Remove images whose definition has changed or gone since they were built, but for those that a running lab needs."""
    gone, kept = prepare.prune(settings(), load_tables())
    words = [*(f"removed {tag}" for tag in gone), *(f"kept {tag}: a running lab needs it" for tag in kept)]
    emit({"removed": list(gone), "kept": list(kept)}, "\n".join(words) or "nothing to remove", as_json=as_json)


@sources.command("fetch")
def source_fetch(matrix: MatrixFile, as_json: AsJson = False) -> None:
    """Fetch, verify, unpack and patch every source that a matrix needs."""
    trees = prepare.sources(settings(), expand(read(matrix, load_tables())), said)
    rows = [{"path": str(tree.path), "version": tree.version, "origin": tree.origin, "key": tree.key} for tree in trees]
    emit({"sources": rows}, "\n".join(f"{row['version']:<12} {row['origin']}" for row in rows), as_json=as_json)


@sources.command("list")
def source_list(as_json: AsJson = False) -> None:
    """List the source trees in the cache."""
    rows = [{"key": key, "version": version, "used_at_s": used} for key, version, used in prepare.cached(settings())]
    emit({"sources": rows}, "\n".join(f"{row['key']}  {row['version']}" for row in rows), as_json=as_json)
