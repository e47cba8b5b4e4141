"""The boots of one kernel, with a guest that is a function: which boots are made, and what is written down before each."""

import hashlib
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.boot.initramfs import ModuleFile
from lab.errors import UsageError
from lab.evidence import boots
from lab.evidence.bundle import Evidence
from lab.evidence.console import read
from lab.model import Boot, BootModules, Deadlines, Ending, Oops, Program, StepResult
from lab.settings import Settings
from lab.use import guest as guests
from lab.use import shards
from lab.use.bench import Bench

DATA = Path(guests.__file__).parents[1] / "data"


def module(path: str, *depends: str, size: int = 8) -> ModuleFile:
    return ModuleFile(path=path, data=b"x" * size, depends=depends)


class World:
    """A kernel that loads modules as `becomes` says: path -> "ok", an error, or "crash" (nothing follows).

    boots: the paths of each boot. At the start of a boot its plan must be on disk.
    """

    def __init__(self, folder, rows, becomes=None, *, reaches_init=True, ending=Ending.EXITED):
        self.folder, self.becomes, self.reaches_init, self.ending = (
            folder / "evidence",
            becomes or {},
            reaches_init,
            ending,
        )
        self.boots: list[list[str]] = []
        self.steps = []
        self.folder.mkdir()
        (folder / "kernel").write_bytes(b"kernel")
        (folder / "scratch").mkdir()
        settings = Settings(cache=folder, results=folder, images=folder, data=DATA, uid=1, gid=1)
        engine = SimpleNamespace(read_file=lambda image, path: b"busybox")
        self.bench = Bench(settings=settings, tables=rows, engine=engine, sink=print, stop=threading.Event())
        self.scratch, self.kernel, self.arch = folder / "scratch", folder / "kernel", rows.arch["x86_64"]

    def crew(self, boot: Boot) -> shards.Crew:
        image = SimpleNamespace(id="image", name="image")
        guest = guests.guest(self.bench, self.arch, boot, qemu=image, busybox=image, deadlines=Deadlines())
        return shards.Crew(
            bench=self.bench, guest=guest, kernel=self.kernel, scratch=self.scratch, folder=self.folder, run=self.run
        )

    def run(self, guest):
        step, place = guest.step, guest.place(self.bench, self.scratch, "")
        plan = json.loads((self.folder / "boots.json").read_text())
        paths = plan["boots"][-1]["modules"]
        listed = (self.folder / boots.numbered("modules.list", len(plan["boots"]))).read_text()
        assert [line.partition("\t")[0] for line in listed.splitlines()] == paths
        assert plan["boots"][-1]["step"] == step.name
        self.steps.append((step, place))
        self.boots.append(paths)
        (self.folder / step.log).write_text("[    0.000000] Linux version 6.1.0\n" + "\n".join(self.said(paths)) + "\n")
        return StepResult(name=step.name, ending=self.ending, status=0, seconds=1.0)

    def said(self, paths):
        if not self.reaches_init:
            return
        yield f"lab-init: start modules={len(paths)}"
        for path in paths:
            yield f"lab-init: begin 1/1 {path}"
            outcome = self.becomes.get(path, "ok")
            if outcome == "crash":
                return
            yield f"lab-init: ok 1/1 {path}" if outcome == "ok" else f"lab-init: fail 1/1 {path} {outcome}"
        yield "lab-init: done ok=1 fail=0"

    def boot(self, modules, **wanted) -> boots.Plan:
        options = BootModules(**wanted)
        crew = self.crew(Boot(modules=options))
        return shards.boot_all(crew, modules, shards.selected(modules, options), options)

    def outcomes(self) -> dict[str, str]:
        evidence = Evidence(self.folder)
        found = boots.found(evidence.steps, evidence.file, evidence.name_of)
        plan = boots.read_plan(self.folder / "boots.json")
        return {one.path: one.outcome for one in boots.outcomes([(b.file, read(b.console)) for b in found], plan)}


FIVE = [module("a.ko"), module("b.ko"), module("c.ko", "a"), module("d.ko", "b"), module("e.ko")]


@pytest.fixture
def world(tmp_path, rows):
    return lambda becomes=None, **more: World(tmp_path, rows, becomes, **more)


def test_a_few_modules_are_one_boot(world):
    one = world()
    plan = one.boot(FIVE)
    assert one.boots == [["a.ko", "b.ko", "c.ko", "d.ko", "e.ko"]]
    assert plan.left_out == ()


def test_many_modules_are_several_boots_with_names_of_their_own(world):
    one = world()
    one.boot(FIVE, per_boot=2)
    assert one.boots == [["a.ko", "b.ko"], ["a.ko", "c.ko"], ["b.ko", "d.ko"], ["e.ko"]]
    assert [step.name for step, _ in one.steps] == ["boot", "boot-2", "boot-3", "boot-4"]
    assert [step.log for step, _ in one.steps] == ["console.txt", "console-2.txt", "console-3.txt", "console-4.txt"]


def test_a_crash_does_not_keep_the_other_boots_from_being_made(world):
    one = world({"a.ko": "crash"})
    one.boot(FIVE, per_boot=2)
    assert len(one.boots) == 4
    assert one.outcomes() == {"a.ko": "begun", "b.ko": "ok", "c.ko": "not tried", "d.ko": "ok", "e.ko": "ok"}


def test_without_retries_what_a_crash_left_is_not_tried(world):
    one = world({"b.ko": "crash"})
    one.boot(FIVE)
    assert len(one.boots) == 1
    assert one.outcomes() == {
        "a.ko": "ok",
        "b.ko": "begun",
        "c.ko": "not tried",
        "d.ko": "not tried",
        "e.ko": "not tried",
    }


