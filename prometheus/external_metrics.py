"""Metrics that rules, runbooks and dashboards use and that are not ours: their names in Prometheus, and their labels.

The collector's were read from its own scrape (0.165: counters without `_total`), the SDK's from its source (1.45).
"""

UP = "up"
ALERTS = "ALERTS"

SDK_SPANS_PROCESSED = "otel_sdk_processor_span_processed_total"
SDK_SPANS_EXPORTED = "otel_sdk_exporter_span_exported_total"
SDK_POINTS_EXPORTED = "otel_sdk_exporter_metric_data_point_exported_total"
SDK_EXPORTS = "otel_sdk_exporter_operation_duration_seconds_count"
SDK_EXPORT_SECONDS = "otel_sdk_exporter_operation_duration_seconds_sum"
SDK_COLLECTION_SECONDS = "otel_sdk_metric_reader_collection_duration_seconds_sum"
SDK_QUEUE_SIZE = "otel_sdk_processor_span_queue_size"
SDK_QUEUE_CAPACITY = "otel_sdk_processor_span_queue_capacity"

COLLECTOR_QUEUE_SIZE = "otelcol_exporter_queue_size"
COLLECTOR_QUEUE_CAPACITY = "otelcol_exporter_queue_capacity"
COLLECTOR_SENT = ("otelcol_exporter_sent_spans", "otelcol_exporter_sent_metric_points")
COLLECTOR_LOST = (
    "otelcol_exporter_send_failed_spans",
    "otelcol_exporter_send_failed_metric_points",
    "otelcol_exporter_enqueue_failed_spans",
    "otelcol_exporter_enqueue_failed_metric_points",
)
COLLECTOR_RECEIVED = (
    "otelcol_receiver_accepted_spans",
    "otelcol_receiver_accepted_metric_points",
    "otelcol_receiver_refused_spans",
    "otelcol_receiver_refused_metric_points",
)

_SDK = frozenset({"otel_component_type", "otel_component_name", "error_type", "server_address", "server_port"})
_EXPORTER = frozenset({"exporter", "data_type"})

EXTERNAL: dict[str, frozenset[str]] = {
    UP: frozenset(),
    ALERTS: frozenset({"alertname", "alertstate", "severity"}),
    **dict.fromkeys((SDK_SPANS_PROCESSED, SDK_SPANS_EXPORTED, SDK_POINTS_EXPORTED), _SDK),
    **dict.fromkeys((SDK_EXPORTS, SDK_EXPORT_SECONDS, SDK_COLLECTION_SECONDS), _SDK),
    **dict.fromkeys((SDK_QUEUE_SIZE, SDK_QUEUE_CAPACITY), _SDK),
    **dict.fromkeys((COLLECTOR_QUEUE_SIZE, COLLECTOR_QUEUE_CAPACITY), _EXPORTER),
    **dict.fromkeys((*COLLECTOR_SENT, *COLLECTOR_LOST), _EXPORTER),
    **dict.fromkeys(COLLECTOR_RECEIVED, frozenset({"receiver", "transport"})),
}
