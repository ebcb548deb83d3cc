"""How counts and traces leave the process: OTLP and the scrape endpoint."""
