"""What a machine can do and which images it has, as text; the rows are the JSON contracts of `lab doctor` and `lab image`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lab.report.plain import duration, one_line

MARKS = {True: "ok", False: "lacks", None: "?"}


def capabilities_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return one line a capability, and under what lacks the commands that `lab doctor --fix` would run.

    rows: name, ok (true, false, null: could not be tried), needed, detail, hint, fixes [{why, argv}].
    """
    lines = []
    for row in rows:
        mark = MARKS[row["ok"]]
        if row["ok"] is False and not row["needed"]:
            mark = "without"
        lines.append(f"{mark:<8} {row['name']:<12} {one_line(row['detail'])}")
        if row["ok"] is not False:
            continue
        lines += [f"         fix:  {' '.join(fix['argv'])}" for fix in row["fixes"]]
        if row["hint"]:
            lines.append(f"         hint: {one_line(row['hint'])}")
    return "\n".join(lines)


def image_text(row: Mapping[str, Any]) -> str:
    """Return an image's tag, digest, state of the archive and packages."""
    packages = [f"  {name} {version}" for name, version in sorted(row["packages"].items())]
    lines = [f"{row['tag']}  {row['bytes'] >> 20} MiB", str(row["id"])]
    lines += [f"suite {row['suite']}"] if row["suite"] else []
    lines += [f"as the archive was on {row['snapshot']}"] if row["snapshot"] else []
    lines += [f"index of {one_line(name)}: {one_line(date)}" for name, date in sorted(row["releases"].items())]
    lines += [f"without {one_line(name)}: the mirror did not have it whole" for name in row["left_out"]]
    return "\n".join([*lines, f"{len(packages)} packages", *packages])


def images_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return one line an image."""
    return "\n".join(
        f"{row['tag']:<44} {row['id'][:19]}  {row['bytes'] >> 20} MiB"
        + (f"  without {one_line(', '.join(row['left_out']))}" if row["left_out"] else "")
        for row in rows
    )


def image_rows_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return one line a definition, aligned: name, state, key, size, number of packages, suite and architecture."""
    some = list(rows)
    width = max((len(row["name"]) for row in some), default=0)
    lines = []
    for row in some:
        built = row["state"] != "not built"
        size = f"{row['bytes'] >> 20:>5} MiB {row['packages']:>4} packages" if built else " " * 24
        where = " ".join(filter(None, (row["suite"], row["arch"], row["snapshot"])))
        lines.append(f"{row['name']:<{width}}  {row['state']:<9}  {row['key']:<12}  {size}  {where}".rstrip())
    return "\n".join(lines)


def estimate_text(row: Mapping[str, Any], *, cells: int, cores: int) -> str:
    """Return an estimate for people. row: docs/json.md, `lab run --estimate`."""
    if not row["attempts"]:
        return "nothing is left to run"
    lines = [
        f"about {duration(row['seconds'])}: {row['attempts']} attempts of {cells} cells on {cores} processors; "
        f"no order takes less than {duration(row['bound_s'])}"
    ]
    if row["guessed"] == row["attempts"]:
        lines.append(
            f"a mere guess: nothing like it was run before, each attempt is taken for {duration(row['guess_s'])}"
        )
    elif row["guessed"]:
        guess = f"{row['guessed']} of them were never run; each is taken for {duration(row['guess_s'])}"
        lines.append(f"{guess}, the median of the others")
    busy = ", ".join(f"{pool} {share:.0%}" for pool, share in row["busy"] if share >= 0.005)
    return "\n".join([*lines, f"in use: {busy}"])
