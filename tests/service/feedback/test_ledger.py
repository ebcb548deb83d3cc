"""The ledger counts each label once, with totals in the same transaction, on both databases."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from time import time

import numpy as np
import pytest
import sqlalchemy as sa

import sightline_service.feedback.tables
from sightline_service.errors import LedgerDownError, SettingsError
from sightline_service.feedback.ledger import PRUNED_ROWS, Ledger
from sightline_service.feedback.prediction_ids import PredictionIds, SignedPrediction, SigningKeys, fingerprint
from sightline_service.feedback.tables import TIMEOUT_S, open_engine
from sightline_service.feedback.verdicts import Label, Verdict
from sightline_service.prediction.result import ArrayPrediction, OutputArrays
from sightline_telemetry.instruments import (
    FEEDBACK,
    FEEDBACK_DELAY,
    FEEDBACK_LOSS,
    FEEDBACK_REJECTED,
    FEEDBACK_WITHDRAWN,
)
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel, Quality
from tests.stack.postgresql import PostgreSQL

KEYS = SigningKeys(["the secret of this test"])
MODEL = JudgedModel(ModelId("m", "1"), ("no", "yes"), has_probabilities=True)
NEXT_MODEL = replace(MODEL, id=ModelId("m", "2"))
DAY_S = 86_400.0
NO, YES = 0.0, 1.0

OpenLedger = Callable[..., Ledger]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server for the tests of this module."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.stack)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLedger]:
    """Returns a function that opens replicas of one ledger, which is empty at first."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    else:
        url = request.getfixturevalue("postgresql").url
        engine = open_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()
    ledgers = []

    def open_ledger(model: JudgedModel = MODEL, *, horizon_s: float = DAY_S, last_wins: bool = False) -> Ledger:
        ledger = Ledger(url, model, horizon_s, last_wins=last_wins)
        ledger.open()
        ledgers.append(ledger)
        return ledger

    yield open_ledger
    for ledger in ledgers:
        ledger.close()


def predicted(n_rows: int, model: JudgedModel = MODEL, p: float = 0.75) -> list[SignedPrediction]:
    """Returns predictions of `yes` with P(yes) = p."""
    probabilities = np.tile([[1 - p, p]], (n_rows, 1))
    ids = PredictionIds(KEYS, model).make(ArrayPrediction(OutputArrays(np.ones(n_rows, np.intp), probabilities), ()))
    return [prediction for prediction in map(KEYS.read, ids) if prediction is not None]


def labels(predictions: list[SignedPrediction], actual: float, model: JudgedModel = MODEL) -> list[Label]:
    """Returns the same label for all predictions."""
    return [Label(prediction, model, actual) for prediction in predictions]


def confusion(quality: Quality, instrument: object = FEEDBACK) -> dict[tuple[str, str, str], int]:
    """Returns (version, predicted, actual) -> labels, without zeros."""
    counts = quality.counts(instrument)  # type: ignore[arg-type]
    return {(a["model.version"], a["predicted"], a["actual"]): n for a, n in counts if n}


def rejected(quality: Quality) -> dict[str, int]:
    """Returns the labels not counted, by reason, over all models, without zeros."""
    found: dict[str, int] = {}
    for attributes, count in quality.counts(FEEDBACK_REJECTED):
        if count:
            found[attributes["reason"]] = found.get(attributes["reason"], 0) + count
    return found


@contextmanager
def listening(event: str, heard: list[object]) -> Iterator[None]:
    """Appends to `heard` whenever an engine has this event in this thread; servers of other tests have their own."""
    here = threading.get_ident()

    def hear(*event_arguments: object) -> None:
        if threading.get_ident() == here:
            heard.append(event_arguments)

    sa.event.listen(sa.Engine, event, hear)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, event, hear)


def test_a_label_counts_once(opened: OpenLedger) -> None:
    """The same label again is a duplicate, a different one a conflict: in one body, later, at another replica."""
    one, other = opened(), opened()
    (a, b, c) = predicted(3)
    body = [Label(a, MODEL, YES), Label(b, MODEL, NO), Label(a, MODEL, YES), Label(a, MODEL, NO)]
    assert one.record(body, {}) == ["accepted", "accepted", "duplicate", "conflict"]
    again: list[Verdict] = ["duplicate", "conflict", "accepted"]
    assert other.record([Label(a, MODEL, YES), Label(b, MODEL, YES), Label(c, MODEL, YES)], {}) == again
    for ledger in (one, other):
        quality = ledger.read()
        assert confusion(quality) == {("1", "yes", "yes"): 2, ("1", "yes", "no"): 1}
        assert rejected(quality) == {"duplicate": 2, "conflict": 2}
        losses = {a["kind"]: s for a, s in quality.snapshots(FEEDBACK_LOSS)}
        assert losses["brier"].sum == 2 * 0.25**2 + 0.75**2
        assert losses["log"].count == 3


