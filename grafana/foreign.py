"""Metrics that the dashboards use and that are not ours, under their names in Prometheus; with who makes them.

The SDK's were read from what it exports (1.45): the series of an error exists once there was one.
"""

SPANS_PROCESSED = "otel_sdk_processor_span_processed_total"
SPAN_QUEUE_SIZE = "otel_sdk_processor_span_queue_size"
SPAN_QUEUE_CAPACITY = "otel_sdk_processor_span_queue_capacity"
POINTS_EXPORTED = "otel_sdk_exporter_metric_data_point_exported_total"
EXPORT_SECONDS = "otel_sdk_exporter_operation_duration_seconds_sum"
EXPORTS = "otel_sdk_exporter_operation_duration_seconds_count"
COLLECTION_SECONDS = "otel_sdk_metric_reader_collection_duration_seconds_sum"

_SDK = "opentelemetry-sdk"
FOREIGN = dict.fromkeys(
    (
        SPANS_PROCESSED,
        SPAN_QUEUE_SIZE,
        SPAN_QUEUE_CAPACITY,
        POINTS_EXPORTED,
        EXPORT_SECONDS,
        EXPORTS,
        COLLECTION_SECONDS,
    ),
    _SDK,
)
FOREIGN_LABELS = frozenset({"otel_component_type", "otel_component_name", "error_type"})
