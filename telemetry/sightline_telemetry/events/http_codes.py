"""Methods, schemes and versions of HTTP by the numbers that stand for them in events and in shared memory."""

METHODS = ("_OTHER", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
"""Methods by their code; a method that is not among them is `_OTHER`, as in the semantic conventions."""
SCHEMES = ("http", "https")
HTTP_VERSIONS = ("other", "1.0", "1.1", "2", "3")

METHOD_CODES = {method: code for code, method in enumerate(METHODS)}
SCHEME_CODES = {scheme: code for code, scheme in enumerate(SCHEMES)}
HTTP_VERSION_CODES = {version: code for code, version in enumerate(HTTP_VERSIONS)}
