"""Expanding: GitHub's semantics against a naive reading of its documentation, ids, and the key of a build."""

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import MatrixError
from lab.matrix.axes import AXES, AxisValue, Entry, Matrix
from lab.matrix.expand import cell_ids, cell_key, combinations, expand
from lab.model import Amplify, DebianSource, Fragment, Lto, Make, Patch

SOURCE = AxisValue(axis="source", value=DebianSource(package="linux-source-6.1"), text="linux-source-6.1")
TINY = Fragment(kind="base", text="tinyconfig", name="tinyconfig")
DEFAULTS = {
    "source": SOURCE,
    "arch": AxisValue(axis="arch", value="x86_64", text="x86_64"),
    "toolchain": AxisValue(axis="toolchain", value="gcc-12", text="gcc-12"),
    "filesystem": AxisValue(axis="filesystem", value="tmpfs", text="tmpfs"),
    "kconfig": AxisValue(axis="kconfig", value=(TINY,), text="tinyconfig"),
}


def word(axis, text):
    usual = DEFAULTS.get(axis)
    return usual if usual and usual.text == text else AxisValue(axis=axis, value=text, text=text)


def entry(**values):
    return Entry(values={axis: word(axis, text) for axis, text in values.items()})


def matrix(axes, include=(), exclude=(), **more):
    values = {axis: tuple(word(axis, text) for text in texts) for axis, texts in axes.items()}
    fields = {"file": "m.yaml", "name": "m", "defaults": DEFAULTS, "axes": values, **more}
    return Matrix(include=tuple(include), exclude=tuple(exclude), **fields)


def silent(place, message, hint):
    pass


def texts(decided, *axes):
    return [tuple(one[axis].text for axis in axes) for one in decided]


# ------------------------------------------------------------------------------------------------- GitHub's semantics


def test_the_example_of_githubs_documentation():
    """fruit is filesystem, animal is toolchain, color is arch, shape is source."""
    include = [
        entry(arch="green"),
        entry(arch="pink", toolchain="cat"),
        entry(filesystem="apple", source="circle"),
        entry(filesystem="banana"),
        entry(filesystem="banana", toolchain="cat"),
    ]
    decided = combinations(matrix({"filesystem": ["apple", "pear"], "toolchain": ["cat", "dog"]}, include), silent)
    assert texts(decided, "filesystem", "toolchain", "arch", "source") == [
        ("apple", "cat", "pink", "circle"),
        ("apple", "dog", "green", "circle"),
        ("pear", "cat", "pink", "linux-source-6.1"),
        ("pear", "dog", "green", "linux-source-6.1"),
        ("banana", "gcc-12", "x86_64", "linux-source-6.1"),
        ("banana", "cat", "x86_64", "linux-source-6.1"),
    ]


def test_an_excluded_combination_is_not_extended_but_added():
    decided = combinations(
        matrix({"filesystem": ["tmpfs", "ext4"]}, [entry(filesystem="ext4", arch="arm64")], [entry(filesystem="ext4")]),
        silent,
    )
    assert texts(decided, "filesystem", "arch") == [("tmpfs", "x86_64"), ("ext4", "arm64")]


def naive(axes, include, exclude):
    """GitHub's rules, word by word, on dictionaries of texts."""
    originals = [dict(zip(axes, one, strict=True)) for one in itertools.product(*axes.values())] if axes else []
    if not axes and not include:
        originals = [{}]
    originals = [one for one in originals if not any(all(one[a] == v for a, v in e.items()) for e in exclude)]
    results = [dict(one) for one in originals]
    new = []
    for wanted in include:
        fits = [i for i, one in enumerate(originals) if all(one.get(a, v) == v for a, v in wanted.items())]
        for i in fits:
            results[i].update(wanted)
        if not fits:
            new.append(dict(wanted))
    return results + new


NAMES = ("arch", "toolchain", "filesystem")
VALUES = st.sampled_from(["a", "b", "c"])
PARTIAL = st.dictionaries(st.sampled_from((*NAMES, "source")), VALUES, min_size=1)


