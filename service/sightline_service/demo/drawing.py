"""Draws a trace as text: one line per span, indented under its parent, with a bar for its time."""

from collections.abc import Iterator, Sequence

from sightline_service.diagnostics.clients import StoredSpan

WIDTH = 40


def draw_trace(trace_id: str, spans: Sequence[StoredSpan]) -> str:
    """Draws the spans of one trace; offsets and durations in milliseconds."""
    ids = {span.span_id for span in spans}
    roots = [span for span in spans if span.parent_id not in ids]
    start = min(span.start_ns for span in spans)
    whole = max(span.end_ns for span in spans) - start or 1
    lines = [f"trace {trace_id}"]
    for depth, span in _ordered(spans, roots, 0):
        begin, end = span.start_ns - start, span.end_ns - start
        first = min(WIDTH - 1, begin * WIDTH // whole)
        bar = " " * first + "█" * max(1, (end - begin) * WIDTH // whole)
        name = "  " * depth + span.name
        lines.append(f"  {name:28} {bar[:WIDTH]:{WIDTH}} {begin / 1e6:9.2f} ms + {(end - begin) / 1e6:9.2f} ms")
    for root in roots:
        lines += [f"  {name} = {value}" for name, value in root.attributes.items()]
    return "\n".join(lines)


def _ordered(spans: Sequence[StoredSpan], level: Sequence[StoredSpan], depth: int) -> Iterator[tuple[int, StoredSpan]]:
    for span in sorted(level, key=lambda span: span.start_ns):
        yield depth, span
        yield from _ordered(spans, [child for child in spans if child.parent_id == span.span_id], depth + 1)
