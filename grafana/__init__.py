"""Dashboards as Python: what the screens ask, checked against the names of everything that is measured."""
