"""The ledger counts each label once, over replicas and restarts, and keeps the totals that the labels add up to.

Labels and totals are written in one transaction, so that a kill at any moment counts no label twice and loses none
that was answered. The statements are the same for SQLite and PostgreSQL. Every transaction takes its locks in one
order, the ledger's row, labels by key, totals by key, so no deadlock is possible.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import time
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from sightline_service.errors import LedgerDownError
from sightline_service.feedback.prediction_ids import fingerprint
from sightline_service.feedback.tables import (
    LABELS,
    LEDGER,
    METADATA,
    MODELS,
    READS_ONLY,
    TOTALS,
    files_of,
    open_engine,
)
from sightline_service.feedback.verdicts import Label, TotalsByModel, Verdict, judge, rejected_totals
from sightline_service.feedback.watched_files import WatchedFiles
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel, Quality, Total, TotalKey, Totals, add_totals

PRUNED_ROWS = 5_000
"""Labels deleted in one transaction, so that feedback waits for no more than that."""

_KEYS_IN_QUERY = 5_000
_SEEN_EVERY_S = 3600
_CREATION_LOCK = 0x5167487  # an advisory lock: two replicas that create the tables at once collide in the catalogue


class Ledger:
    """Reads and writes the ledger at one URL for one replica. Belongs to one thread; its methods may block.

    They raise LedgerDownError if the database does not answer; nothing is written then.
    horizon_s: labels of older predictions are late. last_wins: the last of several different labels counts, not the
    first.
    """

    def __init__(self, url: str, model: JudgedModel, horizon_s: float, *, last_wins: bool = False) -> None:
        self._model = model
        self._horizon_s = horizon_s
        self._last_wins = last_wins
        self._engine = open_engine(url)
        self._files = WatchedFiles(())
        self._insert: Any = (sqlite if self._engine.dialect.name == "sqlite" else postgresql).insert
        self._id = ""
        self._models: dict[bytes, JudgedModel] = {}
        self._shown: tuple[JudgedModel, ...] = (model,)
        self._totals: dict[ModelId, Totals] = {}

    def open(self) -> None:
        """Creates the tables if they do not exist, and writes the model into its table.

        Opens the database again if its files were removed.
        """
        if self._files.missing() is not None:
            self._engine.dispose()
            self._files = WatchedFiles(())
        with self._transaction() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION_LOCK)))
            METADATA.create_all(connection)
            new = {"one": 1, "id": uuid4().hex[:12], "pruned_s": 0}
            connection.execute(self._insert(LEDGER).values(new).on_conflict_do_nothing())
            self._write_model(connection)
            self._id = str(connection.execute(sa.select(LEDGER.c.id)).scalar_one())
        self._files = WatchedFiles(files_of(self._engine))

    def close(self) -> None:
        """Closes the connection."""
        self._engine.dispose()

    def models(self, fingerprints: Iterable[bytes]) -> Mapping[bytes, JudgedModel]:
        """Returns every model served with this ledger so far; reads the ledger again if one of these is not known."""
        if not self._models.keys() >= set(fingerprints):
            self.read()
        return self._models

    def record(self, labels: Sequence[Label], rejected: Mapping[str, int]) -> list[Verdict]:
        """Judges labels in their order and counts them, all or none; returns one verdict per label.

        rejected: reason -> labels that cannot be judged; they are counted too.
        """
        with self._transaction() as connection:
            since_s = self._since(connection)
            first: dict[bytes, float] = {}
            for label in labels:
                if label.prediction.made_s >= since_s:
                    first.setdefault(label.prediction.key, label.actual)
            previous = self._insert_new(connection, first)
            judgement = judge(labels, previous, since_s, time(), last_wins=self._last_wins)
            _correct(connection, judgement.corrections)
            add_totals(judgement.totals[self._model.id], rejected_totals(rejected))
            totals = self._add(connection, judgement.totals)
            self._note_seen(connection, {fingerprint(model) for model in {label.model for label in labels}})
        for model_id, key, total in totals:  # only what is committed is shown
            self._totals.setdefault(model_id, {})[key] = total
        return judgement.verdicts

    def read(self) -> Quality:
        """Reads the totals of all replicas: of the served model, and of models that may still get labels."""
        with self._transaction(**READS_ONLY) as connection:
            rows = connection.execute(sa.select(MODELS)).all()
            totals: dict[ModelId, Totals] = defaultdict(dict)
            for row in connection.execute(sa.select(TOTALS)):
                totals[ModelId(row[0], row[1])][TotalKey(*row[2:6])] = Total(*row[6:])
        self._models = {row.fingerprint: _model(row) for row in rows}
        since_s = time() - self._horizon_s
        shown = [self._models[row.fingerprint] for row in rows if row.seen_s >= since_s]
        self._shown = tuple(dict.fromkeys((self._model, *shown)))
        self._totals = dict(totals)
        return self.quality()

    def quality(self) -> Quality:
        """Returns the totals as last read or written; does not touch the database."""
        return Quality(self._id, self._shown, {model_id: dict(totals) for model_id, totals in self._totals.items()})

    def prune(self) -> bool:
        """Deletes some of the labels that are late by now; totals stay. Returns True if more are left.

        First the ledger's row gets the new limit, so that a deleted label is late for every replica, whatever its
        clock and its horizon.
        """
        since_s = int(time() - self._horizon_s)
        with self._transaction() as connection:
            connection.execute(LEDGER.update().where(LEDGER.c.pruned_s < since_s).values(pruned_s=since_s))
        with self._transaction() as connection:
            late = sa.select(LABELS.c.key).where(LABELS.c.key < since_s.to_bytes(4, "big")).limit(PRUNED_ROWS)
            n_deleted: int = connection.execute(LABELS.delete().where(LABELS.c.key.in_(late))).rowcount
        return n_deleted == PRUNED_ROWS

    def _since(self, connection: sa.Connection) -> int:
        """Labels of predictions before this Unix time are late; the limit is locked until the transaction ends."""
        statement = sa.select(LEDGER.c.pruned_s).with_for_update(read=True)
        return max(int(time() - self._horizon_s), int(connection.execute(statement).scalar_one()))

    def _insert_new(self, connection: sa.Connection, labels: Mapping[bytes, float]) -> dict[bytes, float]:
        """Writes the labels of predictions that had none; returns the previous labels of the others, by key."""
        if not labels:
            return {}
        rows = [{"key": key, "actual": labels[key]} for key in sorted(labels)]
        statement = self._insert(LABELS).on_conflict_do_nothing().returning(LABELS.c.key)
        new = {bytes(key) for key in connection.execute(statement, rows).scalars()}
        old = [key for key in sorted(labels) if key not in new]
        previous: dict[bytes, float] = {}
        for start in range(0, len(old), _KEYS_IN_QUERY):
            query = (
                sa.select(LABELS).where(LABELS.c.key.in_(old[start : start + _KEYS_IN_QUERY])).order_by(LABELS.c.key)
            )
            for key, actual in connection.execute(query.with_for_update() if self._last_wins else query):
                previous[bytes(key)] = actual
        return previous

    def _add(self, connection: sa.Connection, added: TotalsByModel) -> list[tuple[ModelId, TotalKey, Total]]:
        """Adds to the totals; returns the new value of each."""
        rows = [
            {"name": model_id.name, "version": model_id.version, **key._asdict(), "count": total.n, "sum": total.sum}
            for model_id in sorted(added, key=lambda each: (each.name, each.version))
            for key, total in sorted(added[model_id].items())
        ]
        if not rows:
            return []
        statement = self._insert(TOTALS)
        sums = {name: TOTALS.c[name] + statement.excluded[name] for name in ("count", "sum")}
        key = list(TOTALS.primary_key.columns)
        adding = statement.on_conflict_do_update(index_elements=key, set_=sums).returning(*TOTALS.c)
        return [
            (ModelId(row[0], row[1]), TotalKey(*row[2:6]), Total(*row[6:])) for row in connection.execute(adding, rows)
        ]

    def _write_model(self, connection: sa.Connection) -> None:
        """Writes the served model into its table, so that any replica can judge labels of its predictions."""
        model = self._model
        entry = {
            "fingerprint": fingerprint(model),
            "name": model.id.name,
            "version": model.id.version,
            "outcomes": list(model.outcomes),
            "has_probabilities": model.has_probabilities,
            "seen_s": int(time()),
        }
        statement = self._insert(MODELS).values(entry)
        seen = {"seen_s": statement.excluded.seen_s}
        connection.execute(statement.on_conflict_do_update(index_elements=[MODELS.c.fingerprint], set_=seen))

    def _note_seen(self, connection: sa.Connection, models: Iterable[bytes]) -> None:
        """Writes the current time to models that still get labels, at most once per hour."""
        now_s = int(time())
        is_old = MODELS.c.fingerprint.in_(sorted(models)) & (MODELS.c.seen_s < now_s - _SEEN_EVERY_S)
        connection.execute(MODELS.update().where(is_old).values(seen_s=now_s))

    @contextmanager
    def _transaction(self, **options: Any) -> Iterator[sa.Connection]:
        """Opens one transaction. Raises LedgerDownError for any error of the database."""
        try:
            with self._engine.connect() as connection:
                connection.execution_options(**options)
                with connection.begin():
                    yield connection
                    if (gone := self._files.missing()) is not None:
                        raise LedgerDownError(
                            f"the ledger's file {gone} was removed or replaced; nothing of this body was counted, send "
                            "it again"
                        )
        except SQLAlchemyError as error:
            raise LedgerDownError(
                "the ledger does not answer; nothing of this body was counted, send it again"
            ) from error


def _correct(connection: sa.Connection, corrections: Mapping[bytes, float]) -> None:
    if corrections:
        rows = [{"corrected_key": key, "corrected": corrections[key]} for key in sorted(corrections)]
        is_corrected = LABELS.c.key == sa.bindparam("corrected_key")
        connection.execute(LABELS.update().where(is_corrected).values(actual=sa.bindparam("corrected")), rows)


def _model(row: Any) -> JudgedModel:
    return JudgedModel(ModelId(row.name, row.version), tuple(row.outcomes), row.has_probabilities)
