"""objtool's calls as a log of `make V=1` shows them: until 5.18 kbuild noted them nowhere else.

Source: scripts/Makefile.build of 5.10, objtool_args: `objtool orc generate|check [--module] [--no-fp] … x.o` on every object.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping

from lab.evidence.log_facts import ObjtoolCall
from lab.evidence.objtool import MODULE, Call, Role, Violation

ROLES = (Role.BUILT_IN, Role.PART, Role.SINGLE)
BY_CONFIG = (
    ("--no-unreachable", "GCOV_KERNEL"),
    ("--retpoline", "RETPOLINE"),
    ("--rethunk", "RETHUNK"),
    ("--uaccess", "X86_SMAP"),
    ("--sls", "SLS"),
)
ORC, CHECK, NO_FP = "orc generate", "check", "--no-fp"
DECIDED = frozenset({ORC, CHECK, NO_FP, MODULE, *(flag for flag, _ in BY_CONFIG)})


def calls(lines: Iterable[ObjtoolCall], modules: Iterable[str], part_of: Mapping[str, str]) -> Iterator[Call]:
    """Yield the calls with a sub-command (before 5.19) on the kernel's own objects, the last one on each.

    modules: .ko paths. part_of: object -> "vmlinux" or the .ko it is linked into. Call.at is the line of the log.
    """
    own = {module.removesuffix(".ko") + ".o": module for module in modules}
    last = {posixpath.normpath(line.object): line for line in lines}
    for target, line in last.items():
        words = [word for word in line.flags if not word.startswith("-")]
        owner = own.get(target) or part_of.get(target, "")
        if not words or not owner:
            continue
        role = Role.SINGLE if target in own else Role.BUILT_IN if owner == "vmlinux" else Role.PART
        flags = (" ".join(words), *(word for word in line.flags if word.startswith("--")))
        yield Call(
            object=target, role=role, flags=flags, module=owner.replace("vmlinux", ""), line=line.text, at=line.at
        )


def expected(role: Role, config: Mapping[str, str]) -> frozenset[str]:
    """Return the sub-command and the flags that 5.10's rules ask of a call."""
    flags = {ORC if config.get("UNWINDER_ORC") == "y" else CHECK}
    flags |= {flag for flag, name in BY_CONFIG if config.get(name) == "y"}
    if config.get("FRAME_POINTER") != "y":
        flags.add(NO_FP)
    return frozenset(flags | ({MODULE} if role is not Role.BUILT_IN else set()))


def violations(found: Iterable[Call], config: Mapping[str, str]) -> tuple[Violation, ...]:
    """Return what breaks the rules, objects that break them alike together. An object without a call is not accused: the log
    may be of a build that made the rest before."""
    groups: dict[tuple[Role, tuple[str, ...], tuple[str, ...]], list[Call]] = {}
    for call in found:
        wanted, has = expected(call.role, config), frozenset(call.flags or ())
        missing, superfluous = tuple(sorted(wanted - has)), tuple(sorted((has & DECIDED) - wanted))
        if missing or superfluous:
            groups.setdefault((call.role, missing, superfluous), []).append(call)
    return tuple(
        Violation(
            role=role, missing=missing, superfluous=superfluous, calls=tuple(groups[role, missing, superfluous]),
            wanted=tuple(sorted(expected(role, config))),
        )
        for role, missing, superfluous in sorted(groups, key=lambda key: ROLES.index(key[0]))
    )  # fmt: skip
