"""Is each scrape one moment? Scrapes of a service under load, each compared with itself."""

from rich.console import Console
from rich.progress import track

from benchmarks.fire.clients import Clients, flights
from benchmarks.fire.profile import FireProfile
from benchmarks.fire.report import Report
from benchmarks.fire.service import N_WORKERS, ROWS, Scrape, serving

CLIENTS = 64
_REQUESTS = "http_server_request_duration_seconds_count"


def disagreements(scrape: Scrape) -> list[str]:
    """Returns the counts of one scrape that differ from its rows: each predicted row is in every one of them."""
    n_rows = scrape.total(ROWS)
    missing = scrape.totals("ml_feature_missing_total", "feature")
    counts = {
        "score": scrape.total("ml_prediction_score_count"),
        "confidence": scrape.total("ml_prediction_confidence_count"),
        "batch size": scrape.total("ml_prediction_batch_size_sum"),
        **{
            f"numeric {name}": n + missing[name]
            for name, n in scrape.totals("ml_feature_value_count", "feature").items()
        },
        **{f"categories {name}": n for name, n in scrape.totals("ml_feature_categories_total", "feature").items()},
    }
    wrong = [f"{name} {n:,} of {n_rows:,} rows" for name, n in counts.items() if n != n_rows]
    n_requests = scrape.total(_REQUESTS, "/predict/model", 'status_code="200"')
    n_queued = scrape.total("ml_queue_duration_seconds_count")
    return wrong + ([] if n_requests == n_queued else [f"{n_requests:,} requests, {n_queued:,} that waited"])


def measure(profile: FireProfile, console: Console, seed: int) -> Report:
    """Scrapes while clients send, whichever worker takes the scrape."""
    n_consistent, n_away, falls, rows = 0, 0, 0, [0]
    report = Report(
        f"Scrapes under the load of {CLIENTS} clients and {N_WORKERS} workers, each compared with itself",
        (
            "scrapes",
            "consistent",
            "answered 503",
            "rows lower than before",
            "different rows",
            "rows at the end",
            "answered",
        ),
    )
    with serving() as service:
        requests = [*flights(service.port, 1) * 8, *flights(service.port, 32)]
        with Clients(service.port, requests, CLIENTS, seed) as clients:
            for _ in track(range(profile.scrapes), "scrapes", console=console, transient=True):
                scrape = service.try_scrape()
                if scrape is None:
                    n_away += 1
                    continue
                wrong = disagreements(scrape)
                report.require(f"rows are the same in all counts of a scrape: {'; '.join(wrong)}", not wrong)
                n_consistent += not wrong
                falls += scrape.total(ROWS) < rows[-1]
                rows.append(scrape.total(ROWS))
        last = service.scrape()
    report.add(
        profile.scrapes, n_consistent, n_away, falls, len(set(rows)), last.total(ROWS), clients.noted.n_rows
    )  # fmt: skip
    report.require("rows never fall", falls == 0)
    report.require("the last scrape has the rows in all answers", last.total(ROWS) == clients.noted.n_rows)
    return report
