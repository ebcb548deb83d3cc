"""The health of the telemetry itself: what the SDK, the collector and Prometheus say of their own work."""

from prometheus import external_metrics
from prometheus.rule import Alert, Group
from prometheus.selectors import grown, series
from prometheus.windows import Windows, text
from sightline_telemetry.instruments import FAULTS, QUEUE_LENGTH

QUEUE_SHARE = 0.5
"""Half of the queue is left: time to look before anything is lost."""

_DASHBOARD = "/d/sightline-telemetry"
_PROCESS = "{{ $labels.job }} ({{ $labels.instance }})"


def telemetry_health(windows: Windows) -> list[Group]:
    """One group of alerts: service, collector, targets."""
    return [Group("telemetry", windows.minute_s, [*_service(windows), *_collector(windows), *_absent(windows)])]


def _service(windows: Windows) -> list[Alert]:
    window = text(windows.quarter_hour_s)
    exported = "|".join((external_metrics.SDK_SPANS_EXPORTED, external_metrics.SDK_POINTS_EXPORTED))
    dropped = f'{external_metrics.SDK_SPANS_PROCESSED}{{error_type!=""}}'
    failed = f'{{__name__=~"{exported}", error_type!=""}}'
    return [
        Alert(
            "SpansDropped",
            f"sum by (job, instance) ({grown(dropped, window)}) > 0",
            "ticket",
            f"{_PROCESS} drops spans: exemplars that point to them lead nowhere",
            f"{{{{ $value | humanize }}}} spans in {window}",
            "none",
            _DASHBOARD,
        ),
        Alert(
            "ExportsFailing",
            f"sum by (job, instance) ({grown(failed, window)}) > 0",
            "ticket",
            f"{_PROCESS} cannot hand its telemetry to the collector",
            f"{{{{ $value | humanize }}}} spans or data points in {window}",
            "none",
            _DASHBOARD,
            windows.fraction(288),
        ),
        Alert(
            "TelemetryFaults",
            f"sum by (job, instance, place) (increase({series(FAULTS)}[{window}])) > 0",
            "ticket",
            f"The telemetry of {_PROCESS} has a fault in {{{{ $labels.place }}}}; no request was harmed",
            f"{{{{ $value | humanize }}}} faults in {window}",
            "none",
            _DASHBOARD,
        ),
    ]


def _collector(windows: Windows) -> list[Alert]:
    window = text(windows.quarter_hour_s)
    lost, sent = (
        f'{{__name__=~"{"|".join(names)}"}}'
        for names in (external_metrics.COLLECTOR_LOST, external_metrics.COLLECTOR_SENT)
    )
    queue = external_metrics.COLLECTOR_QUEUE_SIZE
    return [
        Alert(
            "CollectorQueueFilling",
            f"{queue} / {external_metrics.COLLECTOR_QUEUE_CAPACITY} > {QUEUE_SHARE:g}",
            "ticket",
            "The collector's queue of {{ $labels.data_type }} for {{ $labels.exporter }} fills up",
            "{{ $value | humanizePercentage }} of its capacity",
            f"{QUEUE_SHARE:.0%} of its capacity",
            _DASHBOARD,
            windows.fraction(288),
        ),
        Alert(
            "CollectorExportsFailing",
            f"sum by (exporter, job, instance) ({queue}) > 0\n"
            f"unless on (exporter, job, instance) increase({sent}[{window}]) > 0\n"
            f"or sum by (exporter, job, instance) ({grown(lost, window)}) > 0",
            "ticket",
            "The collector cannot deliver to {{ $labels.exporter }}",
            f"{{{{ $value | humanize }}}} batches wait and none was sent in {window}, or so many items were lost",
            "none",
            _DASHBOARD,
            windows.fraction(288),
            "Retries never end, so an outage is not counted as a failure: it shows as a queue that nothing leaves.",
        ),
    ]


def _absent(windows: Windows) -> list[Alert]:
    window = text(windows.window_s)
    present = f"count by (job) ({series(QUEUE_LENGTH)})"
    return [
        Alert(
            "TargetDown",
            f"{external_metrics.UP} == 0",
            "ticket",
            f"Prometheus cannot scrape {_PROCESS}",
            "up is {{ $value }}",
            "up is 1",
            _DASHBOARD,
            windows.fraction(288),
        ),
        Alert(
            "ServiceSilent",
            f"count by (job) (max_over_time({series(QUEUE_LENGTH)}[{window}]))\nunless on (job) {present}",
            "ticket",
            "No process of {{ $labels.job }} reports any more",
            "0 processes",
            f"{{{{ $value }}}} reported within {window}",
            _DASHBOARD,
            windows.fraction(288),
            "By the service, not by process or version: replicas that are replaced and versions that retire are no "
            "fault.",
        ),
    ]
