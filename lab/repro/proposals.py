"""Which of a report's diffs is proposed as the fix: the B arm."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lab.repro.patches import Diff

ASKED = re.compile(
    r"\b(?:(?:please|could you|can you|would you)[^.?!]{0,40}\b(?:test|try)|test (?:the following|this|the below|the attached)"
    r"|(?:try|give) (?:this|the (?:following|attached) patch)|do(?:es)? (?:this|the (?:following"
    r"|below))[^.?!]{0,30}(?:help|fix|work)"
    r"|(?:this|the following|below)[^.?!]{0,40}(?:should|fixes?|cures?|solves?|helps?)|fix (?:goes like this|is below|below)"
    r"|here(?:'s| is) (?:a|the|my) (?:fix|patch)|how about (?:this|the following)|here it is)",
    re.I,
)
HYPOTHESIS = re.compile(
    r"\b(?:hypothes[ie]s|debug(?:ging)? patch|to confirm|narrow (?:it )?down|(?:just|only) (?:to see|a test|an experiment))\b",
    re.I,
)
IS_PATCH = re.compile(r"\[(?:[\w-]{1,20} )?PATCH\b[^\]]{0,40}\]")
REPORTED = re.compile(r"Reported-(?:and-tested-)?by:")
NEAR = 400  # characters above a diff, to its cut mark or tags


def proposal(diff: Diff) -> str:
    """Return the rule by which a diff is proposed as a fix, "" if it is not."""
    words = diff.before
    cut = words.rfind(">8")
    near = words[max(0, cut - NEAR) : cut] if cut >= 0 else words[-NEAR:]
    if ASKED.search(near) and not HYPOTHESIS.search(near):
        return "patch-asked"
    if (
        diff.level == 0
        and not HYPOTHESIS.search(near)
        and (IS_PATCH.search(diff.subject) and not diff.subject.startswith("Re:"))
    ):
        return "patch-subject"
    if diff.level == 0 and REPORTED.search(words) and not HYPOTHESIS.search(near):
        return "patch-subject"
    return ""


def ordered(diffs: Sequence[Diff]) -> list[tuple[Diff, str]]:
    """Return the diffs, the likeliest fix first, each with its rule; one that is only quoted, or tests a hypothesis,
    has none."""
    ranks = {"patch-asked": 0, "patch-subject": 1, "": 2}
    told = [(diff, proposal(diff)) for diff in diffs]
    if len(told) == 1 and not told[0][1] and told[0][0].level == 0 and not HYPOTHESIS.search(told[0][0].before[-NEAR:]):
        return [(told[0][0], "patch-only")]
    return sorted(told, key=lambda pair: ranks.get(pair[1], 3))
