"""Mails of people who mean harm: whatever the bytes are, reading them ends soon, within bounds, and raises nothing."""

import base64
import gzip
import subprocess
import sys

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lab.repro import extract, hunks, intake, picks, reading
from lab.repro.edits import Refused

HEAD = (
    b"From: A <a@example.org>\nTo: b@example.org\nSubject: x\nDate: Mon, 5 Mar 2018 10:00:00 +0000\nMIME-Version: 1.0\n"
)


def nested(depth):
    body = HEAD
    for level in range(depth):
        body += f"Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n".encode()
    return body + b"Content-Type: text/plain\n\nLinux 6.1.2\n"


def forwarded(depth):
    return HEAD + b"Content-Type: message/rfc822\n\n" * depth + HEAD + b"\nLinux 6.1.2\n"


def bomb():
    return gzip.compress(b"\0" * (100 << 20), compresslevel=1)


def attached(data, name="config.gz"):
    encoded = base64.encodebytes(data)
    return (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nLinux 6.1.2\n--b\n"
        b'Content-Type: application/gzip; name="' + name.encode() + b'"\nContent-Transfer-Encoding: base64\n\n'
        + encoded + b"--b--\n"
    )  # fmt: skip


def cases(size):
    """Return hostile reports of about so many bytes by name."""
    LONG = size  # noqa: N806 (a constant of each call)
    return {
        "one long line": b"x" * LONG,
        "one long line of quotes": b"> " * LONG,
        "one long line of compact quotes": b">" * LONG,
        "signs": b"--- a/x\n+++ b/x\n@@ -1,6 +1,2000 @@\n" + b"+ a - b " * (LONG // 8),
        "signs in one line": b"diff --git a/x b/x --- a/x +++ b/x @@ -1,6 +1,2000 @@ " + b"+ a - b " * (LONG // 8),
        "headers": b"From: " * (LONG // 6),
        "header lines": HEAD + b"X-A: b\n" * (LONG // 7) + b"\nLinux 6.1\n",
        "a folded header": HEAD + b"X-A: b\n" + b" c\n" * (LONG // 3) + b"\nx\n",
        "makes": b"make " * (LONG // 5),
        "make's words": b"make " + b"-j1 " * (LONG // 4) + b"#",
        "make's variables": b"make " + b"A=b" * (LONG // 3),
        "errors": b"ERROR: modpost: " * (LONG // 16),
        "undefined": b'ERROR: "a" [b.ko] undefined! ' * (LONG // 29),
        "wrote": b"On Mon, 5 Mar 2018 at 10:00, " * (LONG // 29),
        "wrote lines": b"On Mon, 5 Mar 2018 at 10:00,\n" * (LONG // 29),
        "listings": b"-rw-r--r-- 1 a a 1 2018-03-13 17:20:18.000000000 +0100 " * (LONG // 55),
        "addresses": b"To: " + b"a@b.c, " * (LONG // 7),
        "urls": b"https://a" * (LONG // 9),
        "capitals": b"A_" * (LONG // 2) + b" is enabled",
        "capital words": b"CONFIG_A_B_C enabled " * (LONG // 21),
        "paths": b"arch/x/" * (LONG // 7),
        "numbers": b"4.14.23 " * (LONG // 8),
        "dots": b"1." * (LONG // 2),
        "ratios": b"one of ten builds in " * (LONG // 21),
        "sentences": b"the only difference between a. b " * (LONG // 33),
        "tags": b"<" * LONG,
        "html": b"<!DOCTYPE html><body>" + b"<a href=" * (LONG // 8),
        "scripts": b"<html>" + b"<script>" * (LONG // 8),
        "configs": b"CONFIG_A=y\n" * (LONG // 11),
        "stamps": b"[    0.000000] x\n" * (LONG // 17),
        "encoded words": HEAD + b"X: " + b"=?utf-8?q?=?=" * (LONG // 13) + b"\n\nx\n",
        "encoded subject": b"From: A <a@example.org>\nTo: b@c\nDate: x\nSubject: "
        + b"=?idna?b?eG4t?=" * 300
        + b"\n\nx\n",
        "bad base64": HEAD + b"Content-Transfer-Encoding: base64\n\n" + b"=\n" * (LONG // 2),
        "soft breaks": HEAD + b"Content-Transfer-Encoding: quoted-printable\n\n" + b"a=\n" * (LONG // 3),
        "a boundary that never comes": HEAD + b"Content-Type: multipart/mixed; boundary=nope\n\nLinux 6.1.2\n",
        "boundaries": HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * (LONG // 4),
        "an empty boundary": HEAD + b'Content-Type: multipart/mixed; boundary=""\n\n' + b"--\n" * (LONG // 3),
        "nested parts": nested(3000),
        "nested mails": forwarded(3000),
        "mbox": (b"From a@b Mon Sep 17 00:00:00 2001\n" + HEAD + b"\nLinux 6.1.2\n") * (LONG // 500),
        "nuls": b"\0" * LONG,
        "nuls in text": b"Linux 6.1.2\0 is broken\n" * 100,
        "utf-16": b"\xff\xfe" + "Linux 6.1.2".encode("utf-16-le"),
        "newlines": b"\n" * (4 * LONG),
        "a bomb": bomb(),
        "an attached bomb": attached(bomb()),
        "half a gzip file": gzip.compress(b"CONFIG_A=y\n" * 1000)[:60],
        "a charset that is none": HEAD + b"Content-Type: text/plain; charset=unicode_escape\n\n\\ud800 Linux 6.1.2\n",
        "hunks": b"--- a/x\n+++ b/x\n" + b"@@ -1 +1 @@\n-a\n+b\n" * (LONG // 19),
        "counts": b"--- a/x\n+++ b/x\n@@ -9999999,99999 +1,99999 @@\n" + b" a\n" * (LONG // 3),
    }


WORKER = """
import resource, sys
sys.path[:0] = [sys.argv[1]]
import test_repro_hostile as hostile
from lab.repro import extract, hunks, picks
resource.setrlimit(resource.RLIMIT_AS, (hostile.MEMORY_BYTES, hostile.MEMORY_BYTES))
for name, data in hostile.cases(int(sys.argv[2])).items():
    print(name, end=": ", flush=True)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(spent.ru_utime + spent.ru_stime) + hostile.CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    report = extract.report([("x", data)])
    picks.picked(report)
    for diff in report.diffs[:20]:
        hunks.fitted(diff, lambda path: hunks.TreeFile(text="a\\n" * 300))
    print(len(report.facts), flush=True)
"""
MEMORY_BYTES, CPU_S = 3 << 30, 60


def read_in_a_process_of_its_own(size, repository):
    folder = str(repository / "tests" / "repro")
    done = subprocess.run(
        [sys.executable, "-c", WORKER, folder, str(size)], capture_output=True, text=True, cwd=repository, check=False
    )
    told = done.stdout.splitlines()
    assert done.returncode == 0, f"{told[-1:]} {done.stderr[-600:]}"
    assert len(told) == len(cases(1 << 10))


def test_it_ends_within_bounds(repository):
    read_in_a_process_of_its_own(1 << 16, repository)


@pytest.mark.slow
def test_it_ends_within_bounds_however_large_it_is(repository):
    read_in_a_process_of_its_own(1 << 20, repository)


@settings(max_examples=200)
@given(st.binary(max_size=3000))
def test_bytes_of_any_kind_raise_nothing(data):
    report = extract.report([("x", data), ("y", HEAD + b"\n" + data)])
    picks.picked(report)


SEEDS = [
    b"> ",
    b"-------- Original Message --------\n",
    b"<a@b.c>, \n",
    b"Subject: x\n",
    b"From: A B <a at b.c>\n",
    b"CC: A B\n",
    b"Bug 12 - x\nReported: 2024-11-02 18:20 UTC by A B\nDescription A B 2024-11-02 18:20:33 UTC\n",
    b"A commented on Jul 16, 2021\n",
    b"Commit Message\n",
    b"Mon Mar 26 00:02:42 UTC 2012\n",
    b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,3 @@\n",
    b" a\n",
    b"+b\n",
    b"-c\n",
    b"On Mon, 5 Mar 2018, A B wrote:\n",
    b"make -j4 ",
    b"CONFIG_A_B=y\n",
    b'ERROR: "a" [b.ko] undefined!\n',
    b"Linux 4.14.23 ",
    b"\n",
    b"Content-Type: multipart/mixed; boundary=b\n",
    b"--b\n",
    HEAD,
    b"[    1.000000] Oops: 0000 [#1]\n",
    b"x" * 300,
    b"----- >8 ",
]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(SEEDS), max_size=40))
def test_pieces_of_reports_in_any_order_raise_nothing(pieces):
    report = extract.report([("x", b"".join(pieces))])
    for diff in report.diffs:
        hunks.fitted(diff, lambda _: hunks.TreeFile(text="a\nc\n"))
    picks.picked(report)


def test_what_is_too_large_is_read_to_a_bound_and_that_is_said():
    report = extract.report([("big", b"Linux 6.1.2 does not build.\n" + b"word " * (intake.BYTES_MAX // 5 + 100))])
    assert any("beyond" in one.left_out or "bytes" in one.left_out for one in report.sources)
    assert any(fact.value == "6.1.2" for fact in report.facts)


def test_a_bomb_is_unpacked_to_a_bound():
    budget = intake.Budget(room=1 << 20)
    assert len(intake.unpacked(gzip.compress(b"a" * (50 << 20)), budget, "x") or b"") <= 1 << 20
    assert budget.told


def test_the_name_of_an_attachment_is_only_shown():
    (_, one) = reading.documents("x", attached(gzip.compress(b"CONFIG_A=y\n" * 9), name="../../etc/passwd\\x1b"))
    assert "/" not in one.part
    assert one.part.isprintable()


def test_a_diff_reaches_no_file_that_the_tree_does_not_give():
    asked = []

    def file_of(path):
        asked.append(path)
        return hunks.TreeFile()

    names = ["../x", "/etc/passwd", "a/../../x", "x\ny", "-o", "$(id)", "`id`", ".git/hooks/pre-commit"]
    for name in names:
        for diff in extract.report([("x", f"--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-a\n+b\n".encode())]).diffs:
            assert isinstance(hunks.fitted(diff, file_of), Refused)
    assert asked == []
