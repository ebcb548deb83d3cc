"""Metrics that the dashboards use and that are not ours, under their names in Prometheus; with who makes them."""

CPU_TIME = "process_cpu_time_seconds_total"
MEMORY = "process_memory_usage_bytes"

FOREIGN = {
    CPU_TIME: "opentelemetry-instrumentation-system-metrics",
    MEMORY: "opentelemetry-instrumentation-system-metrics",
}
