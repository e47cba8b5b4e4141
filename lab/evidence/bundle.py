"""Evidence: what an attempt, or a plain `make`, left behind; read lazily, absent is None or empty.

Three shapes of folder give the same facts:
- an *output directory* of kbuild (what O= named, or a tree built in place), also one that a stranger sent;
- an *evidence folder* `results/<run>/<cell>/<attempt>/`, which the lab packed from an output directory (see pack());
- a *distribution's kernel*, unpacked from its packages (see distribution): what is known without its build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.errors import UsageError
from lab.evidence import (
    autoksyms,
    boot_image,
    commands,
    distribution,
    exports,
    kallsyms,
    kept_passes,
    log,
    modules,
    mtimes,
    objects,
    packing,
    race,
    remake,
    sources,
    symbols,
    writes,
)
from lab.evidence.autoksyms import StaleExport
from lab.evidence.log_facts import BuildLog
from lab.evidence.shape import Shape, linked_modules, located, shape_of
from lab.evidence.steps import steps_of
from lab.evidence.text import text_of
from lab.evidence.writes import WRITES, add_gap
from lab.model import StepResult

__all__ = ["Evidence", "Shape", "pack", "shape_of"]

# Evidence-folder name -> names in an output directory, best first.
_IN_OUTPUT = {
    "config.txt": (".config",),
    "build.txt": ("build.txt", "build.log", "make.log"),
    "console.txt": ("console.txt", "console.log"),
    "autoksyms.h": (autoksyms.LIST,),
}
_SAFE_MODULE = re.compile(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))[^\0]+")


class Evidence:
    """Facts about one build and, if there was one, its boot. Every property is read at most once."""

    def __init__(self, root: Path, release: str = "") -> None:
        """Find out the shape of `root`. Raises UsageError as located() does."""
        self.shape, self.root, self.distribution = located(root, release)

    def file(self, name: str) -> Path | None:
        """Return the path of a piece of evidence by its evidence-folder name ("build.txt", "System.map"), or None.

        Only regular files inside the folder count: a link in a stranger's directory must not lead us to other files.
        """
        if self.distribution is not None:
            return self._packaged(name)
        names = (name,) if self.shape is Shape.ATTEMPT else _IN_OUTPUT.get(name, (name,))
        return next((path for known in names if (path := self._inside(known)) is not None), None)

    def _packaged(self, name: str) -> Path | None:
        """Return a piece of a distribution's kernel by its evidence-folder name."""
        kernel = self.distribution
        if kernel is None:
            return None
        of_modules = next((one / "modules.order" for one in kernel.modules if (one / "modules.order").is_file()), None)
        real_map = kernel.system_map if kernel.system_map and not distribution.is_stub(kernel.system_map) else None
        found = {
            "config.txt": kernel.config,
            "System.map": real_map,
            "Module.symvers": kernel.symvers,
            "modules.order": of_modules,
            "vmlinux": kernel.image,
        }.get(name)
        return self._inside(self.name_of(found)) if found is not None else None

    def _inside(self, name: str) -> Path | None:
        path = self.root / name
        try:
            if path.is_symlink() or not path.is_file():
                return None
            return path if path.parent.resolve().is_relative_to(self._resolved_root) else None
        except (OSError, ValueError, RuntimeError):
            return None

    @cached_property
    def _resolved_root(self) -> Path:
        return self.root.resolve()

    def name_of(self, path: Path) -> str:
        """Return a path of the evidence relative to the folder, for a Span."""
        return path.relative_to(self.root).as_posix()

    # ------------------------------------------------------------------------------------------ what was run

    @cached_property
    def record(self) -> dict[str, Any]:
        """record.json: what was really run; {} if there is none."""
        value = _json(self.file("record.json"))
        return value if isinstance(value, dict) else {}

    @cached_property
    def steps(self) -> tuple[StepResult, ...]:
        """steps.json: how each step ended, in order."""
        return steps_of(_json(self.file("steps.json")))

    @cached_property
    def remade(self) -> remake.Remake | None:
        """What is known of a second make, None if there was none."""
        return remake.read(self.file(remake.NAME), self.file(remake.LOG))

    @cached_property
    def config_text(self) -> str | None:
        """The .config as it was built."""
        return text_of(self.file("config.txt"))

    @cached_property
    def config(self) -> dict[str, str]:
        """Symbol without CONFIG_ -> "y", "m", "n" (is not set), or the value as written."""
        return exports.parsed_config(self.config_text)

    @cached_property
    def kernel_version(self) -> str:
        """The release that .config names, "6.1.192"; "" if unknown."""
        return exports.kernel_version(self.config_text)

    @cached_property
    def build_log(self) -> Path | None:
        """What configure and make printed."""
        return self.file("build.txt")

    @cached_property
    def log(self) -> BuildLog | None:
        """What the build log says, as typed facts; None if there is no log."""
        try:
            return log.read(self.build_log) if self.build_log is not None else None
        except OSError:
            return None

    @cached_property
    def console(self) -> Path | None:
        """What the booted kernel printed."""
        return self.file("console.txt")

    # ------------------------------------------------------------------------------------------ times and order

    @cached_property
    def tree(self) -> mtimes.Tree:
        """Times of the whole output directory, as they were when it was packed (or now)."""
        if self.shape is Shape.DISTRIBUTION:
            return mtimes.Tree()  # packages set the times of their files
        return mtimes.scan(self.root) if self.shape is Shape.OUTPUT else mtimes.read_tsv(self.file("mtimes.tsv"))

    @property
    def mtimes(self) -> Mapping[str, int]:
        """Path relative to O= -> mtime in ns."""
        return self.tree.times

    @cached_property
    def granularity_ns(self) -> int | None:
        """What the record measured, else what the tree's own times show (1 ns, 1 s or 2 s), None if that is too little."""
        measured = _find(self.record, "granularity_ns")
        if isinstance(measured, int) and not isinstance(measured, bool) and 0 < measured < 1 << 62:
            return measured
        built = (time for path, time in self.mtimes.items() if path.endswith((".o", ".cmd")))
        return mtimes.inferred_granularity_ns(built)

    @cached_property
    def writes(self) -> tuple[writes.Write, ...] | None:
        """The order of writes while the build ran, None if nobody watched."""
        return writes.read_writes(self.file(WRITES))

    @cached_property
    def copied(self) -> int:
        """How many .cmd files are older than what they tell of, if the times are those of a copy; 0 if the build's own."""
        return mtimes.copied(((one.file, one.target) for one in self.commands), self.mtimes)

    @cached_property
    def source_times(self) -> Mapping[str, int]:
        """Inputs outside the output directory, as .cmd files name them -> mtime in ns; empty where the source is not there."""
        source = sources.source_tree(self.root, self.kernel_version) if self.shape is Shape.OUTPUT else None
        if source is None or source == self.root:
            return {}
        return mtimes.of_sources(self.root, source, commands.dependency_names(self.commands))

    @cached_property
    def commands(self) -> tuple[commands.Command, ...]:
        """Every .cmd file of the tree, by its path."""
        if self.shape is not Shape.OUTPUT:
            return commands.read_jsonl(self.file("commands.jsonl"))
        files = sorted(filter(commands.is_command_file, self.mtimes))
        return tuple(commands.read_commands(self.root, files))

    @cached_property
    def dependencies(self) -> race.Dependencies:
        """What the commands depend on, of the files whose times are known."""
        return race.Dependencies(self.commands, {**self.mtimes, **self.source_times})

    # ------------------------------------------------------------------------------------------ exports

    @cached_property
    def autoksyms(self) -> frozenset[str] | None:
        """Symbols in autoksyms.h (4.7 … 6.4 with TRIM_UNUSED_KSYMS), None without that file."""
        return autoksyms.read_list(self.file("autoksyms.h"))

    @cached_property
    def adjust_script(self) -> str | None:
        """Text of the kernel's scripts/adjust_autoksyms.sh, None if it has none or the source cannot be found."""
        if self.shape is not Shape.OUTPUT:
            return text_of(self.file(autoksyms.SCRIPT), 1 << 20)
        return packing.script_text(self.root)

    @cached_property
    def symvers(self) -> tuple[exports.Export, ...]:
        """Module.symvers: every export of vmlinux and the modules; without it, of a boot image those of vmlinux."""
        listed = exports.read_symvers(self.file("Module.symvers"))
        if listed or self.boot_image is None:
            return listed
        return tuple(exports.Export(symbol, "vmlinux", "", "") for symbol in self.boot_image.exports)

    @cached_property
    def objects(self) -> Mapping[str, objects.ObjectFacts]:
        """Path -> facts, of the objects that vmlinux and the modules are linked from, and of modules that were not linked."""
        if self.shape is not Shape.OUTPUT:
            found = objects.read_jsonl(self.file("objects.jsonl"))
        else:
            found = tuple(packing.object_facts(self.root, self.mtimes, self.commands, self.modules_order))
        return {facts.path: facts for facts in found}

    @cached_property
    def stale_exports(self) -> tuple[StaleExport, ...]:
        """Objects whose exports contradict autoksyms.h."""
        granularity_ns = self.granularity_ns or 1
        return autoksyms.stale_exports(self.commands, self.objects, self.autoksyms, self.mtimes, granularity_ns)

    # ------------------------------------------------------------------------------------------ modules and vmlinux

    @cached_property
    def modules_order(self) -> tuple[str, ...]:
        """Modules that the build should make, as .ko paths relative to O=; of a distribution's kernel, those that are there."""
        if self.distribution is not None:
            return tuple(self._packaged_modules)
        named = exports.modules_order(self.file("modules.order"))
        if self.shape is Shape.OUTPUT and self.file("modules.order") is None:
            named = linked_modules(self.mtimes)  # somebody's own modules, linked by hand
        return tuple(path for path in named if _SAFE_MODULE.fullmatch(path))

    @cached_property
    def modules(self) -> tuple[exports.Module, ...]:
        """The modules of modules.order, linked or not."""
        return tuple(self._module(path) for path in self.modules_order)

    @cached_property
    def _packaged_modules(self) -> dict[str, Path]:
        return distribution.module_files(self.distribution) if self.distribution is not None else {}

    def _module(self, path: str) -> exports.Module:
        name = path.rpartition("/")[2].removesuffix(".ko").replace("-", "_")
        place = "" if self.shape is Shape.OUTPUT else "modules/"
        linked = self._packaged_modules.get(path) if self.distribution is not None else self._inside(place + path)
        if self.mtimes.get(path, 0) < self.mtimes.get(path.removesuffix(".ko") + ".o", 0):
            linked = None  # left over from an earlier build: this one stopped before it was linked again
        file = linked or self._inside(place + path.removesuffix(".ko") + ".o")
        facts = self.objects.get(path.removesuffix(".ko") + ".o")
        read = modules.read(linked, path) if linked is not None else None
        if read is not None:
            facts = read.facts
        if facts is None:
            return exports.Module(
                path=path, file=file, name=name, unreadable="neither the module nor its object is there"
            )
        info = read.info if read is not None else ()
        shown = read if read is not None or file is None else modules.read(file, path)
        # klp-convert makes livepatch relocations of what is annotated: nobody exports that
        annotated = (
            {one.symbol for one in shown.patch.annotated} if shown is not None and shown.patch is not None else set()
        )
        return exports.Module(
            path=path,
            file=file,
            name=name,
            depends=tuple(one for key, value in info if key == "depends" for one in value.split(",") if one),
            undefined=tuple(one for one in facts.undefined if one not in annotated and not exports.ignored(one)),
            exports=facts.ksymtab,
            namespaces=tuple(value for key, value in info if key == "import_ns"),
            version=next((value for key, value in info if key == "vermagic"), ""),
            unreadable=facts.unreadable,
            read=read,
        )

    @cached_property
    def vmlinux(self) -> Path | None:
        """The linked kernel with its symbols; in an evidence folder packed as vmlinux.zst (elf.open_elf reads both)."""
        return self.file("vmlinux") or self.file("vmlinux.zst")

    @cached_property
    def system_map(self) -> Path | None:
        """System.map of the final link."""
        return self.file("System.map")

    @cached_property
    def link_passes(self) -> tuple[kept_passes.Pass, ...]:
        """The links of vmlinux whose maps or kernels were kept, in order; the final one last, if its System.map is of now.

        What the wrapper of cmp saved comes before what lies in the output directory: there it may be of an earlier build.
        """
        if self.shape is Shape.DISTRIBUTION:
            return ()
        kept = self.root / ("kallsyms" if self.shape is Shape.ATTEMPT else packing.KEPT_PASSES)
        folder = kept if kept.is_dir() and not kept.is_symlink() and self._as_new_as_the_passes(kept) else self.root
        named = (self._inside(self.name_of(path)) for path in sorted(folder.glob(".tmp_*")))
        final = self._inside(self.name_of(folder / "System.map")) or self.system_map
        return kept_passes.read_passes([path for path in named if path is not None], final, self._written)

    @cached_property
    def boot_image(self) -> boot_image.BootImage | None:
        """The kernel of a distribution, unpacked; None for what was built here, and without an image."""
        kernel = self.distribution
        if kernel is None or self.vmlinux is None:
            return None
        debug = kallsyms.read(kernel.debug).listing if kernel.debug is not None else None
        layouts = (modules.read(file, path).layout for path, file in self._packaged_modules.items())
        layout = next((one for one in layouts if one is not None), None)  # of the first module that can be read
        return boot_image.read(self.vmlinux, debug or self.mapped_symbols, layout)

    def _as_new_as_the_passes(self, kept: Path) -> bool:
        """Whether what the wrapper saved is of the last link: a later make without the wrapper leaves it as it was."""
        saved = [self._written(path) for path in kept.glob(".tmp_*") if not path.is_symlink()]
        return self.shape is Shape.ATTEMPT or max(saved, default=0) >= self.newest_pass_ns()

    def _written(self, path: Path) -> int:
        """Return when a file of the passes was written (ns), as the output directory had it."""
        noted = self.mtimes.get(path.name)
        try:
            return noted if noted is not None and self.shape is Shape.ATTEMPT else path.stat().st_mtime_ns
        except OSError:
            return 0

    @cached_property
    def mapped_symbols(self) -> symbols.Listing | None:
        """What System.map says; None if it is not there, or no map."""
        return kept_passes.listing_of(self.system_map) if self.system_map is not None else None

    def newest_pass_ns(self) -> int:
        """Return when the newest temporary kernel or map of a pass was written, 0 if none was kept."""
        return max((time for path, time in self.mtimes.items() if kept_passes.is_of_a_pass(path)), default=0)

    @cached_property
    def kernel_symbols(self) -> kallsyms.KernelSymbols | None:
        """vmlinux's symbols and the table in it that kallsyms made; None without a vmlinux that can be read."""
        if self.boot_image is not None:
            return self.boot_image.symbols
        return kallsyms.read(self.vmlinux) if self.vmlinux is not None else None


