"""Traffic, errors and latency of every route and model version, and their service level objectives."""

from prometheus.rule import Alert, Group, Record
from prometheus.selectors import MODEL_OF_PROCESS, TRAFFIC, VERSION, buckets, counts, served_model, with_model
from prometheus.windows import BurnWindow, Windows, text
from sightline_telemetry.instruments import REQUEST_DURATION

AVAILABILITY = 0.999
LATENCY = 0.99
LATENCY_S = 0.5
"""Objectives: one request in a thousand may fail, one in a hundred may take longer than half a second. A request over
half a second is also one whose trace is always kept, so that whatever burns this budget can be looked at."""

MIN_BAD = 5
"""Fewer bad requests than this raise no alert, however large their share of a quiet night's traffic is."""

QUANTILES = (0.5, 0.95, 0.99)

ROUTE = f"job, {VERSION}, http_route"

_FAILED = 'http_response_status_code=~"5.."'
_ANSWERED = 'http_response_status_code!~"5.."'
_DASHBOARD = "/d/sightline-overview?var-model={{ $labels.model_name }}&var-version={{ $labels.model_version }}"
_OF = "{{ $labels.http_route }} of {{ $labels.model_name }} {{ $labels.model_version }}"


def golden_signals(windows: Windows) -> list[Group]:
    """Rates and quantiles for dashboards and people, then the SLOs and what burns their budgets."""
    return [_signals(windows), _objectives(windows), _alerts(windows)]


def _signals(windows: Windows) -> Group:
    window = text(windows.fraction(288))
    latency = _by_route(f"rate({buckets(REQUEST_DURATION, TRAFFIC)}[{window}])", f"{ROUTE}, le")
    rules = [
        Record(
            MODEL_OF_PROCESS, served_model(), why="The dummy endpoint is no model: with it, a process would have two."
        ),
        Record("route:requests:rate", _by_route(f"rate({counts(REQUEST_DURATION, TRAFFIC)}[{window}])")),
        Record(
            "route:failed:rate",
            f"{_by_route(f'rate({counts(REQUEST_DURATION, TRAFFIC, _FAILED)}[{window}])')}\nor 0 * route:requests:rate",
            why="Failed requests have no series before the first fails: `or 0 *` makes a route without them 0.",
        ),
        Record("route:failed:ratio", "route:failed:rate / (route:requests:rate > 0)"),
        *(
            Record(
                "route:latency:quantile",
                f"histogram_quantile({q}, {latency})\nand (route:requests:rate > 0)",
                {"quantile": str(q)},
                "Without requests a quantile is NaN; it is left out instead." if q == QUANTILES[0] else "",
            )
            for q in QUANTILES
        ),
    ]
    return Group("golden-signals", windows.minute_s, rules)


def _objectives(windows: Windows) -> Group:
    step = text(windows.minute_s)
    every, failed, answered, quick = (
        _by_route(f"increase({selector}[{step}])")
        for selector in (
            counts(REQUEST_DURATION, TRAFFIC),
            counts(REQUEST_DURATION, TRAFFIC, _FAILED),
            counts(REQUEST_DURATION, TRAFFIC, _ANSWERED),
            buckets(REQUEST_DURATION, TRAFFIC, _ANSWERED, f'le="{LATENCY_S:g}"'),
        )
    )
    rules = [
        Record(
            "slo:requests:increase",
            every,
            why="Recorded once per step, and added up over the long windows below: three days of raw buckets would "
            "be read at every evaluation otherwise.",
        ),
        Record("slo:bad:increase", f"{failed}\nor 0 * slo:requests:increase", {"slo": "availability"}),
        Record(
            "slo:bad:increase",
            f"clamp_min(\n  {answered}\n  - {quick}, 0)",
            {"slo": "latency"},
            "Failed requests are counted by the other objective, however long they took.",
        ),
        *(rule for window_s in _windows(windows) for rule in _burn_rates(window_s)),
        Record(
            "slo:burning",
            "max without (window) (\n" + "\n  or\n".join(_burning(burn) for burn in windows.burns[:2]) + "\n)",
            why="Both windows of a pair: the long one shows that it matters, the short one that it goes on. "
            f"For fewer than {MIN_BAD} bad requests there is no alert.",
        ),
    ]
    return Group("slo", windows.minute_s, rules)


def _burn_rates(window_s: int) -> list[Record]:
    window = text(window_s)
    return [
        Record(
            "slo:burn_rate",
            f"""
            sum_over_time(slo:bad:increase{{slo="{slo}"}}[{window}])
              / on ({ROUTE}) group_left () (sum_over_time(slo:requests:increase[{window}]) > 0)
              / {round(1 - objective, 6)}
            """,
            {"slo": slo, "window": window},
        )
        for slo, objective in (("availability", AVAILABILITY), ("latency", LATENCY))
    ]


def _alerts(windows: Windows) -> Group:
    fast, slow, ticket = windows.burns
    rules: list[Alert] = []
    for slo, bad in (("availability", "fail"), ("latency", f"take over {LATENCY_S:g} s")):
        name = slo.capitalize()
        of_slo = f'slo="{slo}"'
        value = "a burn rate of {{ $value | humanize }}"
        rules += [
            Alert(
                f"{name}BudgetBurning",
                f"slo:burning{{{of_slo}}}",
                "page",
                f"Requests to {_OF} {bad}: a month's budget would be gone in days",
                value,
                f"{fast.factor:g} over {text(fast.long_s)}, or {slow.factor:g} over {text(slow.long_s)}",
                _DASHBOARD,
            ),
            Alert(
                f"{name}BudgetLeaking",
                f"max without (window) (\n{_burning(ticket, of_slo)}\n)\nunless slo:burning",
                "ticket",
                f"Requests to {_OF} {bad}: a month's budget will not last the month",
                value,
                f"{ticket.factor:g} over {text(ticket.long_s)}",
                _DASHBOARD,
                why="One fault, one alert: silent where the page already speaks.",
            ),
        ]
    return Group("slo-alerts", windows.minute_s, rules)


def _burning(burn: BurnWindow, *matchers: str) -> str:
    def rate(window_s: int) -> str:
        window = f'window="{text(window_s)}"'
        return f"slo:burn_rate{{{', '.join((*matchers, window))}}}"

    selector = f"{{{', '.join(matchers)}}}" if matchers else ""
    bad = f"sum_over_time(slo:bad:increase{selector}[{text(burn.long_s)}])"
    return (
        f"  {rate(burn.long_s)} > {burn.factor:g}\n"
        f"    and ignoring (window) {rate(burn.short_s)} > {burn.factor:g}\n"
        f"    and ignoring (window) {bad} >= {MIN_BAD}"
    )


def _by_route(vector: str, labels: str = ROUTE) -> str:
    return f"sum by ({labels}) ({with_model(vector)})"


def _windows(windows: Windows) -> list[int]:
    return sorted({seconds for burn in windows.burns for seconds in (burn.long_s, burn.short_s)})