def test_with_retries_it_is_tried_without_the_culprit_and_what_needs_it(world):
    one = world({"b.ko": "crash"})
    plan = one.boot(FIVE, retries=1)
    assert one.boots == [["a.ko", "b.ko", "c.ko", "d.ko", "e.ko"], ["a.ko", "c.ko", "e.ko"]]
    assert plan.boots[1].because == "boot ended at b.ko; this is the rest of it"
    assert plan.boots[1].borrowed == ("a.ko",)
    assert [(left.path, left.because) for left in plan.left_out] == [("d.ko", "it needs b.ko, at which a boot ended")]
    assert one.outcomes() == {"a.ko": "ok", "b.ko": "begun", "c.ko": "ok", "d.ko": "not tried", "e.ko": "ok"}


def test_retries_are_bounded(world):
    one = world(dict.fromkeys(["a.ko", "b.ko", "c.ko", "d.ko", "e.ko"], "crash"))
    one.boot([module(f"{name}.ko") for name in "abcde"], retries=2)
    assert one.boots == [
        ["a.ko", "b.ko", "c.ko", "d.ko", "e.ko"],
        ["b.ko", "c.ko", "d.ko", "e.ko"],
        ["c.ko", "d.ko", "e.ko"],
    ]


def test_a_kernel_that_does_not_reach_our_init_is_not_booted_again(world):
    one = world(reaches_init=False)
    one.boot(FIVE, per_boot=1, retries=3)
    assert len(one.boots) == 1
    assert one.outcomes()["e.ko"] == "not tried"


@pytest.mark.parametrize("ending", [Ending.KILLED, Ending.ENGINE_LOST, Ending.OUT_OF_MEMORY, Ending.INTERRUPTED])
def test_what_the_machine_broke_off_is_the_last_boot(world, ending):
    one = world(ending=ending)
    one.boot(FIVE, per_boot=1)
    assert len(one.boots) == 1


def test_a_boot_that_hung_is_no_end_of_the_others(world):
    one = world({"a.ko": "crash"}, ending=Ending.DEADLINE)
    one.boot(FIVE, per_boot=2)
    assert len(one.boots) == 4


def test_a_guest_gets_the_memory_that_its_initramfs_needs_and_no_less_than_asked(world):
    one = world()
    one.boot([module("a.ko", size=90 << 20), module("b.ko", size=100)], per_boot=1)
    memory = [step.argv[step.argv.index("-m") + 1] for step, _ in one.steps]
    assert memory == ["448M", "256M"]
    assert [place.memory_mib for _, place in one.steps] == [448 + 1024, 256 + 1024]


def test_the_plan_says_which_initramfs_was_booted(world):
    one = world()
    (planned,) = one.boot([module("a.ko")]).boots
    archive = (one.scratch / "boot-in/initramfs").read_bytes()
    assert (planned.sha256, planned.bytes) == (hashlib.sha256(archive).hexdigest(), len(archive))


def test_two_runs_make_the_same_archives(tmp_path, rows):
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        plan = World(tmp_path / name, rows).boot(FIVE, per_boot=2)
        digests.append([planned.sha256 for planned in plan.boots])
    assert digests[0] == digests[1]


# --------------------------------------------------------------------------------------------------------------- options


def test_parameters_go_to_the_modules_they_are_meant_for():
    wanted = BootModules(parameters=(("b", "x=1"), ("a*", "y=2"), ("aa", "z=3")))
    chosen = shards.selected([module("d/aa.ko"), module("b.ko"), module("c.ko")], wanted)
    assert {one.path: one.parameters for one in chosen} == {"d/aa.ko": "y=2 z=3", "b.ko": "x=1", "c.ko": ""}


@pytest.mark.parametrize("wanted", [BootModules(only=("nope",)), BootModules(parameters=(("nope", "a=1"),))])
def test_a_name_that_means_nothing_is_a_mistake_of_the_request(wanted):
    with pytest.raises(UsageError, match="nope"):
        shards.selected([module("a.ko")], wanted)


def test_what_is_skipped_and_what_needs_it_is_told():
    wanted = BootModules(skip=("a",))
    chosen = shards.selected(FIVE, wanted)
    assert [(left.path, left.because) for left in shards.planned(FIVE, chosen, wanted).left_out] == [
        ("a.ko", "it was to be skipped"),
        ("c.ko", "it needs a module that is skipped"),
    ]


def test_only_full_names_are_named():
    wanted = BootModules(only=("a", "d*"))
    plan = shards.planned(FIVE, shards.selected(FIVE, wanted), wanted)
    assert (plan.named, plan.needs) == (("a.ko",), {"d.ko": ("b.ko",)})


@pytest.mark.parametrize(
    ("boot", "words"),
    [
        (Boot(), {"oops=panic"}),
        (Boot(panic_on_warn=True), {"oops=panic", "panic_on_warn=1"}),
        (Boot(oops=Oops.CONTINUE), {"oops=continue", "sysctl.kernel.panic_on_oops=0"}),
    ],
)
def test_panic_on_warn_and_oops_are_kernel_parameters(world, boot, words):
    argv = world().crew(boot).guest.step.argv
    line = argv[argv.index("-append") + 1].split()
    assert {word for word in line if "oops" in word or "warn" in word} == words


def test_a_program_is_packed_and_must_be_the_one_that_was_asked_for(world, tmp_path):
    path = tmp_path / "t.sh"
    path.write_text("#!/bin/sh\n")
    program = Program(name="t.sh", path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    one = world()
    assert one.crew(Boot(run=program)).guest.tasks.lines() == "run t.sh\n"
    path.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UsageError, match="has changed"):
        one.crew(Boot(run=program))
