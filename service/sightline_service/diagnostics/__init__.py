"""Examines a running deployment from outside."""
