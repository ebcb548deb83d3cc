"""How full a process is: rows that wait for the model, CPU, memory; and the workers that died of it."""

from prometheus.rule import Alert, Group, Record
from prometheus.selectors import PROCESS, VERSION, buckets, grown, series, with_model
from prometheus.windows import Windows, text
from sightline_telemetry.instruments import PROCESS_CPU_TIME, PROCESS_MEMORY_USAGE, QUEUE_DURATION, WORKER_DEATHS

MAX_WAIT_S = 0.1
"""A fifth of what a request may take: a wait that long is a queue, not a batch that fills."""

MAX_CORES = 0.9
"""One event loop and one thread for the model, both under Python's lock, use little more than one core."""

MEMORY_GROWTH = 1.5
MEMORY_GROWTH_BYTES = 256 * 2**20
"""Half as much again, and as much as a second model would take: less is what caches do."""

_WORKER = f"{PROCESS}, worker"
"""One of the processes behind an instance; in a service without an observer process there is one, without the label."""

_DASHBOARD = "/d/sightline-overview?var-model={{ $labels.model_name }}&var-version={{ $labels.model_version }}"
_MODEL = "{{ $labels.model_name }} {{ $labels.model_version }}"
_AT = "{{ $labels.instance }}{{ with $labels.worker }}, worker {{ . }}{{ end }}"


def saturation(windows: Windows) -> list[Group]:
    """One group: waits by model version, CPU and memory by worker."""
    return [Group("saturation", windows.minute_s, [*_records(windows), *_alerts(windows)])]


def _records(windows: Windows) -> list[Record]:
    window = text(windows.quarter_hour_s)
    process = f"{_WORKER}, {VERSION}"
    waits = f"rate({buckets(QUEUE_DURATION)}[{window}])"
    cpu = with_model(f"sum by ({_WORKER}) (rate({series(PROCESS_CPU_TIME)}[{window}]))")
    memory = with_model(f"sum by ({_WORKER}) ({series(PROCESS_MEMORY_USAGE)})")
    return [
        Record(
            "saturation:queue_wait:p95",
            f"histogram_quantile(0.95, sum by ({VERSION}, le) ({waits})) >= 0",
            why="Without requests the quantile is NaN, and NaN >= 0 is nothing.",
        ),
        Record("saturation:cpu_cores", f"max by ({process}) (\n  {cpu}\n)"),
        Record("saturation:memory_bytes", f"max by ({process}) (\n  {memory}\n)"),
    ]


def _alerts(windows: Windows) -> list[Alert]:
    part, ago = text(windows.fraction(4)), text(windows.window_s - windows.fraction(4))
    before = f"max_over_time(saturation:memory_bytes[{part}] offset {ago})"
    now = f"min_over_time(saturation:memory_bytes[{part}])"
    waits = f"saturation:queue_wait:p95 > {MAX_WAIT_S:g}"
    window = text(windows.quarter_hour_s)
    deaths = f"sum by ({PROCESS}, signal) ({grown(series(WORKER_DEATHS), window)}) > 0"
    return [
        Alert(
            "QueueSaturated",
            f"{waits}\nunless on ({VERSION}) saturation:cpu_cores > {MAX_CORES:g}",
            "ticket",
            f"Rows wait for {_MODEL} before it predicts them, and the CPU is not the reason",
            "one request in twenty waits longer than {{ $value | humanizeDuration }}",
            f"{MAX_WAIT_S:g} s",
            _DASHBOARD,
            windows.quarter_hour_s,
        ),
        Alert(
            "CpuSaturated",
            f"saturation:cpu_cores > {MAX_CORES:g}\nand on ({VERSION}) {waits}",
            "ticket",
            f"A process of {_MODEL} ({_AT}) has used up its CPU, and requests wait",
            '{{ printf "%.2f" $value }} cores',
            f"{MAX_CORES:g} cores while requests wait longer than {MAX_WAIT_S:g} s",
            _DASHBOARD,
            windows.quarter_hour_s,
            "A busy CPU that delays no request is money well spent.",
        ),
        Alert(
            "MemoryGrowing",
            f"{now} / {before} > {MEMORY_GROWTH:g}\nand {now} - {before} > {MEMORY_GROWTH_BYTES}",
            "ticket",
            f"A process of {_MODEL} ({_AT}) keeps taking memory",
            "{{ $value | humanize }} times the memory of a window ago",
            f"{MEMORY_GROWTH:g} times, and {MEMORY_GROWTH_BYTES // 2**20} MiB more",
            _DASHBOARD,
            why=f"The least of the last {part} against the most of as long a time at the window's start: a peak on "
            "either side is no leak, and a process that just started has no start to compare with.",
        ),
        Alert(
            "WorkersDying",
            deaths,
            "ticket",
            "Workers of {{ $labels.job }} ({{ $labels.instance }}) die by {{ $labels.signal }}, and requests with them",
            f"{{{{ $value | humanize }}}} workers in {window}",
            "none",
            "/d/sightline-overview",
        ),
    ]
