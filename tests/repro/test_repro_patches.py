"""Diffs of a report: found to the byte, put back where lines or white space got lost, or refused with the reason."""

import difflib
import re
import shutil
import subprocess

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lab.repro import extract, hunks, patches, proposals
from lab.repro.edits import Refused, Sureness
from lab.repro.facts import Field, Line

SCRIPT = """#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
changed=$(
count=0
sort "$old_file" "$new_file" | uniq -u |
while read path; do
\tif [ -z "$path" ]; then continue; fi
\tfile="include/${path}"
\tmkdir -p "$(dirname "$file")"
\ttouch "$file"
\techo $((count += 1))
done | tail -1 )
changed=${changed:-0}

if [ $changed -gt 0 ]; then
\techo "$changed"
fi
"""
PATCH = """--- a/scripts/demo.sh
+++ b/scripts/demo.sh
@@ -8,6 +8,10 @@ while read path; do
 \tfile="include/${path}"
 \tmkdir -p "$(dirname "$file")"
 \ttouch "$file"
+\t# until it is newer
+\twhile [ ! "$file" -nt "$new_file" ]; do
+\t\ttouch "$file"
+\tdone
 \techo $((count += 1))
 done | tail -1 )
 changed=${changed:-0}
"""


def tree(**files):
    known = {name.replace("__", "/").replace("_", "."): text for name, text in files.items()}
    return lambda path: hunks.TreeFile(text=known.get(path))


DEMO = tree(scripts__demo_sh=SCRIPT)


def found(text, *, loose=False, level=0):
    lines = [Line(text=row, at=at, level=level) for at, row in enumerate(text.split("\n"), start=1)]
    return list(patches.found("x", "", lines, loose=loose))


def fit(text, file_of=DEMO, *, loose=False):
    (diff,) = found(text, loose=loose)
    return hunks.fitted(diff, file_of)


