"""Counts what a model receives and predicts, and compares it with the training data."""
