"""What a prediction's id costs, alone and in a batch, and what its label costs when it comes back.

    uv run python benchmarks/label_cost.py

Everything in one process without HTTP, the fastest of some rounds: ids of one row and of 10,000, the same tags by
HMAC-SHA256 for comparison, reading an id, and 10,000 labels into a fresh SQLite ledger, then again as duplicates.
"""

import hmac
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from sightline_service.feedback.ledger import Ledger
from sightline_service.feedback.prediction_ids import PredictionIds, SigningKeys
from sightline_service.feedback.reader import LabelReader
from sightline_service.prediction.result import ArrayPrediction, OutputArrays
from sightline_telemetry.model.model_id import ModelId
from sightline_telemetry.model.quality import JudgedModel

N_ROWS = 10_000
ROUNDS = 15
ALONE = 5_000
AIM_US = 2.0
MODEL = JudgedModel(ModelId("flights", "1"), ("in_time", "late"), has_probabilities=True)


def fastest_us(work: Callable[[], object], repeats: int, per: int = 1) -> float:
    """Microseconds of one piece of work, in the fastest round."""
    times = []
    for _ in range(ROUNDS):
        start = perf_counter()
        for _ in range(repeats):
            work()
        times.append(perf_counter() - start)
    return min(times) / repeats / per * 1e6


def main() -> None:
    """Prints the costs."""
    keys = SigningKeys(["a key of sixteen characters"])
    make = PredictionIds(keys, MODEL).make
    late = np.random.default_rng(0).random(N_ROWS)
    arrays = OutputArrays((late > 0.5).astype(np.intp), np.column_stack([1 - late, late]))
    many = ArrayPrediction(arrays, ())
    one = many.part(0, 1)
    ids = make(many)
    in_batch = fastest_us(lambda: make(many), 1, N_ROWS)
    print(f"an id has {len(ids[0])} characters with two classes")
    print(f"making it    alone {fastest_us(lambda: make(one), ALONE):6.2f} us")
    print(f"             in a batch of {N_ROWS:,} {in_batch:6.2f} us each (aim: at most {AIM_US} us)")
    key, row = b"k" * 64, b"r" * 31
    print(f"  of which HMAC-SHA256 alone would be {fastest_us(lambda: hmac.digest(key, row, 'sha256'), ALONE):6.2f} us")
    print(f"reading it   {fastest_us(lambda: keys.read(ids[0]), ALONE):6.2f} us")
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{Path(folder) / 'ledger.sqlite3'}", MODEL, 86_400)
        ledger.open()
        body = msgspec.json.encode({"labels": [{"prediction_id": each, "actual": "late"} for each in ids]})
        for words in ("new", "the same again"):
            start = perf_counter()
            LabelReader(keys, ledger, N_ROWS).record(body)
            print(f"{N_ROWS:,} labels, {words}: {(perf_counter() - start) * 1e3:.0f} ms in one transaction")
        ledger.close()


if __name__ == "__main__":
    main()
