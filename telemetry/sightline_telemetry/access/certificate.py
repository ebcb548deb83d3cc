"""The certificate of a service and its private key, which are read again when their files change."""

import logging
import ssl
from pathlib import Path

from sightline_telemetry.access.watched_file import UnusableFileError, check_private, signature_of

_log = logging.getLogger(__name__)


class Certificate:
    """A certificate with its chain, and the private key of it, both in PEM.

    Raises UnusableFileError for files that cannot be used. Files that become so later change nothing, and are logged:
    while both are exchanged, they do not belong together.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self.cert = cert
        self.key = key
        self._signature = signature_of(cert, key)
        self._contexts: list[ssl.SSLContext] = []
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def context(self) -> ssl.SSLContext:
        """Returns a context of a server, whose new connections have the files as they are then."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load(context)
        self.keep_in(context)
        return context

    def keep_in(self, context: ssl.SSLContext) -> None:
        """Lets new connections of a context have the files as they are then."""
        self._contexts.append(context)

    def look(self) -> None:
        """Reads the files again if one has changed."""
        signature = signature_of(self.cert, self.key)
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # if they do not fit, no context is touched
            for context in self._contexts:
                self._load(context)
        except UnusableFileError as error:
            _log.error("the certificate stays as it was: %s", error)  # the text says all of it
        else:
            _log.info("the certificate was read again: %s", self.cert)

    def _load(self, context: ssl.SSLContext) -> None:
        check_private(self.key, "the private key")
        try:
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self.cert, self.key, password=lambda: "")
        except ssl.SSLError as error:
            reason = (error.reason or "no PEM").replace("_", " ").lower()
            raise UnusableFileError(
                f"the certificate {self.cert} and the private key {self.key} cannot be used ({reason}): both must be "
                "PEM, the key without a password, and belong together"
            ) from error
        except OSError as error:
            raise UnusableFileError(f"the certificate {self.cert} cannot be read: {error.strerror}") from error
