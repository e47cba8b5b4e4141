"""What a finding is about: objects, modules, the place of a crash; and how near a crash is to what the build made wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from lab.model import Finding

ORDER = (
    "infra.disk-full", "infra.read-only", "infra.out-of-memory", "infra.engine-lost", "infra.deadline", "infra.emulator-crash",
    "infra.io-error", "infra.compiler-killed", "infra.interrupted", "infra.", "config.", "timestamps.tie", "timestamps.stale",
    "timestamps.",
    "objtool.flags", "objtool.sections", "objtool.error", "objtool.warning", "livepatch.conflict", "livepatch.", "build.",
    "btf.", "modpost.undefined", "modpost.", "kallsyms.inconsistent", "kallsyms.", "boot.", "boot.module-failed", "boot.panic",
    "boot.lockup", "boot.no-init", "boot.hang", "boot.incomplete", "boot.triple-fault", "boot.reset", "boot.reboot",
)  # fmt: skip

# What the running kernel does with what objtool writes: sections, and flags that make objtool write them; functions or words
# that a crash names if they are wrong. Source: kernel/{static_call_inline.c,jump_label.c,trace/ftrace.c};
# arch/x86/kernel/{static_call,alternative,cet,unwind_orc}.c.
EXCERPT_LINES = 4
USED_BY: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = (
    (frozenset({".static_call_sites", "--static-call", "--module"}), re.compile(r"static_call")),
    (
        frozenset({".return_sites", "--rethunk"}),
        re.compile(r"\bapply_returns|\bpatch_return|[Uu]npatched return thunk"),
    ),
    (frozenset({".retpoline_sites", "--retpoline"}), re.compile(r"\bapply_retpolines|\bpatch_retpoline")),
    (
        frozenset({".ibt_endbr_seal", "--ibt"}),
        re.compile(r"[Mm]issing ENDBR|control_protection|\bapply_(?:seal|ibt)_endbr"),
    ),
    (frozenset({".orc_unwind", ".orc_unwind_ip", "--orc"}), re.compile(r"\borc_|\bunwind_next_frame|\bunwind_orc")),
    (
        frozenset({"__mcount_loc", "--mcount"}),
        re.compile(r"\bftrace_(?:bug|init|process_locs|module|update_code)|\bmcount_"),
    ),
    (frozenset({"--hacks=jump_label"}), re.compile(r"\bjump_label_|\bstatic_key_")),
)


class Nearness(IntEnum):
    """How near a crash is to what a finding of the build is about, the nearest first."""

    CODE = 0  # the code that crashed
    LOADING = 1  # the module that was being loaded
    TRACE = 2  # the innermost module of the call trace, proven to be damaged
    USED = 3  # the kernel used what objtool writes, and of the modules linked in this one is proven to lack it


@dataclass(frozen=True, slots=True)
class Crashed:
    """Where a kernel crashed. loading, code, linked: modules, as the kernel has them. object: of the code, "" if not known.

    is_crash: whether it did; else a module did not load, or the boot did not end. caller: the innermost module of the trace,
    "". words: functions of pointer and trace, and the head of the report.
    """

    is_crash: bool = False
    loading: frozenset[str] = frozenset()
    code: frozenset[str] = frozenset()
    object: str = ""
    caller: str = ""
    linked: frozenset[str] = frozenset()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """A finding with what it is about. modules: names as the kernel has them ("autofs4"). objects: paths relative to O=.

    damaged, intact: modules that are proven to lack, or to have, what objtool writes. crash: what a boot's finding says.
    """

    finding: Finding
    rank: int
    modules: frozenset[str]
    objects: frozenset[str]
    damaged: frozenset[str] = frozenset()
    intact: frozenset[str] = frozenset()
    crash: Crashed = field(default_factory=Crashed)


def about(finding: Finding, part_of: Mapping[str, str]) -> Told:
    """Return a finding with what it is about. part_of: object -> "vmlinux" or the .ko it is linked into."""
    data = finding.data
    names = [
        finding.blame,
        *texts(data, "object", "exporter", "module", "loading"),
        *lists(data, "objects", "modules"),
    ]
    if finding.id.startswith("boot."):
        names = [finding.blame, *texts(data, "loading", "module")]
    objects = frozenset(name for name in names if name.endswith(".o"))
    modules = {module_name(name) for name in names if name and not name.startswith("vmlinux")}
    modules |= {module_name(owner) for name in objects if (owner := part_of.get(name, "")).endswith(".ko")}
    return Told(
        finding=finding,
        rank=_rank(finding.id),
        modules=frozenset(modules),
        objects=objects,
        damaged=frozenset(_damaged(finding, part_of)),
        intact=frozenset(module_name(one) for one in lists(data, "intact")),
        crash=_crash(finding) if finding.id.startswith("boot.") else Crashed(),
    )


def _damaged(finding: Finding, part_of: Mapping[str, str]) -> Iterator[str]:
    """Yield the modules that a finding proves to lack what objtool writes."""
    if finding.id == "objtool.sections":
        yield module_name(finding.blame)
    for name in lists(finding.data, "damaged"):
        owner = part_of.get(name, "")
        yield module_name(owner if owner.endswith(".ko") else name)


def _crash(finding: Finding) -> Crashed:
    data = finding.data
    if not {"category", "loading"} & data.keys():
        return Crashed(loading=frozenset({module_name(finding.blame)} if finding.blame else ()), words=finding.message)
    frames = [one for one in data["frames"] if isinstance(one, dict)] if isinstance(data.get("frames"), list) else []
    pointer: Mapping[str, Any] = next((one for one in frames if one.get("pointer") is True), {})
    loading = texts(data, "loading")
    code = [*texts(data, "module"), *texts(pointer, "module")]
    said = [*texts(data, "text"), finding.function, *lists(data, "trace"), *lists(data, "excerpt")[:EXCERPT_LINES]]
    return Crashed(
        is_crash=True,
        loading=frozenset(module_name(one) for one in loading if one),
        code=frozenset(module_name(one) for one in code if one),
        object=next((one for one in (*texts(data, "object"), *texts(pointer, "object")) if one), ""),
        caller=module_name("".join(texts(data, "caller"))),
        linked=frozenset(module_name(one) for one in lists(data, "modules")),
        words=" ".join([*said, *(one for frame in frames for one in texts(frame, "function"))]),
    )


def _rank(identity: str) -> int:
    """Return the place of an id in ORDER: its own, else that of its family."""
    families = [place for place, name in enumerate(ORDER) if name.endswith(".") and identity.startswith(name)]
    return ORDER.index(identity) if identity in ORDER else families[0] if families else len(ORDER)


def module_name(path: str) -> str:
    """Return the name that the kernel gives to the module of a .ko or .o, or to a module's name."""
    return path.rpartition("/")[2].removesuffix(".ko").removesuffix(".o").replace("-", "_")


