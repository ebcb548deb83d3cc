"""Examines a running deployment from outside: clients of its parts, and the doctor that visits them."""
