"""Turns the bytes of a connection into a request, and a reply into bytes; knows no model."""