@given(
    st.dictionaries(st.sampled_from(NAMES), st.lists(VALUES, min_size=1, unique=True)),
    st.lists(PARTIAL, max_size=4),
    st.lists(PARTIAL, max_size=3),
)
def test_any_matrix_expands_as_the_naive_reading_of_the_rules(axes, include, exclude):
    exclude = [{a: v for a, v in one.items() if a in axes} for one in exclude]
    exclude = [one for one in exclude if one]
    decided = combinations(matrix(axes, [entry(**one) for one in include], [entry(**one) for one in exclude]), silent)
    usual = {axis: value.text for axis, value in DEFAULTS.items()}
    wanted = [{**usual, **one} for one in naive(axes, include, exclude)]
    assert [{axis: one[axis].text for axis in usual} for one in decided] == wanted


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_large_product_is_refused_before_it_is_made():
    axes = {axis: [str(number) for number in range(1000)] for axis in ("repeat", "make", "deadlines", "boot")}
    with pytest.raises(MatrixError, match="1000000000000 combinations; at most 20000 are run"):
        expand(matrix(axes))


def test_two_cells_that_are_one_are_refused():
    with pytest.raises(MatrixError, match="the same cell twice"):
        expand(matrix({"filesystem": ["tmpfs"]}, [entry(filesystem="ext4"), entry(filesystem="ext4")]))


def test_an_axis_that_nothing_decides_is_told():
    incomplete = {axis: value for axis, value in DEFAULTS.items() if axis != "toolchain"}
    with pytest.raises(MatrixError, match="no 'toolchain' is given"):
        expand(matrix({}, defaults=incomplete))


# ------------------------------------------------------------------------------------------------------------------ ids


def ids(one):
    return cell_ids(one, combinations(one, silent))


def test_an_id_names_the_environment_and_what_is_not_usual():
    one = matrix({"filesystem": ["tmpfs", "ext4-128"]})
    thin = AxisValue(axis="lto", value=Lto.THIN, text="thin")
    one = replace(one, axes={**one.axes, "lto": (thin,)})
    assert ids(one) == ["x86_64-gcc-12-lto-thin-tmpfs", "x86_64-gcc-12-lto-thin-ext4-128"]


TEXT = st.text(alphabet="aB1-_.+/= :é", min_size=1, max_size=50)


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(TEXT, min_size=1, max_size=4, unique=True), min_size=1))
def test_ids_are_unique_and_safe_as_folder_names(axes):
    found = ids(matrix(axes))
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._+-]{0,79}", one) for one in found)


SAFE = st.text(alphabet="abcdef0123", min_size=1, max_size=8)


@given(
    st.dictionaries(st.sampled_from(NAMES), st.lists(SAFE, min_size=1, max_size=3, unique=True), min_size=1),
    st.sampled_from((*NAMES, "source")),
    SAFE,
)
def test_a_value_added_to_an_axis_changes_no_id(axes, axis, text):
    more = {**axes, axis: list(dict.fromkeys([*axes.get(axis, [DEFAULTS[axis].text]), text]))}
    assert set(ids(matrix(axes))) <= set(ids(matrix(more)))


def test_a_long_value_is_cut_and_told_apart_by_a_hash():
    found = ids(matrix({"toolchain": ["x" * 60 + "1", "x" * 60 + "2"]}))
    assert all(re.fullmatch(r"x86_64-x{25}-[0-9a-f]{6}-tmpfs", one) for one in found)
    assert len(set(found)) == 2


def test_values_that_read_alike_get_a_hash_each():
    found = ids(matrix({"source": ["a/linux", "b/linux"]}))
    assert all(re.fullmatch(r"x86_64-gcc-12-linux-tmpfs-[0-9a-f]{8}", one) for one in found)


def test_every_axis_is_told():
    (cell,) = expand(matrix({}))
    assert tuple(axis for axis, _ in cell.axes) == AXES


# ------------------------------------------------------------------------------------------------------------------ key


@pytest.fixture
def cell():
    (only,) = expand(matrix({}))
    return only


@pytest.mark.parametrize(
    "change",
    [
        {"source": DebianSource(package="linux-source-6.12")},
        {"lto": Lto.THIN},
        {"filesystem": "ext4-128"},
        {"kconfig": (TINY, Fragment(kind="line", text="CONFIG_A=y", name=""))},
        {"patches": (Patch(name="p", text="@@"),)},
        {"make": Make(jobs=2)},
        {"ccache": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_changes_with_what_decides_the_build(cell, change):
    assert cell_key(replace(cell, **change)) != cell_key(cell)


def test_the_key_does_not_change_with_names_and_with_what_comes_after(cell):
    renamed = (replace(TINY, name="small"),)
    assert cell_key(replace(cell, id="other", repeat=9, boot=None, kconfig=renamed, axes=())) == cell_key(cell)
    assert cell_key(replace(cell, amplify=Amplify(load=1))) != cell_key(cell)
