"""The axis `boot`: what is typed how, and what is told of mistakes."""

import hashlib
import os
from pathlib import Path

import jsonschema
import pytest
import yaml

from lab import tables
from lab.errors import MatrixError
from lab.matrix.expand import expand
from lab.matrix.read import read_text
from lab.matrix.schema import schema
from lab.model import Boot, BootModules, Oops, Program

ROOT = Path(__file__).parent.parent.parent
TABLES = tables.load(images=ROOT / "images")
HEAD = """\
version: 1
name: small
defaults:
  source: {debian: linux-source-6.1}
  arch: x86_64
  toolchain: gcc-12
  filesystem: tmpfs
  kconfig: [tinyconfig]
"""
SCRIPT = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test.sh").write_text(SCRIPT)
    (tmp_path / "notes.txt").write_text("no program\n")
    (tmp_path / "inside").mkdir()
    return tmp_path


@pytest.fixture
def cells(folder):
    return lambda boot: expand(read_text(f"{HEAD}matrix:\n  boot: [{boot}]\n", "m.yaml", folder.resolve(), TABLES))


@pytest.fixture
def mistake(cells):
    def mistake(boot):
        with pytest.raises(MatrixError) as caught:
            cells(boot)
        (only,) = caught.value.mistakes
        return only

    return mistake


@pytest.mark.parametrize(
    ("boot", "modules"),
    [
        ("{modules: {only: autofs4}}", BootModules(only=("autofs4",))),
        ("{modules: {only: [a, 'd/*'], skip: [b]}}", BootModules(only=("a", "d/*"), skip=("b",))),
        ("{modules: {twice: on, unload: yes}}", BootModules(twice=True, unload=True)),
        ("{modules: {parameters: {zram: num_devices=2, b: 'x=1 y=2'}}}",
         BootModules(parameters=(("zram", "num_devices=2"), ("b", "x=1 y=2")))),
        ("{modules: {per_boot: 50, retries: 3}}", BootModules(per_boot=50, retries=3)),
    ],
)  # fmt: skip
def test_what_is_said_of_modules(cells, boot, modules):
    (cell,) = cells(boot)
    assert cell.boot == Boot(modules=modules)


def test_panic_on_warn_and_oops_make_boot_an_axis_of_them(cells):
    found = cells("on, {panic_on_warn: on}, {name: soft, oops: continue}")
    assert [cell.boot for cell in found] == [Boot(), Boot(panic_on_warn=True), Boot(oops=Oops.CONTINUE)]
    assert [cell.id.removeprefix("x86_64-gcc-12-tmpfs-") for cell in found] == ["boot-on", "boot-panic_on_warn", "soft"]


def test_a_program_is_named_by_its_path_and_its_hash(cells, folder):
    (cell,) = cells("{run: test.sh}")
    digest = hashlib.sha256(SCRIPT.encode()).hexdigest()
    assert cell.boot.run == Program(name="test.sh", path=str(folder.resolve() / "test.sh"), sha256=digest)


def test_another_program_of_that_name_is_another_cell(cells, folder):
    before = cells("{run: test.sh}")
    (folder / "test.sh").write_text(SCRIPT + "# more\n")
    assert cells("{run: test.sh}") != before


@pytest.mark.parametrize(
    ("boot", "told"),
    [
        ("{modules: [a]}", "modules must be a mapping"),
        ("{modules: {onyl: a}}", "unknown key of modules 'onyl'"),
        ("{modules: {only: []}}", "only"),
        ("{modules: {twice: maybe}}", "twice must be 'on' or 'off', not 'maybe'"),
        ("{modules: {per_boot: 0}}", "per_boot must be a whole number from 1 to 10000, not '0'"),
        ("{modules: {retries: 21}}", "retries must be a whole number from 0 to 20, not '21'"),
        ("{modules: {parameters: {'a b': x=1}}}", "not the name of a module: 'a b'"),
        ("{modules: {parameters: {a: [x]}}}", "parameters of a must be a text"),
        ("{oops: ignore}", "unknown oops 'ignore'"),
        ("{panic_on_warn: 1}", "panic_on_warn must be 'on' or 'off', not '1'"),
        ("{run: gone.sh}", "no file 'gone.sh' beside the matrix"),
        ("{run: ../../../etc/passwd}", "lies outside the matrix' folder"),
        ("{run: notes.txt}", "'notes.txt' is neither a script nor an ELF file"),
        ("{run: inside}", "'inside' is not a file"),
    ],
)
def test_a_mistake_is_told_with_its_place(mistake, boot, told):
    assert told in mistake(boot)
    assert mistake(boot).startswith("m.yaml:10:")


def test_the_place_of_a_mistake_inside_is_its_own(mistake):
    assert mistake("{modules: {retries: 21}}").endswith("at matrix.boot[0].modules.retries")


@pytest.mark.parametrize(
    ("boot", "good"),
    [
        (
            "{modules: {only: [a], parameters: {a: x=1}, twice: on}, run: test.sh, oops: continue, panic_on_warn: on}",
            True,
        ),
        ("{modules: {onyl: [a]}}", False),
        ("{oops: ignore}", False),
        ("{modules: {per_boot: many}}", False),
    ],
)
def test_the_schema_agrees(boot, good):
    document = yaml.safe_load(f"{HEAD}matrix:\n  boot: [{boot}]\n")
    errors = list(jsonschema.Draft202012Validator(schema(TABLES)).iter_errors(document))
    assert (not errors) is good


def test_a_program_that_is_a_pipe_is_not_waited_for(mistake, folder):
    os.mkfifo(folder / "pipe")
    assert "'pipe' is not a file" in mistake("{run: pipe}")
