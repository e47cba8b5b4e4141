"""What lab/data/bin/amplify noted while it made races likelier: how often it waited, for which tool.

amplified.txt: "slow TOOL", "align TOOL NS", "missed TOOL NS", a line each time. A build may have written to it as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lab.evidence.text import numbered_lines

NOTES = "amplified.txt"
IN_OUTPUT = ".lab-amplified"
LINES_LIMIT = 10_000_000
_LINE = re.compile(rb"((?:slow|align|missed) [!-~]{1,64})(?: [0-9]{1,9})?")


def waits(path: Path | None, expected: Iterable[str]) -> dict[str, int]:
    """Return how often each of these was noted, also those that never were. expected: "slow touch", "align ccache", …"""
    found = dict.fromkeys(expected, 0)
    for number, line in numbered_lines(path):
        if number > LINES_LIMIT:
            break
        match = _LINE.fullmatch(line)
        name = match[1].decode() if match else ""
        if name in found:
            found[name] += 1
    return found
