"""Draws a trace as text: one line per span, indented under its parent, with a bar for its time."""

from collections.abc import Iterator
from typing import Any

WIDTH = 40


def draw_trace(traces: dict[str, Any]) -> str:
    """Draws an OTLP/JSON `TracesData` of one trace; offsets and durations in milliseconds."""
    spans = [span for r in traces["resourceSpans"] for scope in r["scopeSpans"] for span in scope["spans"]]
    ids = {span["spanId"] for span in spans}
    roots = [span for span in spans if span.get("parentSpanId", "") not in ids]
    start = min(int(span["startTimeUnixNano"]) for span in spans)
    whole = max(int(span["endTimeUnixNano"]) for span in spans) - start or 1
    lines = [f"trace {spans[0]['traceId']}"]
    for depth, span in _ordered(spans, roots, 0):
        begin, end = int(span["startTimeUnixNano"]) - start, int(span["endTimeUnixNano"]) - start
        first = min(WIDTH - 1, begin * WIDTH // whole)
        bar = " " * first + "█" * max(1, (end - begin) * WIDTH // whole)
        name = "  " * depth + span["name"]
        lines.append(f"  {name:28} {bar[:WIDTH]:{WIDTH}} {begin / 1e6:9.2f} ms + {(end - begin) / 1e6:9.2f} ms")
    for root in roots:
        lines += [f"  {attribute['key']} = {_value(attribute['value'])}" for attribute in root.get("attributes", ())]
    return "\n".join(lines)


def _ordered(
    spans: list[dict[str, Any]], level: list[dict[str, Any]], depth: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    for span in sorted(level, key=lambda span: int(span["startTimeUnixNano"])):
        yield depth, span
        children = [child for child in spans if child.get("parentSpanId") == span["spanId"]]
        yield from _ordered(spans, children, depth + 1)


def _value(value: dict[str, Any]) -> str:
    return str(next(iter(value.values())))
