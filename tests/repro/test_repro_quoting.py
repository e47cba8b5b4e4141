"""Quote marks, run-together lines, and who wrote what."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lab.repro import authors, flattened, quoting
from lab.repro.facts import Line

LINES = [
    (0, "On Mon, 5 Mar 2018, Ann Author wrote:"),
    (1, "I see that the build stops in the third step, and only on the disk that is older than"),
    (1, "the others, where it takes longer."),
    (1, ""),
    (1, "On Sun, 4 Mar 2018, Bob Builder wrote:"),
    (2, "Can you say which of the steps it is that fails, and whether it fails on every one of"),
    (2, "your disks?"),
    (1, ""),
    (1, "It is the third one."),
    (1, ""),
    (1, "Ann"),
    (0, "Thanks, that helps."),
]


def marked(lines, style="> "):
    return [f"{style * level}{text}".rstrip() for level, text in lines]


def run_together(lines, style="> "):
    return " ".join(" ".join(marked(lines, style)).split())


def told(texts):
    lines = [Line(text=text, at=at) for at, text in enumerate(texts, start=1)]
    return authors.attributed(quoting.unquoted(lines), "Cid")


@pytest.mark.parametrize("style", ["> ", ">"])
def test_every_line_has_its_depth_and_its_writer(style):
    found = told(marked(LINES, style))
    assert [(line.level, line.text) for line in found] == LINES
    writers = {(line.level, line.by) for line in found if line.text}
    assert writers == {(0, "Cid"), (1, "Ann Author"), (2, "Bob Builder")}


def test_a_page_that_ran_its_lines_together_is_read_the_same():
    found = [line for line in told([run_together(LINES)]) if line.text]
    expected = [(level, text) for level, text in LINES if text]
    # where the last quotation ends nobody can tell, so its answer may be cut elsewhere
    assert [(line.level, line.text) for line in found][: len(expected) - 2] == expected[:-2]
    assert {line.by for line in found if line.level == 2} == {"Bob Builder"}
    assert found[-1].text.endswith("that helps.")


def test_a_stretch_of_a_page_keeps_its_place():
    page = run_together(LINES)
    for line in told([page]):
        assert page[line.column - 1 :].startswith(line.text), line


@pytest.mark.parametrize(
    ("text", "level", "rest"),
    [
        ("> > a quotation", 2, "a quotation"),
        (">>> three", 3, "three"),
        (">  \tcontext of a diff", 1, " \tcontext of a diff"),
        (">\t\tindented", 1, "\t\tindented"),
        (">>> referenced by demo.c:12 (drivers/demo/demo.c:12)", 0, ">>> referenced by demo.c:12 (drivers/demo/demo.c:12)"),
        (">> drivers/demo/demo.c:12:3: error: oops", 0, "drivers/demo/demo.c:12:3: error: oops"),
        ("----- >8", 0, "----- >8"),
        ("a > b", 0, "a > b"),
    ],
)  # fmt: skip
def test_what_is_a_quote_mark(text, level, rest):
    (line,) = quoting.unquoted([Line(text=text, at=1)])
    assert (line.level, line.text) == (level, rest)


@pytest.mark.parametrize(
    ("said", "name", "date"),
    [
        ("On Thu, Feb 04, 2021 at 04:29:47PM +0100, Arnd Example wrote:", "Arnd Example", "2021-02-04T16:29:47+01:00"),
        ("On 03/25/2012 07:20 AM, Russell E - ARM Linux wrote:", "Russell E - ARM Linux", "2012-03-25T07:20:00"),
        ("(2015/02/10 2:31), Josh E wrote:", "Josh E", "2015-02-10"),
        ("From: Sami E <sami@xxxxxxx> Date: Fri, 16 Jul 2021 16:18:42 -0700", "Sami E", "2021-07-16T16:18:42-07:00"),
        ("Eve Example <eve@example.org> writes:", "Eve Example", ""),
    ],
)
def test_attributions_of_several_mailers(said, name, date):
    lines = quoting.unquoted([Line(text=said, at=1), Line(text="> words", at=2)])
    (voice,) = authors.voices(lines)
    assert (voice.name, voice.date, voice.level) == (name, date, 1)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("On 09/19/2012 10:38 AM, Jeff E wrote:", "Jeff E"),
        ("On Thu, Feb 04, 2021 at 04:29:47PM +0100, Arnd Example wrote:", "Arnd Example"),
        ("On Mon, Mar 5, 2018 at 2:07 PM, Ann E <ann@example.org> wrote:", "Ann E"),
        ("Eve Example wrote:", "Eve Example"),
    ],
)
def test_an_attribution_within_a_long_line_is_found(said, name):
    page = (
        f"Kbuild people, any comments? {said} > The packages are built by doing this: > > make prepare > make "
        + "> x " * 80
    )
    lines = authors.attributed(quoting.unquoted([Line(text=page, at=1)]), "Cid")
    assert [(line.level, line.by, line.text) for line in lines[:3]] == [
        (0, "Cid", "Kbuild people, any comments?"), (0, "Cid", said), (1, name, "The packages are built by doing this:")
    ]  # fmt: skip


def test_what_is_new_to_the_robot_is_no_quotation_on_a_page_without_lines_either():
    page = "Hi, the robot noticed these errors, which were not there before the patch was applied to the tree. " * 3 + (
        "All errors (new ones prefixed by >>): ld: vmlinux.o: in function `get': >> kernel/demo.c:125:(.text+0x21): undefined "
        "reference to `demo_markers' >> ld: kernel/demo.c:125:(.text+0x25): undefined reference to `demo_names'"
    )
    lines = quoting.unquoted([Line(text=page, at=1)])
    assert {line.level for line in lines} == {0}
    assert [line.text.partition(" undefined")[0] for line in lines[-2:]] == [
        "kernel/demo.c:125:(.text+0x21):", "ld: kernel/demo.c:125:(.text+0x25):"
    ]  # fmt: skip


def test_a_forwarded_mail_is_its_writer_s():
    texts = ["I forward this.", "", "-------- Original Message --------", "Subject: old", "From: Dora D <dora at example.org>",
             "Date: Sun, 25 Mar 2012 19:59:44 -0400", "", "It broke."]  # fmt: skip
    found = told(texts)
    assert found[0].by == "Cid"
    assert found[-1].by == "Dora D"


WORDS = st.text(alphabet="abc XY.>:\"'/[]()-+=@#0189\n\t", max_size=600)


@given(WORDS, st.integers(0, 3))
def test_nothing_is_lost_and_nothing_is_added_whatever_the_page_is(text, times):
    page = (text + " ") * (times + 1)
    lines = [Line(text=row, at=at) for at, row in enumerate(page.split("\n"), start=1)]
    parts = [part for line in lines for part in flattened.split(line)]
    assert "".join("".join(part.text.split()) for part in parts) == "".join(page.split())
    for line in quoting.unquoted(lines):
        original = lines[line.at - 1].text
        assert original[line.column - 1 :].startswith(line.text.split("\n")[0][:20])
