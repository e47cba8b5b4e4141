"""Who may take a job, who should, and whom nobody asks again."""

from hypothesis import given
from hypothesis import strategies as st

from lab.plan.placing import (
    BATCH_S,
    SET_ASIDE_AFTER,
    Books,
    Wants,
    Worker,
    batch_size,
    lacking,
    liking,
    lower_bound,
    refusal,
)


def worker(host="w", **facts):
    said = {
        "code": "c",
        "images": "i",
        "machine": "x86_64",
        "pools": {"cpu": 4, "memory_mib": 8000},
        "native": ("x86_64",),
    }
    return Worker(host=host, **{**said, **facts})


def books(**workers):
    made = Books()
    for name, one in workers.items():
        made.join(name, one)
    return made


ARM = {"machine": "aarch64", "native": ("arm64", "armhf")}
EMULATED = Wants(parts=("engine", "emulation:arm64/emulated"), arch="arm64", emulates=True)
ONE = (("cpu", 1),)


def test_versions_must_agree_and_there_must_be_an_engine():
    assert refusal(worker(), code="c", images="i") == ""
    assert "another one" in refusal(worker(code="x"), code="c", images="i")
    assert "image definitions" in refusal(worker(images="x"), code="c", images="i")
    assert refusal(worker(lacks={"engine": "no socket"}), code="c", images="i") == "no socket"


def test_what_a_worker_lacks_it_is_not_asked_for():
    without = worker(lacks={"filesystem:xfs": "no xfs"})
    assert lacking(without, Wants(parts=("filesystem:xfs",))) == "no xfs"
    assert lacking(without, Wants(parts=("filesystem:ext4",))) == ""


def test_native_is_preferred_over_emulation_and_kvm_for_guests():
    here = books(x86=worker("x86", pools={"cpu": 64}), arm=worker("arm", **ARM))
    assert here.choose(EMULATED, ONE) == "arm", "though the other has more processors free"
    here.hold("arm", (("cpu", 4),))
    assert here.choose(EMULATED, ONE) == "x86", "a machine that emulates is better than none"
    guest = Wants(arch="x86_64", guest=True)
    assert liking(worker(kvm=True), guest) < liking(worker(), guest)


def test_what_is_held_is_not_there_and_a_demand_beyond_a_machine_takes_all_of_it():
    here = books(w=worker())
    assert here.choose(Wants(), (("cpu", 99),)) == "w"
    here.hold("w", (("cpu", 99),))
    assert here.choose(Wants(), ONE) is None
    here.give_back("w", (("cpu", 99),))
    assert here.choose(Wants(), (("cpu", 4), ("unknown", 3))) == "w"


def test_a_wide_job_that_was_overtaken_gets_its_machine():
    here = books(w=worker())
    here.hold("w", ONE)
    wide = (("cpu", 4),)
    assert here.choose(Wants(), wide, who="wide") is None
    here.reserve(Wants(), frozenset(), "wide")
    assert here.choose(Wants(), ONE, who="narrow") is None, "what becomes free is kept"
    here.give_back("w", ONE)
    assert here.choose(Wants(), wide, who="wide") == "w"
    here.hold("w", wide, "wide")
    here.give_back("w", wide)
    assert here.choose(Wants(), ONE, who="narrow") == "w"


def test_a_worker_is_not_kept_for_what_needs_it_no_more():
    here = books(w=worker("w"))
    here.reserve(Wants(), frozenset(), "wide")
    assert here.choose(Wants(), ONE, who="narrow") is None
    here.let_go("wide")
    assert here.choose(Wants(), ONE, who="narrow") == "w"


def test_trouble_in_a_row_sets_aside_but_not_the_last_one():
    here = books(a=worker("a"), b=worker("b"))
    for _ in range(SET_ASIDE_AFTER - 1):
        assert not here.had_trouble("a", "full")
    here.did_well("a")
    for _ in range(SET_ASIDE_AFTER - 1):
        assert not here.had_trouble("a", "full")
    assert here.had_trouble("a", "full")
    assert "full" in here.aside["a"]
    assert here.choose(Wants(), ONE) == "b"
    for _ in range(2 * SET_ASIDE_AFTER):
        assert not here.had_trouble("b", "full")
    here.give_back("a", ONE)  # a late end of one that is set aside
    assert ("a", here.aside["a"]) in here.nobody(Wants())


def test_short_attempts_go_together_and_fewer_towards_the_end():
    assert batch_size(None, 1000, 4) == 1
    assert batch_size(60.0, 1000, 4) == 1
    assert batch_size(BATCH_S / 10, 1000, 4) == 10
    assert batch_size(BATCH_S / 10, 32, 4) == 4
    assert batch_size(0.0, 3, 4) == 1


@given(st.floats(0, 100) | st.none(), st.integers(1, 10**6), st.integers(0, 10**4))
def test_a_batch_has_something_in_it_and_no_more_than_there_is(expected_s, waiting, lanes):
    assert 1 <= batch_size(expected_s, waiting, lanes) <= waiting


def test_no_order_is_shorter_than_the_bound():
    assert lower_bound([1.0, 2.0, 3.0], 2) == 3.0
    assert lower_bound([1.0, 1.0, 5.0], 2) == 5.0
    assert lower_bound([], 2) == 0.0
