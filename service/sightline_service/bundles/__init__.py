"""A fitted model with its reference profile on disk: how it is built, verified and loaded."""
