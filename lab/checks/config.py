"""What Kconfig warned of while it made the configuration: it went on, and the kernel is not the one that somebody meant."""

from __future__ import annotations

from collections.abc import Iterator

from lab.evidence.bundle import Evidence
from lab.evidence.log_facts import BuildLog, ConfigKind, ConfigLine
from lab.evidence.text import clean
from lab.model import Finding, NotApplicable, Severity, Span

IDS = ("config.unmet-dependency", "config.invalid-value", "config.not-honoured")
MAX_FINDINGS = 50
TITLES = {
    ConfigKind.UNMET: "selected against its dependencies",
    ConfigKind.INVALID: "a value that the symbol cannot have",
    ConfigKind.DROPPED: "asked for and not in the configuration",
}


def check(evidence: Evidence) -> Iterator[Finding | NotApplicable]:
    """Yield one warning for each symbol that Kconfig warned of."""
    if evidence.log is None or evidence.build_log is None or evidence.log.empty:
        yield NotApplicable(
            check="config", because="there is no build log, or nothing in it: what Kconfig said is not known"
        )
        return
    yield from log_findings(evidence.log, evidence.name_of(evidence.build_log))


def log_findings(log: BuildLog, file: str) -> tuple[Finding, ...]:
    """Return the config.* findings of a log alone, each symbol once. file: the log's name, for the proof."""
    first: dict[tuple[ConfigKind, str], ConfigLine] = {}
    for line in log.config:
        first.setdefault((line.kind, line.symbol), line)
    return tuple(_finding(line, file) for line in list(first.values())[:MAX_FINDINGS])


def _finding(line: ConfigLine, file: str) -> Finding:
    symbol, place = clean(line.symbol), f" ({clean(line.file)}:{line.row})" if line.file else ""
    message, because = {
        ConfigKind.UNMET: (
            f"{symbol} was selected although what it depends on is off",
            "what it builds may call what was not built: undefined references and implicit declarations can follow",
        ),
        ConfigKind.INVALID: (
            f"'{clean(line.value)}' is no value for {symbol}{place}: Kconfig took its own",
            "the symbol is of another type or range in this version: bool and not tristate, a number out of range",
        ),
        ConfigKind.DROPPED: (
            f"{symbol} was asked for and is not so in the final .config",
            "its dependencies are not met, it does not exist in this version, or something selects another value",
        ),
    }[line.kind]
    return Finding(
        id=f"config.{line.kind}", severity=Severity.WARNING, title=f"{symbol}: {TITLES[line.kind]}", message=message,
        where=Span(file=file, first=line.at, last=line.at), blame=line.file, because=(because,),
        data={"symbol": line.symbol, "value": line.value, "file": line.file, "line": line.row, "message": line.text},
    )  # fmt: skip
