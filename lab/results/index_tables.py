"""The index' tables, how it is opened, and who may write when. The only place that knows which database it is.

SQLite, beside the runs, or PostgreSQL by URL. The index is made from the folders and can be thrown away: of another version, or
damaged, it is emptied and made again. Writers wait for each other; readers for nobody (SQLite's WAL, PostgreSQL's snapshots).

Source: sqlite.org/wal.html, sqlite.org/lang_transaction.html; PostgreSQL manual, 9.28.10 "Advisory Lock Functions".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from lab.errors import EnvironmentFault, UsageError

VERSION = 2
FILE = "index.sqlite"
WAIT_S = 120.0
LOCK = 7_061_992  # of PostgreSQL's advisory locks: any number that nobody else takes
DIALECTS = ("sqlite", "postgresql")

METADATA = sa.MetaData()
META = sa.Table(
    "lab_meta",
    METADATA,
    sa.Column("key", sa.String(40), primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)
# called, file: name and matrix as run.json has them. ask: JSON, its cells of which `lab_results` has no row that is `own`.
RUNS = sa.Table(
    "lab_runs", METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(160), nullable=False, unique=True),
    sa.Column("matrix", sa.String(200), nullable=False),
    sa.Column("day", sa.String(10), nullable=False),
    sa.Column("started_at_s", sa.Float, nullable=False),
    sa.Column("night", sa.Boolean, nullable=False),
    sa.Column("stamp", sa.String(64), nullable=False),
    sa.Column("called", sa.Text, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("ask", sa.Text, nullable=False),
    sa.Index("lab_runs_matrix", "matrix", "day", "started_at_s"),
)  # fmt: skip
CELLS = sa.Table(
    "lab_cells",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(160), nullable=False, unique=True),
)
SIGNATURES = sa.Table(
    "lab_signatures", METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(12), nullable=False, unique=True),
    sa.Column("finding", sa.Text, nullable=False),
    sa.Column("blame", sa.Text, nullable=False),
    sa.Column("function", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
)  # fmt: skip
# own: outcome and reason are, to the letter, those of result.json in the run's own folder; seconds and found are then its, too.
# found: keys of the signatures that decide, with a blank between them.
RESULTS = sa.Table(
    "lab_results", METADATA,
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("cell", sa.Integer, primary_key=True),
    sa.Column("outcome", sa.String(8), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("judged", sa.Integer, nullable=False),
    sa.Column("lost", sa.Integer, nullable=False),
    sa.Column("carried", sa.Boolean, nullable=False),
    sa.Column("own", sa.Boolean, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("found", sa.Text, nullable=False),
    sa.Index("lab_results_cell", "cell", "run", "carried", "judged"),
    sa.Index("lab_results_outcome", "run", "outcome"),
)  # fmt: skip
FAULTS = sa.Table(
    "lab_faults", METADATA,
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("cell", sa.Integer, primary_key=True),
    sa.Column("signature", sa.Integer, primary_key=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("alone", sa.Boolean, nullable=False),
    sa.Index("lab_faults_signature", "signature", "cell", "run"),
)  # fmt: skip
# What `findings` asks, kept so that it need not go through all faults: first and last are "<day> <run>".
SPANS = sa.Table(
    "lab_spans", METADATA,
    sa.Column("signature", sa.Integer, primary_key=True),
    sa.Column("cell", sa.Integer, primary_key=True),
    sa.Column("first", sa.String(180), nullable=False),
    sa.Column("last", sa.String(180), nullable=False),
    sa.Column("runs", sa.Integer, nullable=False),
)  # fmt: skip
CONTENT = (SPANS, FAULTS, RESULTS, SIGNATURES, CELLS, RUNS)


def url_of(results: Path, url: str) -> str:
    """Return the URL of the index: what was asked for, else a file beside the runs."""
    return url or f"sqlite:///{results / FILE}"


def opened(url: str) -> sa.Engine:
    """Return an engine for the URL. Raises UsageError for one that is none, or of a database that the lab does not know."""
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() not in DIALECTS:
            raise UsageError(
                f"the index cannot be kept in {parsed.get_backend_name()!r}", facts=(("known", ", ".join(DIALECTS)),)
            )
        if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            engine = sa.create_engine(parsed, connect_args={"timeout": WAIT_S}, poolclass=sa.NullPool)
            event.listen(engine, "connect", _sqlite)
            return engine
        return sa.create_engine(parsed, pool_pre_ping=True)
    except sa.exc.ArgumentError as error:
        raise UsageError("LAB_INDEX is no URL of a database", hint="such as postgresql://user@host/name") from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the index' database needs the Python package {error.name!r}", hint="pip install psycopg"
        ) from error


def _sqlite(connection: Any, record: object) -> None:
    """Set up a connection: transactions begin where we say so, readers and one writer at once."""
    connection.isolation_level = None
    for word in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {word}")


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a transaction in which nobody else writes; what is done in it is there as a whole, or not at all."""
    with faults_told(), engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        try:
            yield connection
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("COMMIT")
            connection.commit()
        except BaseException:
            if engine.dialect.name == "sqlite":
                with contextlib.suppress(sa.exc.DBAPIError):
                    connection.exec_driver_sql("ROLLBACK")
            connection.rollback()
            raise


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection that reads."""
    with faults_told(), engine.connect() as connection:
        yield connection


@contextlib.contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Give a connection that reads one state of the index, whatever others write meanwhile."""
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


@contextlib.contextmanager
def faults_told() -> Iterator[None]:
    """Turn what a database complains about into an EnvironmentFault: nothing of it is a bug, and the folders have it all."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        words = " ".join(str(error.orig).split())[:300]
        finding = "infra.disk-full" if "disk is full" in words or "No space left" in words else "infra.filesystem"
        hint = "the results are in their folders, nothing is lost: `lab index rebuild` makes it again"
        raise EnvironmentFault(f"the index cannot be used: {words}", finding=finding, hint=hint) from error


def current(engine: sa.Engine) -> bool:
    """Whether the tables are there and of this version; nothing is changed. Raises EnvironmentFault if they cannot be read."""
    with reading(engine) as connection:
        if META.name not in sa.inspect(connection).get_table_names():
            return False
        return connection.execute(sa.select(META.c.value).where(META.c.key == "version")).scalar() == VERSION


def prepared(engine: sa.Engine) -> bool:
    """Make the tables if they are not there or of another version; True if they are empty now because of that."""
    with writing(engine) as connection:
        tables = set(sa.inspect(connection).get_table_names())
        if META.name in tables:
            version = connection.execute(sa.select(META.c.value).where(META.c.key == "version")).scalar()
            if version == VERSION:
                return False
        for table in METADATA.tables.values():
            if table.name in tables:
                table.drop(connection)
        METADATA.create_all(connection)
        connection.execute(META.insert().values(key="version", value=VERSION))
        return True
