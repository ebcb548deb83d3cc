"""Counts as values: frozen, added, sent and exported. `fold` is the only place that counts."""
