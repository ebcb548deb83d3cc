"""Recording rules and alerts: Python says them once, YAML of one window is what Prometheus loads.

`python -m prometheus.write` writes `rules/`; `runbooks/` has a page for each alert.
"""
