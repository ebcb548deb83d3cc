"""Endpoints: each only translates between HTTP and the service."""
