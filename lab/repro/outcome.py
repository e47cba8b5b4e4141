"""Whether what a text names was there when it failed, or when it worked: read off the clause that it stands in."""

from __future__ import annotations

import re
from itertools import pairwise

GOOD, INDIFFERENT = "good", "indifferent"
WINDOW = 220  # characters of a sentence that are looked at, to either side
SENTENCE = re.compile(r"[.!?:;](?=\s)|\] (?=\[)|  +|\s-\s")
CLAUSE = re.compile(r",(?=\s)|\b(?:but|however|while|whereas|otherwise|although|though)\b", re.I)
AND = re.compile(r"\band\b")
CONDITION = re.compile(
    r"\s*(?:and |or |so |also |even |only )?(?:if|when(?:ever)?|with(?:out)?|after|by|once|using|on|for|in|under|disabl|enabl"
    r"|turn|set|unset|switch|select|revert|build|compil|add|remov|us(?:e|ing))",
    re.I,
)
CURED = re.compile(
    r"\b(?:goes|went|go|going|is|are) (?:away|gone)\b"
    r"|(?<![\w/-])(?:disappear|vanish|fixe[sd]|fix (?:it|this|that|the)\b|cure[sd]|avoid"
    r"|work(?:s|ed)? around|workaround|helps\b|helped\b)|\bno longer (?!works?\b|builds?\b|boots?\b|compiles?\b|links?\b)"
    r"|\b(?:not|never|un)[ -]?(?:be )?reproduc|\b(?:cannot|can't|couldn't|could not|unable to) reproduce"
    r"|\b(?:doesn't|don't|does not|didn't|did not|never) (?:happen|fail|occur|break|reproduce|crash|show|trigger|see|hit)"
    r"|\bno (?:such )?(?:error|failure|problem|issue|warning)s?\b|\bmakes? (?:it|this|the \w+) (?:work|build|boot|go away)",
    re.I,
)
WELL = re.compile(r"\b(?:works?|worked|succeeds?|succeeded|passes|fine|ok|okay|good|unaffected|successfully)\b", re.I)
BADLY = re.compile(
    r"\b(?:fail\w*|break\w*|broke\w*|errors?|panic\w*|crash\w*|hangs?|hung|undefined|bad|affected|wrong"
    r"|no longer \w+|(?:doesn't|don't|does not|didn't|did not|not|never|stops?|stopped) (?:work|build|boot|compil|link)\w*)",
    re.I,
)
SAME = re.compile(
    r"\bno (?:difference|change|effect)\b|\b(?:doesn't|don't|does not|do not|didn't|did not|not|never|without) "
    r"(?:\w+ ){0,2}?(?:differen\w+|matter|help(?:ing)?|change|fix)\b|\bregardless\b|\bno matter\b|\bwith or without\b"
    r"|\bwith and without\b",
    re.I,
)
LEFT_OUT = re.compile(r"\b(?:omit|drop|remov|without|instead of|rather than|unlike|no)\w*(?: the| a| any)? ?$", re.I)


def outcome(text: str, start: int, end: int) -> str:
    """Return GOOD if what stands at start … end was there when it worked, INDIFFERENT if it was tried and changed nothing.

    Anything else is "". What is left out ("without the -j8 it works") was there when it failed.
    """
    before = text[max(0, start - WINDOW) : start]
    cuts = [cut.end() for cut in SENTENCE.finditer(before)]
    begin = start - len(before) + (cuts[-1] if cuts else 0)
    following = SENTENCE.search(text, end, end + WINDOW)
    stop = following.start() if following else min(len(text), end + WINDOW)
    clauses = _clauses(text, begin, stop)
    index = next((at for at, (first, last) in enumerate(clauses) if first <= start < last), None)
    if index is None or LEFT_OUT.search(text[begin:start]):
        return ""
    words = [text[first:last] for first, last in clauses]
    return next(filter(None, map(_verdict, _related(words, index))), "").replace("bad", "")


def _clauses(text: str, begin: int, stop: int) -> list[tuple[int, int]]:
    """Return where the clauses of a sentence are."""
    cuts = [cut.start() for cut in CLAUSE.finditer(text, begin, stop)]
    edges = [begin, *cuts, stop]
    whole = [(one, other) for one, other in pairwise(edges) if other > one]
    return [part for first, last in whole for part in _joined(text, first, last)]


def _joined(text: str, first: int, last: int) -> list[tuple[int, int]]:
    """Return the two halves of a clause around an "and" if each says how something came out, else the clause."""
    for cut in AND.finditer(text, first, last):
        if _verdict(text[first : cut.start()]) and _verdict(text[cut.end() : last]):
            return [(first, cut.start()), (cut.start(), last)]
    return [(first, last)]


def _related(words: list[str], index: int) -> list[str]:
    """Return the clauses that say how something came out: its own; where that is a condition, those around it."""
    own = words[index]
    if not CONDITION.match(own.lstrip(", ")):
        return [own]
    before = [one for one in words[max(0, index - 1) : index] if not CONDITION.match(one.lstrip(", "))]
    return [own, *words[index + 1 : index + 4], *before]


def _verdict(clause: str) -> str:
    if SAME.search(clause):
        return INDIFFERENT
    if CURED.search(clause):
        return GOOD
    well, badly = WELL.search(clause), BADLY.search(clause)
    if well and (not badly or well.start() < badly.start()):
        return GOOD
    return "bad" if badly else ""
