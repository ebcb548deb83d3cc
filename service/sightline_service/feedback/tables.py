"""The tables of the ledger, and an engine with short timeouts: SQLite beside the bundle, or PostgreSQL by URL."""

import sqlite3
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from sightline_service.errors import SettingsError

TIMEOUT_S = 5
"""No statement and no wait for a lock takes longer."""

METADATA = sa.MetaData()

LEDGER = sa.Table(
    "sightline_ledger",
    METADATA,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("pruned_s", sa.BigInteger, nullable=False),
)
"""One row: the ledger's id, and the Unix time before which labels were deleted."""

MODELS = sa.Table(
    "sightline_models",
    METADATA,
    sa.Column("fingerprint", sa.LargeBinary, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("outcomes", sa.JSON, nullable=False),
    sa.Column("has_probabilities", sa.Boolean, nullable=False),
    sa.Column("seen_s", sa.BigInteger, nullable=False),
)
"""Every model served with this ledger, so that labels of the version before can still be judged."""

LABELS = sa.Table(
    "sightline_labels",
    METADATA,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("actual", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)
"""The label of each prediction: an index into the outcomes, or a value. Keys are in the order of time."""

TOTALS = sa.Table(
    "sightline_totals",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("instrument", sa.String, primary_key=True),
    sa.Column("first", sa.String, primary_key=True),
    sa.Column("second", sa.String, primary_key=True),
    sa.Column("bucket", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("sum", sa.Double, nullable=False),
)
"""The totals of all labels, by model, instrument, its attributes and bucket."""

READS_ONLY = {"sightline_reads_only": True}
"""Options of a connection that writes nothing, and therefore need not block other writers."""

_POSTGRESQL_OPTIONS = {
    "connect_timeout": str(TIMEOUT_S),
    "tcp_user_timeout": str(TIMEOUT_S * 1000),
    # The last one: a replica whose machine is gone must not keep the locks of the totals.
    "options": " ".join(
        f"-c {name}={TIMEOUT_S * 1000}"
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    ),
}


def open_engine(url: str) -> sa.Engine:
    """Returns an engine for a URL, not connected yet. Raises SettingsError, which does not quote a password."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError("SIGHTLINE_LEDGER is not a database URL; it has the form dialect://...") from None
    shown, dialect = parsed.render_as_string(hide_password=True), parsed.get_backend_name()
    if dialect == "sqlite":
        return _sqlite_engine(parsed)
    if dialect == "postgresql":
        options = {name: value for name, value in _POSTGRESQL_OPTIONS.items() if name not in parsed.query}
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args=options,
            isolation_level="READ COMMITTED",  # so a label that another replica commits meanwhile is seen
            pool_pre_ping=True,
            pool_size=1,
            max_overflow=0,
        )
    raise SettingsError(f"SIGHTLINE_LEDGER={shown}: a ledger is kept in sqlite:// or postgresql+psycopg://")


def files_of(engine: sa.Engine) -> tuple[Path, ...]:
    """Returns the files in which an open ledger keeps labels; none for a database on a server or in memory."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return ()
    return Path(name), Path(f"{name}-wal")


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": TIMEOUT_S, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the function below begins transactions, not the driver
        cursor = connection.cursor()
        _use_write_ahead_log(cursor)
        cursor.execute("PRAGMA synchronous=FULL")  # labels that were answered survive a power cut
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        reads_only = connection.get_execution_options().keys() & READS_ONLY.keys()
        # A transaction that reads first and writes later would fail, not wait, if another one writes in between.
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


def _use_write_ahead_log(cursor: Any) -> None:
    """Changes the journal; SQLite refuses it at once, without its timeout, while another process does the same."""
    deadline = monotonic() + TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if monotonic() > deadline:
                raise
            sleep(0.01)
