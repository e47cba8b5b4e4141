"""What a text says of the fault's behaviour: the filesystem and its times, how often, what was different; and of
itself: links, people."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from lab.repro.environment import Row, fact, held_against, row
from lab.repro.facts import Block, Fact, Field
from lab.repro.people import person

# ------------------------------------------------------------------------------------------------- filesystem and times

FILESYSTEMS = (
    r"ext[234]|xfs|btrfs|tmpfs|f2fs|reiserfs|jfs|zfs|bcachefs|nfs(?:v[34])?|vfat|fat32|exfat|ntfs"
    r"|overlayfs|ecryptfs|ramfs|9p|cifs|hfs\+?|ufs"
)
NEAR_FILESYSTEM = re.compile(
    r"file ?systems?|mount|partition|disk|build|built|sourc|cop(?:y|ied)|timestamp|time stamp|inode|volume|drive"
    r"|\bon\b|\bran\b|tree|mkfs",
    re.I,
)
NAMED = re.compile(rf"(?<![\w/.@-])({FILESYSTEMS})\b(?!\.\w|/|_|-\w+\.)", re.I)
GOOD = re.compile(r"succeed|success|work(?:s|ed) (?:fine|well)|no (?:failure|error)|passed|never fail", re.I)
BUT = re.compile(r"\b(?:usually|but|however|while|whereas|otherwise)\b", re.I)
TIMES: tuple[Row, ...] = (
    row(Field.TIMESTAMPS, r"\b128[- ]?(?:B\b|bytes?)[- ]inodes?|\binodes? (?:of|with|size(?: is| of|:)?) ?128\b"
        r"|-I 128\b|Inode size:\s+128\b",
        "whole seconds", "inode-size", any_case=True),
    row(Field.TIMESTAMPS, r"\b(?:poor|coarse|low|bad|limited|one[- ]second|1[- ]second|1s|second) (?:time ?stamp|mtime|time)s?"
        r" (?:resolution|granularity|precision)|\btime ?stamps? (?:with|have|has) (?:coarse|poor|low|one[- ]second|1[- ]second)"
        r"|(?:no|without) sub-?second", "whole seconds", "coarse-words", any_case=True),
    row(Field.TIMESTAMPS, r"\b(?:one|1)[- ]second (?:time ?stamp|granularity|resolution)s?"
        r"|\bwhole seconds\b", "whole seconds", any_case=True),
    row(Field.TIMESTAMPS, r"\b(?:nano|micro|sub-?)second (?:time ?stamp|resolution|granularity"
        r"|precision)s?", "fine", any_case=True,
        unless=re.compile(r"(?:no|without|don't have|not have) $", re.I)),
)  # fmt: skip
MOUNTED = re.compile(rf"(?m)^\S{{1,100}} on \S{{1,200}} type ({FILESYSTEMS}) \(|^\S{{1,100}} +({FILESYSTEMS}) +\d")


def filesystems(block: Block) -> Iterator[Fact]:
    """Yield the filesystems that a text names where it speaks of one, and what it says of their times."""
    for found in NAMED.finditer(block.words):
        around = block.words[max(0, found.start() - 70) : found.end() + 70]
        if not NEAR_FILESYSTEM.search(around.replace(found[0], " ")):
            continue
        after = block.words[found.start() : found.end() + 110]
        others = (one.start() for one in NAMED.finditer(after) if one[1].lower() != found[1].lower())
        told = BUT.split(after[: next(others, len(after))], maxsplit=1)[0]
        data = (("outcome", "good"),) if GOOD.search(told) and not re.search(r"fail|error", told, re.I) else ()
        yield fact(block, found, Field.FILESYSTEM, found[1].lower(), data=data)
    for found in MOUNTED.finditer(block.text):
        yield fact(block, found, Field.FILESYSTEM, found[1] or found[2])
    yield from held_against(block, TIMES)
    yield from _listed(block)


LISTED = re.compile(
    r"[-dl][rwxsStT-]{9}[.+@]? {1,4}\d{1,6} \S{1,60} {1,8}\S{1,60} {1,12}\d{1,15} (\d{4}-\d\d-\d\d "
    r"\d\d:\d\d:\d\d)\.(\d{9}) [+-]\d{4} (\S{1,300})"
)
STATTED = re.compile(r"(?m)^ {0,4}Modify: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{9})")


def _listed(block: Block) -> Iterator[Fact]:
    """Yield what `ls --full-time` and `stat` show: whole seconds, and files of one second."""
    rows = list(LISTED.finditer(block.text))
    times = [found[2] for found in rows] + [found[2] for found in STATTED.finditer(block.text)]
    first = rows[0] if rows else STATTED.search(block.text)
    if first and len(times) >= 2:
        whole = all(time == "000000000" for time in times)
        yield fact(
            block, first, Field.TIMESTAMPS, "whole seconds" if whole else "fine", "zero-nanoseconds" if whole else ""
        )
    seconds: dict[tuple[str, str], list[re.Match[str]]] = defaultdict(list)
    for found in rows:
        if found[2] == "000000000":
            seconds[found[1], found[3].partition("/")[0]].append(found)
    for (second, _), same in seconds.items():
        if len(same) > 1:
            names = " and ".join(found[3] for found in same[:4])
            yield fact(block, same[0], Field.DIFFERENCE, f"{names}: the same second {second}", "same-second")


# -------------------------------------------------------------------------------------------------------------- how often

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
"ten": 10, "twenty": 20,
           "hundred": 100, "a hundred": 100}  # fmt: skip
COUNT = r"\d{1,5}|one|two|three|four|five|six|seven|eight|nine|ten|twenty|(?:a )?hundred"
THINGS = (
    r"(?:full |clean |kernel |parallel |test )?(?:builds?|times?|attempts?|tries|runs?|compilations?|compiles?"
    r"|boots?|reboots?|cases?)"
)
ABOUT = r"(?:about |around |approximately |roughly |~ ?|only |maybe )?"
FAILS = re.compile(r"fail|error|break|broke|crash|panic|undefined|bug|problem|happen|hit|reproduc|trigger", re.I)
WORKS = re.compile(r"succe|work|pass|fine|good|ok\b", re.I)
RATES = (
    re.compile(rf"\b(?P<k>once|twice|{COUNT}) (?:time |times )?(?:every|in(?: every)?|per|each|out of(?: every)?"
        rf"|of) {ABOUT}(?P<n>{COUNT}) {THINGS}\b", re.I),
    re.compile(rf"\b(?P<k>{COUNT}) (?:of|out of|in) (?:my "
        rf"|the )?(?:last )?(?P<n>{COUNT})(?! {THINGS})(?=[\s.,;)]) ?(?:fail|succe)", re.I),
    re.compile(r"(?<![\d/.])(?P<k>\d{1,4})/(?P<n>\d{1,4})(?![\d/.]) (?:builds?|times|attempts?|runs?|boots?)", re.I),
    re.compile(r"(?P<percent>\d{1,3}(?:\.\d)?) ?% (?:of (?:the |all )?(?:time|builds|runs|attempts|boots)|chance"
        r"|failure rate|reproduc)", re.I),
    re.compile(r"(?P<half>50[/-]50)(?: chance)?", re.I),
    re.compile(rf"(?P<row>succeeded|worked|passed|failed|fails|succeeds) (?P<n>{COUNT}) (?:times|builds|runs) in a row", re.I),
    re.compile(rf"(?P<n>{COUNT}) (?:consecutive|successive|good|successful|failed|failing) (?P<row>builds|runs"
        rf"|attempts|boots)", re.I),
    re.compile(r"(?P<always>every (?:single )?time|always fails?|100% reproducible|reliably (?:fails|reproduc\w*)"
        r"|fails every time)", re.I),
)  # fmt: skip


def rates(block: Block) -> Iterator[Fact]:
    """Yield how often something happened, as "failures/trials". data: of what it is a rate, and where the text says
    it worked."""
    for pattern in RATES:
        for found in pattern.finditer(block.words):
            told = _rate(found, block.words)
            if told:
                value, of = told
                yield fact(block, found, Field.RATE, value, data=(("of", of), *_setting(block, found)))


def _number(text: str) -> int:
    text = text.lower()
    return {"once": 1, "twice": 2}.get(text, NUMBERS.get(text, 0)) or (int(text) if text.isdigit() else 0)


def _rate(found: re.Match[str], text: str) -> tuple[str, str] | None:
    named = found.groupdict()
    before, after = text[max(0, found.start() - 90) : found.start()], text[found.end() : found.end() + 40]
    if named.get("half"):
        return "1/2", "failures"
    if named.get("always"):
        return "1/1", "failures"
    if named.get("percent"):
        share = float(named["percent"])
        works = WORKS.search(before[-40:]) and not FAILS.search(before[-40:])
        return (f"{100 - share if works else share:g}/100", "failures") if 0 <= share <= 100 else None
    trials = _number(named.get("n") or "")
    if trials < 1:
        return None
    if named.get("row"):
        words = found[0].lower()
        return (f"0/{trials}" if WORKS.search(words) and "fail" not in words else f"{trials}/{trials}"), "failures"
    hits = _number(named.get("k") or "")
    if hits < 1 or hits > trials:
        return None
    near = (before + after).lower()
    works = WORKS.search(near) and not FAILS.search(near)
    return f"{trials - hits if works else hits}/{trials}", "failures"


WITH_PATCH = re.compile(r"\b(?:using|with|applied|applying) (?:the|this|your|that) (?:\w+ )?patch", re.I)


def _setting(block: Block, found: re.Match[str]) -> Iterator[tuple[str, str]]:
    """Yield the filesystem that the same sentence or the one before speaks of, and whether a patch was applied."""
    start, end = sentence_at(block, found.start(), found.end())
    before, _ = sentence_at(block, max(0, start - 2), max(0, start - 2))
    own, near = (
        list(NAMED.finditer(block.words, start, end)),
        list(NAMED.finditer(block.words, max(0, before - 90), end)),
    )
    if own or near:
        yield "filesystem", (own or near)[-1][1].lower()
    if WITH_PATCH.search(block.words, max(0, start), end):
        yield "with", "patch"


FIRST_FEW = re.compile(
    rf"the first (?P<good>{COUNT}) {THINGS}(?: I did| I made)? (?P<how>succeeded|worked|passed"
        rf"|failed) and the (?P<next>\w+) (?P<then>failed|succeeded)",
    re.I,
)  # fmt: skip


def first_few(block: Block) -> Iterator[Fact]:
    """Yield a rate told as a story: "the first two builds succeeded and the third failed"."""
    for found in FIRST_FEW.finditer(block.words):
        number = _number(found["good"])
        failed_first, failed_then = found["how"] == "failed", found["then"] == "failed"
        if number:
            failures = (number if failed_first else 0) + (1 if failed_then else 0)
            data = (("of", "failures"), *_setting(block, found))
            yield fact(block, found, Field.RATE, f"{failures}/{number + 1}", data=data)


# ----------------------------------------------------------------------------------------------------- what was different

DIFFERS = re.compile(
    r"\b(?:only|main|sole) difference\b|\bdifferen(?:ce|ces) between\b|\bdiffers? (?:from|in|only)\b", re.I
)
IF_AND_ONLY = re.compile(r"\b(?:If and only if|Only (?:if|when))\b", re.I)
FIXED_BY = re.compile(
    r"\b(?:reverting|revert of|building with|building without|turning off|disabling)\b[^.!?\n]{3,100}"
    r"\b(?:fix(?:es|ed)|helps?|go(?:es)? away|went away|works?\b|makes? it (?:work|go away))", re.I
)  # fmt: skip
TELLS = re.compile(r"fail|succe|work|good|bad|broken|break|error|bug|crash|panic|rebuil", re.I)
SENTENCE_MAX = 400


def differences(block: Block) -> Iterator[Fact]:
    """Yield sentences on what differs between good and bad."""
    for pattern in (DIFFERS, IF_AND_ONLY, FIXED_BY):
        for found in pattern.finditer(block.words):
            start, end = sentence_at(block, found.start(), found.end())
            text = " ".join(block.words[start:end].split())
            if TELLS.search(text):
                place = block.place(start, end)
                yield Fact(field=Field.DIFFERENCE, value=text[:400], place=place, by=block.by, level=block.level)


def sentence_at(block: Block, start: int, end: int) -> tuple[int, int]:
    """Return where the sentence around a stretch of text begins and ends. A line that does not go on ends one, too."""
    first = max(0, start - SENTENCE_MAX)
    stops = list(re.finditer(r"[.!?:] +|\n\n|\n(?=\S)", block.text[first:start]))
    begin = first
    for stop in reversed(stops):
        at = first + stop.start()
        if stop[0] == "\n" and _goes_on(block.text, at):
            continue
        begin = first + stop.end()
        break
    behind = re.compile(r"[.!?](?=\s|$)|\n\n|:\n").search(block.text, end, end + SENTENCE_MAX)
    return begin, behind.end() if behind else min(len(block.text), end + SENTENCE_MAX)


def _goes_on(text: str, at: int) -> bool:
    """Whether the line that ends here was wrapped: it ends within a sentence, and is long or the next one goes on in it."""
    line, following = text[text.rfind("\n", 0, at) + 1 : at], text[at + 1 : at + 2]
    within = line[-1:].isalnum() or line[-1:] in ",;-"
    return within and (len(line) > 45 or following.islower() or following.isdigit())


# ---------------------------------------------------------------------------------------------------- links, people, ids

URL = re.compile(
    r"(?<![\w/])(?:https?|git|ftp)://[A-Za-z0-9][\w.-]{2,100}(?::\d{1,5})?(?:/[^\s<>\"'`\]|{}\\^]{0,500})?"
)
FOOTER = re.compile(
    r"majordomo-info|mailman/listinfo|www\.tux\.org/lkml|support\.mozilla|www\.avast|unsubscribe|/~linux-arm|gnupg\.org",
    re.I,
)
TAGS = re.compile(
    r"(?:^|(?<=\s))(?P<tag>(?:Signed-off|Reported|Tested|Reviewed|Acked|Suggested|Debugged|Co-developed|Bisected|Diagnosed"
    r"|Reported-and-tested|Reported-and-bisected)-by|Cc): (?P<who>[^\n<>:]{0,80}(?:<[^<>\n]{1,120}>|\S{0,100}@\S{1,100}))",
)  # fmt: skip
MESSAGE_ID = re.compile(
    r"(?:[Mm]essage-[Ii][Dd]:? ?<?|lore\.kernel\.org/(?:r|all|lkml|[\w-]{2,40})/)([\w.+%$=-]{4,120}@[\w.-]{3,120})"
)


def links(block: Block) -> Iterator[Fact]:
    """Yield addresses of pages, without what an archive or a list appends to every mail."""
    for found in URL.finditer(block.text):
        url = found[0].rstrip(".,;:!?)")
        url = url + ")" if url.count("(") > url.count(")") else url
        if not FOOTER.search(url):
            yield fact(block, found, Field.LINK, url)


def people(block: Block) -> Iterator[Fact]:
    """Yield those whom tags name."""
    for found in TAGS.finditer(block.text):
        if someone := person(found["who"]):
            yield fact(block, found, Field.PERSON, someone, data=(("role", found["tag"].lower()),))


EXTRACTORS = (filesystems, rates, first_few, differences, links, people)


def facts(block: Block) -> Iterator[Fact]:
    """Yield what a block says of the fault's behaviour and of itself."""
    for told in EXTRACTORS:
        yield from told(block)


def reporter_of(found: Sequence[Fact]) -> str:
    """Return who reported the fault, by the tag that names them, "" if none does."""
    tags = ("reported-by", "reported-and-tested-by", "reported-and-bisected-by")
    return next(
        (one.value.partition(" <")[0] for one in found if one.field is Field.PERSON and one.get("role") in tags), ""
    )
