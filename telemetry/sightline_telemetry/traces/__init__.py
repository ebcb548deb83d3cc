"""Decides which traces are kept, writes their spans, and holds the last of them in memory."""
