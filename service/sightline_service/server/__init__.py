"""From the bytes of a connection to a request, and from an answer to bytes; knows no model."""