def test_own_totals_are_seen_at_once(opened: OpenLedger) -> None:
    """A replica shows what it has just recorded without reading the database again."""
    ledger = opened()
    ledger.read()
    ledger.record(labels(predicted(5), YES), {"forged": 2})
    assert confusion(ledger.quality()) == {("1", "yes", "yes"): 5}
    assert ledger.quality() == ledger.read()


def test_both_replicas_show_one_ledger(opened: OpenLedger) -> None:
    """Replicas that open one ledger at the same time agree on its id."""
    with ThreadPoolExecutor(4) as pool:
        ledgers = list(pool.map(lambda _: opened(), range(4)))
    assert len({ledger.read().ledger for ledger in ledgers}) == 1


def test_the_last_label_can_win(opened: OpenLedger) -> None:
    """If the last label wins a different one corrects: the old one is withdrawn, and no total ever falls."""
    ledger = opened(last_wins=True)
    (a, b) = predicted(2)
    assert ledger.record([Label(a, MODEL, YES), Label(b, MODEL, YES), Label(b, MODEL, NO)], {}) == [
        "accepted",
        "accepted",
        "corrected",
    ]
    assert ledger.record(labels([a], YES), {}) == ["duplicate"]
    assert ledger.record([Label(a, MODEL, NO), Label(a, MODEL, YES), Label(a, MODEL, NO)], {}) == ["corrected"] * 3
    assert ledger.record(labels([a, b], NO), {}) == ["duplicate", "duplicate"]
    quality = opened().read()
    counted, withdrawn = confusion(quality), confusion(quality, FEEDBACK_WITHDRAWN)
    assert counted == {("1", "yes", "yes"): 3, ("1", "yes", "no"): 3}
    assert withdrawn == {("1", "yes", "yes"): 3, ("1", "yes", "no"): 1}
    assert sum(s.count for _, s in quality.snapshots(FEEDBACK_DELAY)) == 2


def test_two_replicas_at_the_same_instant(opened: OpenLedger) -> None:
    """Two replicas that get the same labels at the same instant, in opposite orders, count each once."""
    replicas = [opened(), opened()]
    predictions = predicted(1000)
    barrier = Barrier(2)

    def send(number: int) -> list[Verdict]:
        ledger, order = replicas[number], slice(None, None, 1 if number else -1)
        barrier.wait()
        verdicts: list[Verdict] = []
        for start in range(0, 1000, 100):
            verdicts += ledger.record(labels(predictions[order][start : start + 100], YES), {})
        return verdicts

    with ThreadPoolExecutor(2) as pool:
        all_verdicts = [verdict for verdicts in pool.map(send, range(2)) for verdict in verdicts]
    assert (all_verdicts.count("accepted"), all_verdicts.count("duplicate")) == (1000, 1000)
    assert confusion(replicas[0].read()) == {("1", "yes", "yes"): 1000}


def test_late_labels_are_not_counted(opened: OpenLedger) -> None:
    """A label whose prediction is older than the horizon is late and not counted."""
    ledger = opened(horizon_s=3600)
    old = [replace(each, made_s=each.made_s - 3700) for each in predicted(2)]
    assert ledger.record(labels(old, YES), {}) == ["late", "late"]
    assert rejected(ledger.read()) == {"late": 2}
    assert confusion(ledger.read()) == {}


def test_pruning_forgets_labels_and_keeps_totals(opened: OpenLedger) -> None:
    """Labels of pruned predictions stay late, for a replica with a longer horizon too; totals survive."""
    ledger = opened(horizon_s=DAY_S)
    old_s = int(time()) - 7200
    old = [replace(each, made_s=old_s, key=old_s.to_bytes(4, "big") + each.key[4:]) for each in predicted(3)]
    new = predicted(2)
    ledger.record(labels(old + new, YES), {})
    strict = opened(horizon_s=3600)
    assert strict.prune() is False
    assert ledger.record(labels(old + new, YES), {}) == ["late"] * 3 + ["duplicate"] * 2
    assert confusion(ledger.read()) == {("1", "yes", "yes"): 5}


def test_pruning_goes_in_steps(opened: OpenLedger) -> None:
    """One step of pruning deletes a bounded number of labels and returns whether more are left."""
    ledger = opened()
    old_s = int(time()) - 7200
    old = [replace(e, made_s=old_s, key=old_s.to_bytes(4, "big") + e.key[4:]) for e in predicted(PRUNED_ROWS + 10)]
    ledger.record(labels(old, YES), {})
    strict = opened(horizon_s=3600)
    assert [strict.prune(), strict.prune()] == [True, False]


