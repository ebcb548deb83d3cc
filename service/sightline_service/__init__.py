"""One scikit-learn model over HTTP."""
