"""From the rows of a request to predictions: reading, checking, queueing, the model."""
