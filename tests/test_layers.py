"""The import table of docs/architecture.md, as a test: a line of code knows its room."""

import ast
from pathlib import Path

import pytest

LAB = Path(__file__).parent.parent / "lab"
NOUNS = {"errors", "model", "events"}

# room -> rooms that it may import; a package name stands for all of its modules. Itself is always allowed where the
# room is a package, except in `checks` and `use` (see LEAVES).
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "events": {"errors", "model"},
    "kconfig": {"errors", "model"},
    "settings": {"errors", "model"},
    "proc": NOUNS,
    "yamltext": {"errors"},
    "tables": {"errors", "model", "yamltext", "tables"},
    "matrix": {"errors", "model", "tables", "yamltext", "kconfig", "matrix"},
    "matrix.axes": {"errors", "model"},
    "matrix.expand": {"errors", "model", "matrix.axes"},
    "plan": {"errors", "model"},
    "plan.placing": {"plan.jobs"},
    "plan.estimate": {"model", "plan.jobs", "plan.schedule"},
    "plan.pairing": {"model", "plan.statistics"},
    "plan.posterior": {"plan.history"},
    "plan.search": {"plan.history", "plan.posterior"},
    "plan.bisection": {"plan.history", "plan.posterior", "plan.search"},
    "plan.simulate": {"plan.history", "plan.posterior", "plan.search"},
    "plan.schedule": NOUNS | {"plan.jobs"},
    "environment": NOUNS | {"proc", "tables", "settings", "environment"},
    "kbuild": {"model", "errors", "tables"},
    "evidence": {"errors", "model", "evidence"},
    "checks": {"errors", "model", "evidence"},
    "checks.join": {"errors", "model", "evidence", "checks.told"},
    "checks.boot": {"errors", "model", "evidence", "checks.boot_modules", "checks.boot_end"},  # one leaf in three files
    "boot": {"errors", "model", "tables", "boot"},
    "repro": {"errors", "model", "tables", "yamltext", "kconfig", "evidence", "checks", "repro"},
    "results": {"errors", "model", "results", "plan.statistics"},
    "results.known": {"errors", "results", "yamltext"},
    "report": NOUNS | {"results", "report"},
    "use": {
        *NOUNS, "settings", "proc", "tables", "matrix", "plan", "environment", "kbuild", "evidence", "checks", "boot",
        "results", "report", "repro", "use.session", "use.attempt", "use.bench", "use.sweep", "use.doctor", "use.record",
        "use.obstacles", "use.guest", "use.lines", "use.contrast", "use.crew",
        "use.shards", "use.given", "use.tree", "use.rerun", "use.vetting", "use.hunt", "use.boot", "use.commit", "use.hands",
        "use.remote", "use.coordinator", "use.fleet", "use.delivery", "use.supply",
    },
    "cli": {*NOUNS, "settings", "use", "matrix", "tables", "report", "checks", "cli"},
    "__main__": {"cli"},
    "pytest_plugin": {*NOUNS, "settings", "cli", "use", "matrix", "results", "report"},
    "__init__": set(),
}  # fmt: skip
ONLY_IN = {  # outside library -> the rooms that may know it
    "subprocess": {"proc"},
    "docker": {"environment.engine"},
    "qemu": {"environment.guest_events"},
    "distributed": {"environment.cluster"},
    "fsspec": {"environment.parcels", "results.objects"},
    "yaml": {"yamltext"},
    "elftools": {"evidence.elf"},
    "scipy": {"plan.statistics"},
    "sqlalchemy": {"results.index", "results.index_tables", "results.questions"},
    "markdown_it": {"report.html.explained"},
    "typer": {
        "cli",
        "cli.attempts",
        "cli.bisect",
        "cli.boots",
        "cli.bundles",
        "cli.decoding",
        "cli.ending",
        "cli.faces",
        "cli.fleet",
        "cli.groups",
        "cli.indexes",
        "cli.nights",
        "cli.plumbing",
        "cli.repro",
        "cli.stores",
        "cli.trials",
    },
    "pydantic": {"tables", "matrix.read", "settings", "results.codec", "report.document", "environment.image"},
}


def modules() -> list[tuple[str, Path]]:
    names = []
    for path in sorted(LAB.rglob("*.py")):
        parts = path.relative_to(LAB).with_suffix("").parts
        names.append((".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path))
    return names


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def row_of(room: str) -> set[str]:
    return MAY_IMPORT[room] if room in MAY_IMPORT else MAY_IMPORT[room.split(".")[0]]


def allowed(room: str, wanted: str) -> bool:
    if room == "checks" and wanted.startswith("checks."):
        return True  # the registry gathers its leaves
    if room.startswith("checks.") and wanted == "checks":
        return False
    return any(wanted == row or wanted.startswith(row + ".") for row in row_of(room))


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_import_is_allowed_by_the_plan(room: str, path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        if top in ONLY_IN:
            assert room in ONLY_IN[top], f"lab.{room} imports {top}; only {sorted(ONLY_IN[top])} may"
        if top == "lab" and name not in ("lab", "lab.__version__"):
            wanted = name.removeprefix("lab.")
            known = [other for other, _ in modules()]
            wanted = wanted if wanted in known else wanted.rpartition(".")[0] or wanted
            assert allowed(room, wanted), f"lab.{room} imports lab.{wanted}; its row in docs/architecture.md forbids it"


def test_only_cli_reads_the_environment_and_exits() -> None:
    for room, path in modules():
        text = path.read_text()
        if room.split(".")[0] not in ("cli", "__main__"):
            assert "os.environ" not in text, f"lab.{room} reads os.environ; only cli may"
            assert "sys.exit" not in text, f"lab.{room} exits; only cli may"


def test_no_architecture_is_special_in_code() -> None:
    for room, path in modules():
        assert "arch ==" not in path.read_text(), f"lab.{room}: make it a field of the row in lab/data"