def test_labels_of_the_last_version_are_understood(opened: OpenLedger) -> None:
    """After a deployment labels of the version before still count, for that version."""
    opened()
    ledger = opened(NEXT_MODEL)
    assert ledger.models([fingerprint(MODEL)])[fingerprint(MODEL)] == MODEL
    assert ledger.models([b"none"]).keys() == {fingerprint(MODEL), fingerprint(NEXT_MODEL)}
    ledger.record(labels(predicted(2), YES, MODEL) + labels(predicted(1, NEXT_MODEL), NO, NEXT_MODEL), {})
    assert confusion(ledger.read()) == {("1", "yes", "yes"): 2, ("2", "yes", "no"): 1}


def test_10000_labels_in_one_transaction(opened: OpenLedger) -> None:
    """Ten thousand labels are recorded, and again as duplicates, each time in one transaction of few statements."""
    ledger = opened()
    body = labels(predicted(10_000), YES)
    begun: list[object] = []
    executed: list[object] = []
    for verdict in ("accepted", "duplicate"):
        begun.clear()
        executed.clear()
        with listening("begin", begun), listening("before_cursor_execute", executed):
            assert set(ledger.record(body, {})) == {verdict}
        assert len(begun) == 1
        assert len(executed) < 40, f"{len(executed)} statements"
    assert confusion(ledger.read()) == {("1", "yes", "yes"): 10_000}


def test_sums_keep_their_precision(opened: OpenLedger) -> None:
    """Sums are kept as float64: over many transactions they stay within rounding of the exact sum."""
    ledger = opened()
    for number in range(1, 60):
        ledger.record(labels(predicted(3, p=1 / (number + 1)), YES), {})
    (brier,) = [s for a, s in ledger.read().snapshots(FEEDBACK_LOSS) if a["kind"] == "brier"]
    assert brier.sum == pytest.approx(sum(3 * (1 - 1 / (n + 1)) ** 2 for n in range(1, 60)), abs=1e-12)


def test_nothing_is_half_counted(opened: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """If anything fails before the commit, no label and no total of the body is written."""
    ledger = opened()
    predictions = predicted(4)
    monkeypatch.setattr(ledger, "_note_seen", lambda *_: (_ for _ in ()).throw(RuntimeError("killed here")))
    with pytest.raises(RuntimeError, match="killed here"):
        ledger.record(labels(predictions, YES), {"forged": 1})
    monkeypatch.undo()
    assert confusion(ledger.quality()) == confusion(ledger.read()) == {}
    assert rejected(ledger.read()) == {}
    assert ledger.record(labels(predictions, YES), {}) == ["accepted"] * 4


def test_a_locked_sqlite_is_down_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the database the ledger is down after its timeout; then it works again."""
    monkeypatch.setattr(sightline_service.feedback.tables, "TIMEOUT_S", 0.2)
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger(f"sqlite:///{path}", MODEL, DAY_S)
    ledger.open()
    predictions = predicted(1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerDownError, match="nothing of this body was counted"):
        ledger.record(labels(predictions, YES), {})
    holder.execute("ROLLBACK")
    holder.close()
    assert ledger.record(labels(predictions, YES), {}) == ["accepted"]
    ledger.close()


def test_sqlite_waits_for_a_lock_as_long_as_stated(tmp_path: Path) -> None:
    """The timeout is in force in the database itself, in milliseconds."""
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == TIMEOUT_S * 1000
    engine.dispose()


@pytest.mark.stack
def test_a_postgresql_that_restarts_is_found_again(postgresql: PostgreSQL) -> None:
    """While PostgreSQL is gone the ledger is down; once it is back the same ledger goes on where it was."""
    ledger = Ledger(postgresql.url, MODEL, DAY_S)
    ledger.open()
    predictions = predicted(2)
    ledger.record(labels(predictions[:1], YES), {})
    postgresql.stop()
    with pytest.raises(LedgerDownError):
        ledger.record(labels(predictions, YES), {})
    postgresql.start()
    assert ledger.record(labels(predictions, YES), {}) == ["duplicate", "accepted"]
    ledger.close()


@pytest.mark.parametrize(
    "url", ["nothing", "mysql://user:pa55word@host/db", "postgresql+psycopg://user:pa55word@host:none/db"]
)
def test_a_url_that_makes_no_sense_stops_start_up(url: str) -> None:
    """A URL of another kind is refused, and its password is not quoted."""
    with pytest.raises(SettingsError, match="SIGHTLINE_LEDGER") as refused:
        Ledger(url, MODEL, DAY_S)
    assert "pa55word" not in str(refused.value)
