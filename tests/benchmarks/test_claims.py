"""Claims are computed from cells: the ratio of each round, its median, and whether that keeps the limit."""

from benchmarks.claims import Claim, Target, at_least, at_most, claims_table
from benchmarks.comparison import claims
from benchmarks.load import Measured
from benchmarks.results_table import Cell, table


def _cell(server: str, per_s: tuple[float, ...], clients: int = 64, p50_ms: float = 1.0, p99_ms: float = 1.8) -> Cell:
    rounds = tuple(Measured(int(each * 2), 2.0, p50_ms, p99_ms) for each in per_s)
    return Cell("logistic", 1, clients, server, rounds, (50.0,) * len(per_s))


CELLS = [
    _cell("A", (5000, 4000, 6000)),
    _cell("B", (100, 100, 100)),
    _cell("E-litserve", (500, 900, 1000)),
    _cell("E-bentoml", (800, 800, 800)),
    _cell("F-off", (16000, 16000, 16000)),
    _cell("F", (15000, 14000, 12000), p99_ms=2.5),
    _cell("A", (4000, 4000, 4000), clients=1, p50_ms=0.2),
    _cell("F", (6000, 6000, 6000), clients=1, p50_ms=0.15),
]


def _values(words: str) -> list[float]:
    (claim,) = (claim for claim in claims(CELLS) if words in claim.what)
    return list(claim.values)


def test_ratios_are_taken_within_a_round() -> None:
    """A slow round of both servers leaves their ratio as it is."""
    assert _values("times A, the empty endpoint") == [3.0, 3.5, 2.0]
    assert _values("telemetry off") == [0.9375, 0.875, 0.75]


def test_the_best_of_the_others_is_the_one_with_the_highest_median() -> None:
    """One server is the best in all rounds of a load, not another one in each."""
    assert _values("the best of E") == [30.0, 14000 / 900, 12.0]


def test_latency_is_claimed_under_its_own_load() -> None:
    """The tail is that of 64 clients, the median that of a lone one."""
    assert _values("p99, times p50") == [2.5, 2.5, 2.5]
    assert _values("a lone client") == [0.15 / 0.2] * 3


def test_a_claim_is_met_by_its_median() -> None:
    """A round beyond the limit does not break a claim, nor does one within it make it."""
    assert at_least(2.0).verdict([1.0, 2.0, 3.0]) == "met"
    assert at_least(2.0).verdict([1.9, 1.9, 9.0]) == "**not met**"
    assert at_most(20, " ms").verdict([20.0]) == "met"
    assert at_most(20, " ms").verdict([20.1]) == "**not met**"
    assert at_least(2.0, 2.7).verdict([2.7]) == "met, the aim too"


def test_what_was_not_measured_is_not_claimed() -> None:
    """Without one of the two servers there is no ratio, and the page says so."""
    without = [cell for cell in CELLS if not cell.server.startswith("E-")]
    (claim,) = (claim for claim in claims(without) if "best of E" in claim.what)
    assert claim.values == []
    assert claim.line().endswith("| - | not measured |")


def test_a_line_says_what_was_asked_and_what_was_measured() -> None:
    """A row of the table has the limit with its unit, the median, the range and the verdict."""
    claim = Claim("a scrape", Target(20, is_floor=False, unit=" ms"), [12.0, 10.0, 15.5])
    assert claims_table([claim])[-1] == "| a scrape | at most 20 ms | 12.00 (10.00 .. 15.50) ms | met |"


def test_a_table_compares_with_each_base() -> None:
    """Throughput has a column of ratios for each base that was measured."""
    lines = table([cell for cell in CELLS if cell.clients == 64], ("A", "F-off", "absent"))
    assert lines[0] == "| server | requests/s | times A | times F-off | p50 ms | p99 ms | CPU us per request |"
    assert lines[-1] == (
        "| F: Sightline, everything on | 14,000 | 3.00 (2.00 .. 3.50) | 0.88 (0.75 .. 0.94) | 1.00 | 2.50 | 50 |"
    )