def _json(path: Path | None) -> Any:
    text = text_of(path)
    try:
        return json.loads(text) if text is not None else None
    except (ValueError, RecursionError):
        return None


def _find(record: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key at the top of the record or one level down (a record groups what was measured)."""
    inner = (value for value in record.values() if isinstance(value, dict))
    return next((group[key] for group in (record, *inner) if key in group), None)


def pack(out: Path, folder: Path, *, source: Path, writes: Path | None, whole: bool = True) -> None:
    """Copy and derive from the output directory `out` what the evidence folder needs; works on failed and half builds too.

    folder: exists; files appear there by atomic rename. source: the kernel tree. writes: the record of the order of writes,
    None if nobody watched. whole: whether whoever watched did so to the end. Never follows a link out of `out`, takes regular
    files of bounded size only.
    Raises OSError if `folder` cannot be written.
    """
    evidence = Evidence(out) if _is_output(out) else None
    if writes is not None:
        packing.copy(writes, folder / WRITES)
        if not whole:
            add_gap(folder / WRITES)
    if evidence is None:
        return
    packing.write_lines(folder / "mtimes.tsv", mtimes.tsv(evidence.tree))
    packing.write_lines(folder / "commands.jsonl", commands.jsonl(evidence.commands))
    packing.write_lines(folder / "objects.jsonl", objects.jsonl(evidence.objects.values()))
    packing.copy_files(evidence.root, evidence.mtimes, folder, evidence.modules_order)
    packing.copy(source / autoksyms.SCRIPT, folder / autoksyms.SCRIPT)


def _is_output(out: Path) -> bool:
    try:
        return shape_of(out) is Shape.OUTPUT
    except UsageError:
        return False
