"""Watches a service: reads its events, folds them, decides about traces, exports, logs and answers scrapes."""