def applied(text, patch, tmp_path, name="scripts/demo.sh"):
    """Return a file with a patch, as the lab applies it: no fuzz."""
    if shutil.which("patch") is None:
        pytest.skip("no patch on this machine")
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    done = subprocess.run(
        ["patch", "-p1", "--batch", "--fuzz=0", "-d", str(tmp_path)],
        input=patch,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return path.read_text()


FIXED = SCRIPT.replace(
    '\ttouch "$file"\n',
    '\ttouch "$file"\n\t# until it is newer\n\twhile [ ! "$file" -nt "$new_file" ]; do\n\t\ttouch "$file"\n\tdone\n',
    1,
)


def without_indentation(text):
    return [line.strip() for line in text.splitlines()]


# --------------------------------------------------------------------------------------------------------------- found


def test_a_plain_diff_comes_out_to_the_byte(tmp_path):
    done = fit(f"Please test:\n\n{PATCH}\n-- \n2.30\n")
    assert done.sureness is Sureness.EXACT
    assert done.text == PATCH.replace(" while read path; do\n", "\n")
    assert applied(SCRIPT, done.text, tmp_path) == FIXED


def test_a_line_of_a_diff_is_no_field_of_a_header():
    patch = PATCH.replace(' \tfile="include/${path}"\n', " # Author: Bin E <bin@example.org>\n")
    text = f"Linux 6.1 fails.\n\n{patch}"
    report = extract.report([("x", text.encode())])
    assert [len(hunk.body) for diff in report.diffs for file in diff.files for hunk in file.hunks] == [10]
    assert not report.of(Field.FROM)


def test_a_diff_ends_where_its_counts_say(tmp_path):
    (diff,) = found(PATCH + "+ this is no line of it\nnor this\n")
    assert len(diff.files[0].hunks[0].body) == 10
    assert applied(SCRIPT, hunks.fitted(diff, DEMO).text, tmp_path) == FIXED


def test_a_quoted_diff_with_a_reviewer_s_words_in_between_comes_out_whole():
    lines = []
    for at, row in enumerate(PATCH.split("\n"), start=1):
        lines.append(Line(text=row, at=at, level=1))
        if row.startswith("+\t#"):
            lines.append(Line(text="Why is that?", at=at, level=0))
    (diff,) = patches.found("x", "", lines, loose=False)
    assert hunks.fitted(diff, DEMO).sureness is Sureness.EXACT


def test_empty_context_that_lost_its_space_is_context():
    text = "--- a/lib/a.c\n+++ b/lib/a.c\n@@ -1,3 +1,4 @@\n a\n\n+b\n c\n"
    assert fit(text, tree(lib__a_c="a\n\nc\n")).sureness is Sureness.EXACT


def test_context_of_another_version_is_replaced_and_that_is_said(tmp_path):
    done = fit(PATCH.replace('file="include/${path}"', 'file="include/config/${path}.h"'))
    assert done.sureness is Sureness.REBASED
    assert "1 lines of its context are others" in done.notes[0]
    assert applied(SCRIPT, done.text, tmp_path) == FIXED


def test_lines_further_down_are_found():
    moved = SCRIPT.replace("changed=$(\n", "changed=$(\n" + ": one more\n" * 40)
    assert fit(PATCH, tree(scripts__demo_sh=moved)).sureness is Sureness.EXACT


def with_spaces(text):
    """What a mailer does that expands tabs."""
    return text.replace("\t", "        ")


def stripped(text):
    """What an archive does that takes white space at the beginnings of lines."""
    rows = []
    for row in text.split("\n"):
        if row.startswith(" "):
            rows.append(row[1:].lstrip())
        else:
            rows.append(row[:1] + " " + row[1:].lstrip() if row[:2] in ("+\t", "-\t") else row)
    return "\n".join(rows)


@pytest.mark.parametrize("damage", [with_spaces, stripped])
def test_white_space_is_put_back_with_the_tree_s(damage, tmp_path):
    done = fit(damage(PATCH))
    assert done.sureness is Sureness.RESTORED
    assert "white space" in done.notes[0]
    assert without_indentation(applied(SCRIPT, done.text, tmp_path)) == without_indentation(FIXED)


# ------------------------------------------------------------------------------------------------------ run together


def page(text):
    """Return a diff as a page has it that ran its lines together."""
    head, *hunks = text.split("@@ -")
    return "\n".join([*head.strip().split("\n"), *("@@ -" + " ".join(hunk.split()) for hunk in hunks)])


def test_lines_that_were_run_together_are_put_back(tmp_path):
    done = fit(page(PATCH) + " ----- >8 and more words + with a sign", loose=True)
    assert done.sureness is Sureness.RESTORED
    assert "the only reading with the 6 and 10 lines" in done.notes[0]
    assert without_indentation(applied(SCRIPT, done.text, tmp_path)) == without_indentation(FIXED)


def test_lines_run_together_of_another_version_are_put_back_on_this_one(tmp_path):
    done = fit(page(PATCH.replace('file="include/${path}"', 'depfile="include/config/${path}.h"')), loose=True)
    assert done.sureness is Sureness.REBASED
    assert without_indentation(applied(SCRIPT, done.text, tmp_path)) == without_indentation(FIXED)


def test_removed_lines_are_put_back(tmp_path):
    reverse = "\n".join(
        {"+": "-", "-": "+"}.get(row[:1], row[:1]) + row[1:] if row[:3] not in ("---", "+++") else row
        for row in PATCH.split("\n")
    )
    reverse = reverse.replace("-8,6 +8,10", "-8,10 +8,6")
    done = fit(page(reverse), tree(scripts__demo_sh=FIXED), loose=True)
    assert applied(FIXED, done.text, tmp_path) == SCRIPT


def test_two_readings_are_none(read, fixtures):
    (diff,) = read("spinics.txt").diffs
    table = (fixtures / "table.c").read_text()
    done = hunks.fitted(diff, lambda path: hunks.TreeFile(text=table if path == "lib/table.c" else None))
    assert isinstance(done, Refused)
    assert "there are 2 readings with 6 and 8 lines" in done.why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("@@ -8,6 +8,10 @@", "@@ -8,6 +8,11 @@"), "no reading has the 6 and 11 lines"),
        (('touch "$file"\n+', 'touch "$other"\n+'), "no reading has"),
        (("scripts/demo.sh", "scripts/demo.py"), "white space means something"),
    ],
)
def test_what_does_not_come_out_is_refused(change, why):
    files = lambda path: hunks.TreeFile(text=SCRIPT if path.startswith("scripts/demo.") else None)  # noqa: E731
    done = fit(page(PATCH.replace(*change)), files, loose=True)
    assert isinstance(done, Refused)
    assert why in done.why


