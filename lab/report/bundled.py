"""What `lab bundle` made and what `lab verify-bundle` found, as text. contract: docs/json.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.report.plain import one_line

DIFFERENCES_SHOWN = 5


def bundled_text(contract: Mapping[str, Any]) -> str:
    """Return what was made, and what to do with it."""
    size = contract["bytes"]
    amount = f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / (1 << 10):.0f} KiB"
    wanted = contract["expected"]
    return "\n".join(
        [
            f"{one_line(contract['path'])}: {contract['members']} files, {amount}",
            f"  sha256   {contract['sha256']}",
            f"  expects  {contract['class']}: {one_line(wanted['reason'])}",
            "next:",
            f"  lab verify-bundle {one_line(contract['path'])}",
            f"  tar -xf {one_line(contract['path'])} && less {contract['folder']}/README.txt",
        ]
    )


def verified_text(contract: Mapping[str, Any]) -> str:
    """Return the answer, each run in a line, and packages that were not the recorded ones."""
    lines = [one_line(contract["words"])]
    for number, run in enumerate(contract["runs"], start=1):
        alike = "same" if run["same"] else "    "
        lines.append(f"  run {number}  {alike}  {run['outcome']:<5} {run['seconds']:6.0f} s  {one_line(run['reason'])}")
    differences = list(dict.fromkeys(line for run in contract["runs"] for line in run["image_differences"]))
    if differences:
        lines.append(f"images were made here, and {len(differences)} packages are not the recorded ones:")
        lines += [f"  {one_line(line)}" for line in differences[:DIFFERENCES_SHOWN]]
        lines += ["  …"] if len(differences) > DIFFERENCES_SHOWN else []
    if contract["judged_by"] != contract["expected"]["lab_version"]:
        lines.append(
            f"judged by lab {contract['judged_by']}, recorded by lab {one_line(contract['expected']['lab_version'])}"
        )
    if contract["kept"]:
        lines.append(f"evidence: {one_line(contract['kept'])}/1 …; `lab check` judges it again")
    return "\n".join(lines)
