"""How often the object of a function is told right, from symbol tables and .cmd files alone.

    .venv/bin/python bench/decode.py EVIDENCE [--json FILE]

EVIDENCE: an evidence folder, or an O= directory, of a kernel with debugging information and .debug_aranges (gcc's have them).
The truth is the name of the compile unit that holds a function's address, as pyelftools reads it; assembler's functions without
one are left out.
"""

from __future__ import annotations

import argparse
import bisect
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


def units(vmlinux: Path) -> Callable[[int], str | None]:
    """Return what gives the source of the compile unit at an address, None if there is none."""
    from elftools.elf.elffile import ELFFile

    with vmlinux.open("rb") as file:
        dwarf = ELFFile(file).get_dwarf_info()
        ranges = dwarf.get_aranges()
        if ranges is None:
            raise SystemExit(f"{vmlinux} has no .debug_aranges")
        names: dict[int, str] = {}
        for one in ranges.entries:
            if one.info_offset not in names:
                top = dwarf.get_CU_at(one.info_offset).get_top_DIE()
                names[one.info_offset] = top.attributes["DW_AT_name"].value.decode(errors="replace")
        spans = sorted((one.begin_addr, one.begin_addr + one.length, names[one.info_offset]) for one in ranges.entries)
    begins = [begin for begin, _, _ in spans]

    def at(address: int) -> str | None:
        index = bisect.bisect_right(begins, address) - 1
        return spans[index][2] if index >= 0 and address < spans[index][1] else None

    return at


def objects(folder: Path, unit: Callable[[int], str | None]) -> Counter[str]:
    """Return how many functions of vmlinux got the right object, a wrong one, or none."""
    from lab.evidence import code
    from lab.evidence.bundle import Evidence
    from lab.evidence.origin import Origins

    evidence = Evidence(folder)
    functions = code.of_evidence(evidence).code.kernel
    origins = Origins(evidence.commands, evidence.objects, evidence.modules_order)
    counted: Counter[str] = Counter()
    for name in {functions.names.text(index) for index in range(len(functions))}:
        for function in functions.named(name):
            truth = unit(function.address)
            if truth is None:
                continue
            found = origins.of("vmlinux", function, functions)
            right = bool(found.source) and truth.endswith(found.source)
            counted["none" if not found.object else "right" if right else "wrong"] += 1
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evidence", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from lab.evidence.bundle import Evidence
    from lab.evidence.elf import open_elf

    evidence = Evidence(options.evidence)
    with tempfile.TemporaryDirectory() as scratch:
        vmlinux = Path(scratch, "vmlinux")
        with open_elf(evidence.vmlinux) as elf, vmlinux.open("wb") as file:
            elf.copy_to(file)
        figures = {"objects": dict(objects(options.evidence, units(vmlinux)))}
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