CODE = [
    "a b;",
    "if (x) {",
    "}",
    "",
    "x += y - 1;",
    "-p $y",
    "return a >> PAGE_SHIFT;",
    "#define A 1",
    "a->b = c > D(2);",
    "done",
]
BODY = st.lists(st.tuples(st.sampled_from(["", "\t", "\t\t"]), st.sampled_from(CODE)).map("".join).map(str.rstrip), min_size=8,
                max_size=24)  # fmt: skip


def without_white_space(text):
    """Return a diff as pages show it that fold white space: one space for several, none at the end."""
    rows = [
        row if row.startswith(("+++", "---", "@@")) else row[:1] + " ".join(row[1:].split(" "))
        for row in text.split("\n")
    ]
    return "\n".join(re.sub(r"(?<=.)[ \t]+", " ", row).rstrip() for row in rows)


@settings(max_examples=150, deadline=None)
@given(BODY, st.data())
@pytest.mark.parametrize("damage", [page, without_white_space])
def test_a_reading_that_is_taken_is_the_right_one(damage, body, data):
    new = list(body)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(new)))
        new[at : at + data.draw(st.integers(0, 3))] = data.draw(BODY)[: data.draw(st.integers(0, 4))]
    rows = list(difflib.unified_diff(body, new, "a/lib/a.c", "b/lib/a.c", lineterm=""))
    if not rows:
        return
    done = fit(damage("\n".join(rows)), tree(lib__a_c="".join(f"{row}\n" for row in body)), loose=damage is page)
    if not isinstance(done, Refused):
        assert [row.split() for row in applied_by_lines(body, done.text)] == [row.split() for row in new]


def applied_by_lines(body, patch):
    """Return a file's lines with a patch whose context is the file's own."""
    made, at = [], 0
    for row in patch.split("\n")[2:]:
        if row.startswith("@@"):
            start = int(row.split("-")[1].split(",")[0])
            begin = start if row.split("-")[1].split(" ")[0].endswith(",0") else max(0, start - 1)
            made += body[at:begin]
            at = begin
        elif row[:1] == "+":
            made.append(row[1:])
        elif row:
            assert body[at].split() == row[1:].split()
            made += [body[at]] if row[0] == " " else []
            at += 1
    return made + body[at:]


# -------------------------------------------------------------------------------------------------------------- refused

