"""What a client of a service brings: its key, and the certificates that it trusts."""

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx

from sightline_service.errors import SettingsError

VARIABLE = "SIGHTLINE_API_KEY"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key, empty without one, and a file of certificates to trust; None for those of the system.

    A key comes from a file or from the environment, never from an argument, which other users of the machine may see.
    """

    key: str = field(default="", repr=False)
    ca: Path | None = None

    @classmethod
    def read(cls, key_file: Path | None, ca: Path | None) -> Self:
        """Reads the key from a file, or without one from SIGHTLINE_API_KEY.

        Raises SettingsError for files that cannot be used.
        """
        key = os.environ.get(VARIABLE, "").strip()
        if key_file is not None:
            try:
                key = key_file.read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"the key file {key_file} cannot be read: {error}") from error
        if not key.isascii() or any(not character.isprintable() or character == " " for character in key):
            raise SettingsError(
                f"{key_file or VARIABLE} has no key: one line is expected, as `sightline key add` prints"
            )
        if key_file is not None and not key:
            raise SettingsError(f"the key file {key_file} is empty")
        credentials = cls(key, ca)
        credentials.tls()
        return credentials

    @property
    def headers(self) -> dict[str, str]:
        """Returns the headers of each request to the service."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def tls(self) -> ssl.SSLContext | bool:
        """Returns what a client verifies the service with. Raises SettingsError for a file without certificates."""
        if self.ca is None:
            return True
        try:
            return ssl.create_default_context(cafile=str(self.ca))
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"{self.ca} has no certificates in PEM that can be read: {error}") from error

    def client_options(self) -> dict[str, Any]:
        """Returns the options of a client of httpx for one service: a redirect is an answer, so no key follows it."""
        return {"headers": self.headers, "verify": self.tls(), "follow_redirects": False}


NONE = Credentials()


def check_allowed(response: httpx.Response) -> None:
    """Raises SettingsError if the service refuses the key, or asks for one."""
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        detail = response.json().get("detail", "") if "json" in response.headers.get("content-type", "") else ""
        raise SettingsError(
            f"the service at {response.url.netloc.decode()} asks for a key with the scopes `predict`, `feedback` and "
            f"`read` ({detail or response.status_code}); name its file by --key-file, or set {VARIABLE}"
        )
