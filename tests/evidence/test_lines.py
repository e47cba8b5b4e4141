"""What addr2line says of addresses, how it is kept, and how files are named as the source tree names them."""

import json

import pytest

from lab.evidence import lines
from lab.evidence.lines import Line, Where

SAID = """
0xffffffff81000013
list_add inlined at /src/fs/autofs/waitq.c:532:2 in autofs_probe_later
/src/include/linux/list.h:95:9
autofs_probe_later
/src/fs/autofs/waitq.c:532:2 (discriminator 3)
0xffffffff81000020
??
??:0
0xffffffff81000030
start_kernel
/src/./init/../init/main.c:940
"""


def test_an_address_has_its_inlined_functions_the_innermost_first():
    assert lines.answers(SAID, 3) == (
        (
            Line(function="list_add", file="/src/include/linux/list.h", line=95),
            Line(function="autofs_probe_later", file="/src/fs/autofs/waitq.c", line=532),
        ),
        (),
        (Line(function="start_kernel", file="/src/init/main.c", line=940),),
    )


@pytest.mark.parametrize("said", ["", "eu-addr2line: cannot open\n", SAID + "0x1\nf\n/a.c:1\n"])
def test_an_answer_that_does_not_fit_the_question_is_none(said):
    assert lines.answers(said, 3) is None


def test_names_that_look_like_answers_move_nothing_to_another_address():
    """A name may hold a newline: then there are more answers than questions, and none is believed."""
    assert lines.answers("0x1\nevil\n0x2\nf\n/a.c:1\n", 1) is None


@pytest.mark.parametrize("row", ["f\nno line here\n", "f\n/a.c:0\n", "f\n", "f\n/a.c:99999999999\n"])
def test_half_an_answer_is_no_line(row):
    assert lines.answers("0x1\n" + row, 1) == ((),)


def test_control_characters_of_names_are_not_kept():
    ((line,),) = lines.answers("0x1\nf\x1b[31m\n/a\x1b[31m.c:1\n", 1)
    assert "\x1b" not in line.function + line.file


def test_what_was_inlined_without_end_is_cut():
    ((*chain,),) = lines.answers("0x1\n" + "f\n/a.c:1\n" * 100, 1)
    assert len(chain) == lines.INLINED_AT_MOST


HERE = Where(object="fs/autofs/autofs4.ko", section=".text", address=0x53)
FIRST = Where(object="vmlinux", section="", address=0xFFFFFFFF81000030)


def known(prefix):
    return {
        HERE: (Line(function="f", file=f"{prefix}fs/autofs/waitq.c", line=532),),
        FIRST: (Line(function="start_kernel", file=f"{prefix}init/main.c", line=940),),
    }


@pytest.mark.parametrize("prefix", ["/src/", "/home/me/fs/linux/", ""])
def test_the_source_tree_is_where_init_main_c_lies(prefix):
    found = lines.in_tree(known(prefix), lines.tree_of(known(prefix), FIRST))
    assert [one.place for chain in found.values() for one in chain] == ["fs/autofs/waitq.c:532", "init/main.c:940"]


def test_without_a_kernel_the_folder_of_the_module_tells_it():
    found = lines.in_tree({HERE: known("/build/x/")[HERE]}, lines.tree_of({}, None))
    assert found[HERE][0].file == "fs/autofs/waitq.c"


def test_lines_are_kept_and_read_again():
    text = "".join(lines.jsonl(known("") | {Where(object="vmlinux", section="", address=1): ()}))
    assert lines.read_jsonl(json.loads(row) for row in text.splitlines()) == known("")


@pytest.mark.parametrize(
    "row",
    [
        {}, {"object": 1}, {"object": "a", "section": "", "address": "1", "lines": []},
        {"object": "a", "section": "", "address": 1, "lines": "x"},
    ],
)  # fmt: skip
def test_rows_of_another_form_are_passed_over(row):
    assert lines.read_jsonl([row]) == {}
    odd = {"object": "a", "section": "", "address": 1, "lines": [1, ["f"], ["f", "a.c", "1"], {}, None]}
    assert lines.read_jsonl([odd]) == {Where(object="a", section="", address=1): ()}
