"""Large requests and memory: what is claimed of their measurements."""

from benchmarks import bulk, memory
from benchmarks.bulk import Bulk
from benchmarks.memory import Memory


def test_a_request_is_compared_with_the_pipeline_of_the_same_round() -> None:
    """The ratio of each round is claimed to be 1 at most."""
    (claim,) = bulk.claims([Bulk("logistic", "objects", 1, 1, (0.02, 0.03, 0.01), (0.02, 0.02, 0.02), (0.001,))])
    assert claim.values == [1.0, 1.5, 0.5]
    assert claim.line() == (
        "| logistic, as objects, 10,000 rows in one request, counted: time, times predict_proba alone | at most 1 "
        "| 1.00 (0.50 .. 1.50) | met |"
    )


def test_memory_is_compared_with_the_first_reading() -> None:
    """Growth is in percent of the first reading."""
    (claim,) = memory.claims(Memory((10**4, 10**6), (200_000_000, 212_000_000)))
    assert [round(each, 6) for each in claim.values] == [6.0]
    assert claim.line().endswith("| at most 5 % | 6.00 (6.00 .. 6.00) % | **not met** |")
