"""What measuring costs a nightly batch of 10^6 flights: predicted with and without, chunk by chunk in turn.

    uv run python benchmarks/batch_cost.py [ROWS]

Each chunk of 100,000 flights is predicted by the demo's pipeline twice, once measured by `Measurement`
and once not, in alternating order, so that a busy machine slows both. Prints the ratio of the times, on the clock
and of the processor, and how far memory grew. The model is fitted on a tenth of the training flights: its trees
are as large, and cost the same to ask.
"""

import resource
import sys
from statistics import median
from time import perf_counter, process_time

import pandas as pd
from threadpoolctl import threadpool_limits

from sightline_service.demo.flights import FEATURES, TARGET, load_flights, replay_months, training_months
from sightline_service.demo.model import make_pipeline
from sightline_telemetry.measurement import Measurement
from sightline_telemetry.model.dataframes import profile_frame

N_ROWS = 1_000_000
CHUNK = 100_000
AIM = 1.05


def main(n_rows: int) -> None:
    """Prints a line a chunk and the ratios of the whole."""
    flights = load_flights()
    training = training_months(flights).sample(frac=0.1, random_state=0)
    data, labels = training[list(FEATURES)], training[TARGET]
    model = make_pipeline().fit(data, labels)
    profile = profile_frame(data, labels, model.predict(data), model.predict_proba(data))
    replayed = replay_months(flights)[list(FEATURES)]
    batch = pd.concat([replayed] * (n_rows // len(replayed) + 1), ignore_index=True).iloc[:n_rows]

    def predict(rows: pd.DataFrame, measure: Measurement | None) -> tuple[float, float]:
        start, worked = perf_counter(), process_time()
        predicted, probabilities = model.predict(rows), model.predict_proba(rows)
        if measure is not None:
            measure(rows, predicted, probabilities)
        return perf_counter() - start, process_time() - worked

    chunks: list[tuple[tuple[float, float], tuple[float, float]]] = []
    with Measurement("flights", "1", profile) as measure:
        predict(batch.iloc[:CHUNK], measure)
        before_mb = peak_mb()
        for number, first in enumerate(range(0, n_rows, CHUNK)):
            rows = batch.iloc[first : first + CHUNK]
            order = (measure, None) if number % 2 else (None, measure)
            times = {each: predict(rows, each) for each in order}
            chunks.append((times[measure], times[None]))
            (wall, cpu), (plain_wall, plain_cpu) = chunks[-1]
            print(
                f"rows {first:>9,}: {wall:6.2f} s measured, {plain_wall:6.2f} s not; CPU {cpu:.2f} s, {plain_cpu:.2f} s"
            )
        assert counted_rows(measure) == n_rows + min(n_rows, CHUNK)
    print(f"peak memory {before_mb:.0f} MB after the first chunk, {peak_mb():.0f} MB after {n_rows:,} rows")
    for name, clock in (("on the clock", 0), ("of the processor", 1)):
        ratios = [measured[clock] / plain[clock] for measured, plain in chunks]
        total = sum(measured[clock] for measured, _ in chunks) / sum(plain[clock] for _, plain in chunks)
        print(f"ratio {name}: {total:.3f} in all, median {median(ratios):.3f} a chunk (aim: {AIM} at most)")


def counted_rows(measure: Measurement) -> int:
    """Returns how many rows were counted, from a scrape."""
    lines = measure.scrape()[0].decode().splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("ml_predictions_total{"))


def peak_mb() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    with threadpool_limits(1, user_api="openmp"):
        main(int(sys.argv[1]) if len(sys.argv) > 1 else N_ROWS)
