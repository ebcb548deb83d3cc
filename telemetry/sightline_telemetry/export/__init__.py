"""Sends counts and traces out of the process, by OTLP and by the scrape endpoint."""
