"""Dates as mails, archives and trackers write them → ISO 8601, as exact as they were said."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6}"
MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?: ?[AaPp]\.?[Mm]\.?)?"
ZONE = r"(?:[+-]\d{2}:?\d{2}|UTC|GMT|Z|[ECMP][SD]T|CES?T|BST|JST)"
DATE = (
    rf"(?:{DAY},? {{1,2}})?(?:{MONTH} {{1,2}}\d{{1,2}}(?:st|nd|rd|th)?,? {{1,2}}(?:\d{{4}}(?: - {CLOCK}"
    rf"|,? at {CLOCK}|,? {CLOCK})?"
    rf"|{CLOCK}(?: {ZONE})? \d{{4}})|\d{{1,2}} {MONTH},? \d{{4}}(?:,? (?:at )?{CLOCK})?"
    rf"|\d{{4}}[-/]\d{{2}}[-/]\d{{2}}(?:[T ]{CLOCK}(?:\.\d{{1,9}})?)?|\d{{1,2}}/\d{{1,2}}/\d{{4}}(?: {CLOCK})?)(?: ?{ZONE})?"
)
"""A date, as a part of a longer pattern."""
_FOUND = re.compile(DATE)
_NUMERIC = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([AaPp])\.?[Mm])?")
_ZONE = re.compile(rf"{ZONE}(?=$|\W)")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_OFFSETS = {"UTC": 0, "GMT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
            "CET": 1, "CEST": 2, "BST": 1, "JST": 9}  # fmt: skip


def iso(text: str) -> str:
    """Return a date as "2018-03-05", with its time and offset if they are said, "" if there is none in the text.

    Of "03/25/2012" the larger number is the day; where both may be months, American order is taken,
    as mailers that write so do.
    """
    text = " ".join(text[:200].split())
    found = _FOUND.search(text)
    if not found:
        return ""
    day = _day(found[0])
    if not day:
        return ""
    clock = _CLOCK.search(found[0])
    if not clock:
        return day
    hour = int(clock[1]) % 12 + (12 if clock[4] in "Pp" else 0) if clock[4] else int(clock[1])
    if hour > 23 or int(clock[2]) > 59 or int(clock[3] or 0) > 60:
        return day
    return f"{day}T{hour:02}:{clock[2]}:{clock[3] or '00'}{_offset(found[0][clock.end() :])}"


def _day(text: str) -> str:
    if numeric := _NUMERIC.search(text):
        one, two, year = (int(number) for number in numeric.groups())
        month, day = (two, one) if one > 12 else (one, two)
    elif plain := re.search(r"(\d{4})[-/](\d{2})[-/](\d{2})", text):
        year, month, day = (int(number) for number in plain.groups())
    else:
        named = re.search(MONTH, text)
        year_found = re.search(r"(?<![\d:])(\d{4})(?![\d:])", text)
        day_found = re.search(r"(?<![\d:])(\d{1,2})(?![\d:])", text)
        if not (named and year_found and day_found):
            return ""
        month, year, day = _MONTHS.index(named[0][:3].lower()) + 1, int(year_found[1]), int(day_found[1])
    try:
        return datetime(year, month, day).strftime("%Y-%m-%d")  # noqa: DTZ001 (a day has no zone)
    except ValueError:
        return ""


def _offset(text: str) -> str:
    found = _ZONE.search(text)
    if not found:
        return ""
    word = found[0]
    if word in _OFFSETS:
        return f"{_OFFSETS[word]:+03}:00" if _OFFSETS[word] else "Z"
    digits = word.replace(":", "")
    return f"{digits[:3]}:{digits[3:]}"


def of_header(text: str) -> str:
    """Return the date of a mail's Date field."""
    try:
        when = parsedate_to_datetime(text[:200])
    except (ValueError, TypeError, IndexError, OverflowError):
        return iso(text)
    return when.isoformat().replace("+00:00", "Z") if when.tzinfo else when.isoformat()