HUNK = "@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("--- a/../../etc/passwd\n+++ b/../../etc/passwd\n", "reaches out of the source tree"),
        ("--- /etc/passwd\n+++ /etc/passwd\n", "reaches out of the source tree"),
        ("--- a/x/../../y\n+++ b/x/../../y\n", "reaches out of the source tree"),
        ("--- a/.git/config\n+++ b/.git/config\n", "reaches out of the source tree"),
        ("--- ~/x\n+++ ~/x\n", "reaches out of the source tree"),
        ("--- a/-o\n+++ b/-o\n", "not the name of a file"),
        ("--- a/x y\n+++ b/x y\n", "not the name of a file"),
        ("--- a/$(id)\n+++ b/$(id)\n", "not the name of a file"),
        ("--- a/x;y\n+++ b/x;y\n", "not the name of a file"),
        ('--- "a/x\\ny"\n+++ "b/x\\ny"\n', "a name in quotes"),
        ("--- a/x\\y\n+++ b/x\\y\n", "not the name of a file"),
        ("--- a/x\n+++ b/y\n", "it renames a file"),
        ("--- /dev/null\n+++ /dev/null\n", "it names no file"),
        ("diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n", "no plain file (mode 120000)"),
        ("diff --git a/x b/x\nnew file mode 160000\n--- /dev/null\n+++ b/x\n", "no plain file (mode 160000)"),
        ("diff --git a/x b/x\nold mode 100644\nnew mode 104755\n--- a/x\n+++ b/x\n", "no plain file (mode 104755)"),
        (
            "diff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to y\n--- a/x\n+++ b/y\n",
            "renames or copies",
        ),
        ("diff --git a/x b/x\nindex 123456..7890ab\nGIT binary patch\nliteral 5\nabc\n", "it is binary"),
        ("diff --git a/x b/x\nBinary files a/x and b/x differ\n", "it is binary"),
    ],
)
def test_a_diff_that_is_more_than_a_change_of_text_is_refused(head, why):
    (diff,) = found(head + HUNK)
    done = hunks.fitted(diff, lambda _: hunks.TreeFile(text="a\n"))
    assert isinstance(done, Refused)
    assert why in done.why


def test_a_date_behind_a_name_is_no_part_of_it():
    (diff,) = found("--- a/x.c\t2018-03-15 10:00:00\n+++ b/x.c\t2018-03-15 10:00:01\n" + HUNK)
    assert (diff.files[0].old, diff.files[0].new) == ("a/x.c", "b/x.c")


def test_a_name_that_is_a_link_in_the_tree_is_refused():
    done = fit(
        "--- a/x.c\n+++ b/x.c\n" + HUNK, lambda path: hunks.TreeFile(why=f"{path!r} is reached by a symbolic link")
    )
    assert isinstance(done, Refused)
    assert "symbolic link" in done.why


def test_an_ed_script_is_no_diff():
    assert found("1,3d\n!id\nw\nq\n") == []
    assert found("*** a/x\n--- b/x\n***************\n") == []


def test_a_new_file_is_made_and_never_over_another():
    text = "--- /dev/null\n+++ b/lib/new.c\n@@ -0,0 +1,2 @@\n+int a;\n+int b;\n"
    assert fit(text, tree()).text == text.replace("@@ -0,0 +1,2 @@", "@@ -0,0 +1,2 @@")
    assert isinstance(fit(text, tree(lib__new_c="x\n")), Refused)


def test_a_short_hunk_is_refused():
    done = fit(PATCH.rsplit(" done", 1)[0] + "-- \n2.30")
    assert isinstance(done, Refused)
    assert "its header counts 6 and 10 lines, and 4 and 8 are there" in done.why


def test_the_same_neighbours_in_two_places_are_none():
    text = "--- a/lib/a.c\n+++ b/lib/a.c\n@@ -1,4 +1,5 @@\n gone\n same\n+new\n same too\n also gone\n"
    done = fit(text, tree(lib__a_c="x\nsame\nsame too\ny\nsame\nsame too\nz\n"))
    assert isinstance(done, Refused)
    assert "the same in 2 places" in done.why


# ------------------------------------------------------------------------------------------------------------- proposed


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("OK. That must be it. Could you please test the following patch:", "patch-asked"),
        ("Does this help?", "patch-asked"),
        ("The fix goes like this:", "patch-asked"),
        ("Could you please test with the following patch to validate this hypothesis:", ""),
        ("Reported-by: Ann <ann@example.org>", "patch-subject"),
        ("This is what I have here, for reference.", "patch-only"),
    ],
)
def test_which_diff_is_proposed_as_a_fix(words, rule):
    diffs = found(f"{words}\n\n{PATCH}")
    assert [told for _, told in proposals.ordered(diffs)] == [rule]


def test_a_quoted_diff_is_not_taken_for_a_fix():
    diffs = found(PATCH, level=1)
    assert [told for _, told in proposals.ordered(diffs)] == [""]