def texts(data: Mapping[str, Any], *keys: str) -> list[str]:
    """Return the texts under some keys; whatever else is there is passed over."""
    return [value for key in keys if isinstance(value := data.get(key), str)]


def lists(data: Mapping[str, Any], *keys: str) -> list[str]:
    """Return the texts of the lists under some keys; whatever else is there is passed over."""
    found = (value for key in keys if isinstance(value := data.get(key), list | tuple))
    return [one for value in found for one in value if isinstance(one, str)]


# ---------------------------------------------------------------------------------------- how near a crash is


def nearness(root: Told, part: Told) -> Nearness | None:
    """Return how near a crash is to what a finding of the build is about, None if they have nothing to do with each other."""
    warned = root.finding.id == "modpost.undefined"  # KBUILD_MODPOST_WARN=1 lets such a module be linked
    if not part.finding.id.startswith("boot.") or not (root.finding.decides or warned) or not part.finding.decides:
        return None
    if root.finding.id == "timestamps.stale" and part.crash.object:
        return Nearness.CODE if part.crash.object in root.objects else None
    if root.finding.id.startswith("objtool."):
        return _of_objtool(root, part.crash)
    refused = part.finding.id == "boot.module-failed" or "livepatch" in part.finding.id
    broken = root.finding.id.startswith(("livepatch.", "modpost.undefined", "modpost.namespace", "timestamps.stale"))
    return Nearness.LOADING if refused and broken and part.crash.loading & root.modules else None


def _of_objtool(root: Told, crash: Crashed) -> Nearness | None:
    """Return how near a crash is to an object that objtool left wrong.

    A module that was read and lacks nothing is not to blame for a crash, whatever its command line was.
    """
    data, suspect = root.finding.data, root.modules - root.intact
    if root.finding.id == "objtool.flags" and not lists(data, "missing") and data.get("uncalled") is not True:
        return None  # what it does too much does not harm the kernel that runs
    if crash.code & root.modules or crash.object in root.objects:
        return Nearness.CODE if _is_code(root, crash) else None
    elsewhere = crash.code and not crash.code & crash.loading  # the code of another module, which is not being loaded
    if crash.loading & suspect and not elsewhere:
        return Nearness.LOADING
    if crash.caller in root.damaged and not crash.code:
        return Nearness.TRACE
    if crash.loading:
        return None  # what the kernel uses then is that module's
    wrong = {*lists(data, "missing", "lacking"), *([".static_call_sites"] if _half(data) else [])}
    used = any(marks & wrong and words.search(crash.words) for marks, words in USED_BY)
    return Nearness.USED if used and (root.damaged & crash.linked or "vmlinux.o" in root.objects) else None


def _half(data: Mapping[str, Any]) -> bool:
    """Whether objtool stopped half-way in the static calls of a module."""
    sites, relocations = data.get("sites"), data.get("relocations")
    counted = isinstance(sites, int) and isinstance(relocations, int) and relocations < 2 * sites
    return counted or bool(lists(data, "damaged"))


def _is_code(root: Told, crash: Crashed) -> bool:
    """Whether the code that crashed is what a finding is about: the object, or a module as a whole.

    Of a finding about some objects of a module the others are innocent; where the object of the crash is not known, all are
    suspect.
    """
    if crash.code and not crash.code & (root.modules - root.intact):
        return False
    whole = not root.objects or bool(crash.code & {module_name(name) for name in root.objects})
    return whole or not crash.object or crash.object in root.objects
