"""What `lab boot` prints: which kernel was booted and how, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.report.document import judged_document
from lab.report.judged import Judged
from lab.report.plain import duration, one_line
from lab.report.text import judged_text


def document(judged: Judged, facts: Mapping[str, Any], *, folder: str) -> dict[str, Any]:
    """Return the JSON contract: that of `lab check`, and beside it `kernel` and `folder`. facts: see lab.use.boot.Booted."""
    return {**judged_document(judged), "exit_code": int(judged.exit_code), "kernel": dict(facts), "folder": folder}


def text(contract: Mapping[str, Any], judged: Judged, *, colour: bool = False) -> str:
    """Return the same for people."""
    kernel = contract["kernel"]
    boots = "1 boot" if kernel["boots"] == 1 else f"{kernel['boots']} boots"
    lines = [
        f"kernel    {kernel['release'] or '(no release)'}, {kernel['arch']}, machine {kernel['machine']} ({kernel['accel']})",
        f"modules   {kernel['chosen']} of {kernel['modules']}; {boots}, {duration(kernel['seconds'])}",
        "",
        judged_text(judged, colour=colour).rstrip("\n"),
        f"evidence  {contract['folder']}",
    ]
    return "\n".join([one_line(lines[0]), one_line(lines[1]), *lines[2:4], one_line(lines[4])])
