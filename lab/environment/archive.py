"""The Debian archive, asked through apt itself with a configuration of its own: signatures and hashes are apt's work.

The mirror is the machine's own unless a setting names another. Suites that the machine does not follow are found on the
same mirror, so that a bookworm host can fetch a compiler or a kernel source of another suite. The state of a past day comes
from a snapshot archive, whose address is a setting.

Source: sources.list(5), apt.conf(5), apt-get(8) "indextargets".
"""

from __future__ import annotations

import fcntl
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from lab import proc
from lab.environment.cache import Holds
from lab.errors import EnvironmentFault, UsageError
from lab.settings import Settings

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UPDATE_DEADLINE_S = 300.0
DOWNLOAD_DEADLINE_S = 1800.0
INDEX_FRESH_S = 12 * 3600.0
REASONS_AT_MOST = 6
# What apt and mmdebstrap say after the reason, or instead of one.
_NO_REASON = re.compile(
    r"setup failed|apt-get .* failed$|mmdebstrap failed|Some index files failed|Unable to fetch some archives|Unable to correct"
)
_UNREACHABLE = re.compile(
    r"Could not connect|Could not resolve|Temporary failure resolving|timed out|Connection (?:failed|refused)"
)
_STALE = re.compile(r"Hash Sum mismatch|unexpected size|not valid yet|is expired|Mirror sync in progress")
# What was fetched whole, but is not what the signed Release beside it promises.
_UNEQUAL = re.compile(r"Failed to fetch \S+/dists/([^/\s]+)/\S+ .*(?:Hash Sum mismatch|unexpected size)")
_ADDRESS = re.compile(r" *\[IP: .*?\]")
_LACKING = re.compile(r"Unable to locate package (\S+)|Package '?([^\s']+)'? has no installation candidate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """sources: one-line sources.list entries of one suite, its updates and its security archive where known.

    left_out: codenames of those that the mirror does not have whole today, see without_unequal().
    """

    suite: str
    sources: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    snapshot: str = ""  # YYYYMMDD
    debian_arch: str = ""  # dpkg's, "": the machine's own

    @property
    def name(self) -> str:
        """Name of its folder in the cache."""
        return "-".join(part for part in (self.suite, self.snapshot, self.debian_arch) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package file that apt has verified. version: as the archive says."""

    name: str
    version: str
    path: Path


def archive(suite: str, settings: Settings, snapshot: str = "") -> Archive:
    """Return where the suite's packages come from. snapshot: the day (YYYYMMDD) whose state is wanted, "" for today's.

    Raises EnvironmentFault if neither a setting nor the machine's apt names a Debian mirror, UsageError if a day is wanted and
    no setting names a snapshot archive.
    """
    if snapshot:
        return _snapshot(suite, snapshot, settings)
    known = _machine_sources(settings)
    if settings.mirror:
        base: str | None = settings.mirror
        extra: list[tuple[str, str]] = []
    else:
        plain = [uri for uri, name in known if not name.endswith(("-security", "-updates", "-backports"))]
        base = plain[0] if plain else None
        extra = [(uri, name) for uri, name in known if name in (f"{suite}-updates", f"{suite}-security")]
    if base is None:
        raise EnvironmentFault(
            "no Debian mirror is known",
            finding="infra.network",
            facts=(("asked", "apt-get indextargets"),),
            hint="set LAB_MIRROR to the base URL of a Debian archive",
        )
    return Archive(suite=suite, sources=tuple(_entry(uri, name, settings) for uri, name in [(base, suite), *extra]))


def without_unequal(where: Archive, said: str) -> Archive | None:
    """Return the archive without updates and security of which the mirror has another index than its own Release promises.

    A mirror may serve half of a new state for days. Its main suite is all that an image needs, and it says what was left out.
    Not for what is downloaded to be tested: an older kernel is another one.
    None if apt's words (`said`) tell of nothing of the kind, or of the suite itself.
    """
    unequal = {match[1] for line in said.splitlines() if (match := _UNEQUAL.search(line))}
    main, *more = where.sources
    kept = [entry for entry in more if _codename(entry) not in unequal]
    if len(kept) == len(more) or _codename(main) in unequal:
        return None
    left_out = tuple(_codename(entry) for entry in more if entry not in kept)
    return replace(where, sources=(main, *kept), left_out=(*where.left_out, *left_out))


def _codename(entry: str) -> str:
    return entry.split()[-2]


def _snapshot(suite: str, day: str, settings: Settings) -> Archive:
    if not settings.snapshot:
        raise UsageError(
            f"no archive has the packages of {day}",
            facts=(("suite", suite),),
            hint="set LAB_SNAPSHOT to the base URL of a snapshot archive: /YYYYMMDDT000000Z/dists/… is below it",
        )
    uri = f"{settings.snapshot.rstrip('/')}/{day}T000000Z/"
    # an index of the past is out of date by its own word: sources.list(5), "Check-Valid-Until"
    return Archive(suite=suite, sources=(_entry(uri, suite, settings, "check-valid-until=no"),), snapshot=day)


def download(
    package: str, suite: str, folder: Path, settings: Settings, snapshot: str = "", debian_arch: str = ""
) -> Package:
    """Fetch one package into `folder`, verified by apt, and return it. debian_arch: dpkg's, "" for the machine's own.

    Packages of that name that lay there are removed. Raises EnvironmentFault when the archive cannot be reached or does not
    have the package.
    """
    where = replace(archive(suite, settings, snapshot), debian_arch=debian_arch)
    with Holds(settings) as holds:
        holds.keep("apt", where.name)
        return _downloaded(package, where, folder, settings)


def _downloaded(package: str, where: Archive, folder: Path, settings: Settings) -> Package:
    options = _private_apt(where, settings)
    told = proc.run(["apt-cache", *options, "policy", package], deadline_s=60, environment=dict(settings.environment))
    candidate = next((line.split()[1] for line in told.output.splitlines() if "Candidate:" in line), "(none)")
    if candidate == "(none)":
        raise EnvironmentFault(
            f"no package {package!r} in suite {where.suite!r}",
            finding="infra.network",
            facts=(("asked", "the mirror's index"),),
            hint="`apt-cache search linux-source` lists what the machine's suites have",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{package}_*.deb"):
        old.unlink()
    done = proc.run(
        ["apt-get", *options, "download", f"{package}={candidate}"],
        deadline_s=DOWNLOAD_DEADLINE_S,
        environment=dict(settings.environment),
        workdir=folder,
    )
    found = sorted(folder.glob(f"{package}_*.deb"))
    if not done.ok or not found:
        raise EnvironmentFault(
            f"cannot download {package!r}",
            finding="infra.disk-full" if "No space left on device" in done.output else "infra.network",
            facts=complaint(done.output, done.last_line).facts,
        )
    return Package(name=package, version=candidate, path=found[-1])


def freshness(settings: Settings) -> tuple[str, ...]:
    """Return apt.conf lines with which this machine's apt takes indexes that are past their Valid-Until, () if it does not.

    Who says so to his apt has a mirror that lags behind; what makes images must not be stricter than what fetches sources.
    Source: apt.conf(5), Acquire::Check-Valid-Until.
    """
    argv = ["apt-config", "shell", "CHECKED", "Acquire::Check-Valid-Until/b"]
    told = proc.run(argv, deadline_s=60, environment=dict(settings.environment))
    return ('Acquire::Check-Valid-Until "false"',) if "'false'" in told.output else ()


def refresh(suite: str, settings: Settings) -> None:
    """Read the suite's index unless that was done in the last twelve hours. Raises EnvironmentFault infra.network."""
    where = archive(suite, settings)
    with Holds(settings) as holds:
        holds.keep("apt", where.name)
        _private_apt(where, settings)


def newest_suite(package: str, settings: Settings) -> str:
    """Return the machine's own suite: the one whose name apt lists first.

    A matrix that wants another names it (`suite:`), so that the same file means the same kernel everywhere.
    """
    for _, name in _machine_sources(settings):
        if not name.endswith(("-security", "-updates", "-backports")):
            return name
    raise EnvironmentFault(f"no suite is known for package {package!r}", hint="name it: {debian: …, suite: bookworm}")


def _machine_sources(settings: Settings) -> list[tuple[str, str]]:
    """Return (repository URI, codename) of Debian's own repositories that the machine's apt follows, in its order."""
    told = proc.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)\t$(CODENAME)\t$(ORIGIN)", "Created-By: Packages"],
        deadline_s=60,
        environment=dict(settings.environment),
    )
    rows = [line.split("\t") for line in told.output.splitlines() if line.count("\t") == 2]
    return list(dict.fromkeys((uri, codename) for uri, codename, origin in rows if origin == "Debian"))


