"""What the lines right above a failure say, where no fact of the log does; and titles that are the same from run to run."""

from __future__ import annotations

import re


def without_numbers(text: str) -> str:
    """Take out of a title what changes from run to run: addresses, sizes, temporary names."""
    text = re.sub(r"/tmp/[\w./-]+", "/tmp/…", text)
    return re.sub(r"\b0x[0-9a-f]+\b|\b[0-9a-f]{8,}\b", "…", text)


NOISE = re.compile(
    r"  [A-Z][\w-]* |make(?:\[\d+\])?: (?:\*\*\*|[`'\"]|Entering |Leaving |Nothing |Target |Deleting |[Ww]arning|Circular )"
    r"|\+|\s*$|#|\s*\d* \||compilation terminated|.*warnings? (?:being treated|generated)"
    r"|.*(?:warning|note): |In file included|\s+from "
)
TELLING = re.compile(
    r"\b(?:error|fail(?:ed|ure)|cannot|can't|could not|not found|invalid|missing|unknown|unable|denied|No such|unexpected"
    r"|unrecogni[sz]ed|usage)\b",
    re.IGNORECASE,
)


def telling(excerpt: tuple[str, ...]) -> str:
    """Return the line, among those right above a failure, that most likely says why; "" if only progress stands there."""
    block: list[str] = []
    for line in reversed(excerpt):
        if NOISE.match(line):
            if block:
                break
            continue
        block.append(line.strip())
    found = [line for line in block if TELLING.search(line)]
    return found[-1] if found else block[0] if block else ""


def exception(excerpt: tuple[str, ...]) -> str:
    """Return the last line of a Python traceback, which names the exception."""
    inside = False
    for line in excerpt:
        if line.startswith("Traceback"):
            inside = True
        elif inside and line and not line.startswith(" "):
            return line
    return ""