def _entry(uri: str, suite: str, settings: Settings, *options: str) -> str:
    keyring = Path(settings.keyring) if settings.keyring else KEYRING
    signed = (f"signed-by={keyring}",) if settings.keyring or keyring.exists() else ()
    words = " ".join((*signed, *options))
    return f"deb {f'[{words}] ' if words else ''}{uri} {suite} main"


def _private_apt(where: Archive, settings: Settings) -> tuple[str, ...]:
    """Make (or refresh) an apt root of our own for the suite and return the options that select it.

    Nothing of the host's apt state is read or changed but its proxy and TLS settings (/etc/apt/apt.conf.d).
    """
    root = settings.cache / "apt" / where.name
    for name in ("lists/partial", "archives/partial", "etc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    options = (
        "-o", f"Dir::Etc::SourceList={root}/etc/sources.list",
        "-o", "Dir::Etc::SourceParts=/dev/null",
        "-o", f"Dir::State={root}",
        "-o", f"Dir::State::lists={root}/lists",
        "-o", "Dir::State::status=/dev/null",
        "-o", f"Dir::Cache={root}",
        "-o", f"Dir::Cache::archives={root}/archives",
        "-o", "APT::Sandbox::User=",
        "-o", "Acquire::Retries=3",
        "-o", "Acquire::Languages=none",
        *(("-o", f"APT::Architecture={where.debian_arch}", "-o", f"APT::Architectures={where.debian_arch}")
          if where.debian_arch else ()),
    )  # fmt: skip
    listed = "\n".join(where.sources) + "\n"
    sources = root / "etc/sources.list"
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = root / "updated"
        fresh = stamp.exists() and (where.snapshot != "" or _age_s(stamp) < INDEX_FRESH_S)
        if not fresh or not sources.exists() or sources.read_text() != listed:
            sources.write_text(listed)
            done = proc.run(
                ["apt-get", *options, "update"], deadline_s=UPDATE_DEADLINE_S, environment=dict(settings.environment)
            )
            if not done.ok:
                unknown = ": the archive has no such suite" if "does not have a Release file" in done.output else ""
                raise EnvironmentFault(
                    f"cannot read the index of suite {where.suite!r}{unknown}",
                    finding="infra.network",
                    facts=complaint(done.output, done.last_line).facts,
                    hint="a suite that has left the mirror is on another: LAB_MIRROR names it",
                )
            stamp.touch()
    return options


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Why apt could not do its work. facts: (label, text), one a cause. network: the archive's doing, not the request's."""

    facts: tuple[tuple[str, str], ...]
    network: bool


def complaint(output: str, last: str = "") -> Complaint:
    """Return the causes in what apt or mmdebstrap said, each once, packages first. last: what to say if there is none.

    A host that does not answer is told once, not once for each of its files. Source: apt-pkg/acquire-item.cc for the texts.
    """
    rows: dict[tuple[str, str], None] = {}
    for line in output.splitlines():
        text = " ".join(line.removeprefix("E: ").split())
        if match := re.match(r"\s*(\S+) : (Depends|Conflicts|Breaks|PreDepends): (.*)", line):
            rows["package", f"{match[1]} {match[2].lower()} {' '.join(match[3].split())}"] = None
        if not line.startswith("E: ") or _NO_REASON.search(text):
            continue
        fetched = re.match(r"Failed to fetch (\S+) (.*)", text)
        if match := _LACKING.search(text):
            rows["package", f"{match[1] or match[2]}: the suite has none of this name for the architecture"] = None
        elif fetched and (match := _UNREACHABLE.search(fetched[2])):
            rows["host", f"{_host(fetched[1])} does not answer: {match[0]}"] = None
        elif fetched:
            why = _ADDRESS.sub("", fetched[2])
            rows["file", f"{fetched[1]}: {why}"] = None
        else:
            rows["archive" if _STALE.search(text) or "epository" in text else "apt", text] = None
    facts = sorted(rows, key=lambda row: row[0] != "package")
    more = len(facts) - REASONS_AT_MOST
    shown = (*facts[:REASONS_AT_MOST], *([("and", f"{more} more")] if more > 0 else []))
    network = bool(facts) and all(label in ("host", "file", "archive") for label, _ in facts)
    return Complaint(facts=shown or (("said", last),), network=network)


def _host(url: str) -> str:
    """Return the host of a URL, with its port."""
    return url.partition("://")[2].partition("/")[0] or url


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime
