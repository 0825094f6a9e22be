"""Connections: URL and API key of the running server of a home, or of one that the environment names."""

import os
import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx

from labeling.backend import LabelingError
from labeling.server.home import Home

URL_VARIABLE = "ARGILLA_API_URL"
KEY_VARIABLE = "ARGILLA_API_KEY"


@dataclass(frozen=True)
class Connection:
    """A server's URL and the API key of an account. The key never appears in a repr."""

    url: str
    api_key: str = field(repr=False)
    certificate: Path | None = None  # the trusted certificate, if our own server uses TLS

    def client(self, timeout: float = 30.0) -> httpx.Client:
        """Return an HTTP client with this account's key; its paths start at `/api/v1`."""
        return httpx.Client(
            base_url=f"{self.url.rstrip('/')}/api/v1",
            headers={"X-Argilla-Api-Key": self.api_key},
            timeout=timeout,
            verify=trusted(self.certificate),
        )

    def answers(self, timeout: float = 10.0) -> bool:
        """Return whether the server answers now and knows this key; another server on the same port does not."""
        try:
            with self.client(timeout) as client:
                return client.get("/me").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


def trusted(certificate: Path | None) -> ssl.SSLContext:
    """Return an HTTP client's `verify` option: the usual authorities, plus our own certificate if there is one."""
    if certificate is None:
        return _usual_authorities()
    context = ssl.create_default_context()
    context.load_verify_locations(certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust it without its issuer
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = False  # it can be issued for the team's name of this machine
    return context


@cache  # to read them takes 20 ms, and a command makes several clients
def _usual_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def running(home: Path) -> Connection | None:
    """Return a connection to the running server of this home, with its owner's key; None if none answers."""
    place = Home(home)
    state, secrets = place.state(), place.secrets()
    if state is None or secrets is None:
        return None
    connection = Connection(state.url, secrets.api_key, Path(state.certificate) if state.certificate else None)
    return connection if connection.answers() else None


def address(home: Path, connection: Connection) -> str:
    """Return the address for people: it has this machine's name if the server of `home` listens on all addresses."""
    state = Home(home).state()
    return state.address if state is not None and state.url == connection.url else connection.url


def remote() -> Connection:
    """Return a connection to the server named by ARGILLA_API_URL and ARGILLA_API_KEY.

    Raises `LabelingError` (request) that names missing variables, and for a URL without http:// or https://.
    """
    missing = [name for name in (URL_VARIABLE, KEY_VARIABLE) if not os.environ.get(name)]
    if missing:
        raise LabelingError(
            f"Not set in the environment: {' and '.join(missing)}. A remote Argilla is reached by {URL_VARIABLE} and "
            f"{KEY_VARIABLE} (an owner's key: Argilla's page, My settings).",
            fault="request",
        )
    url = os.environ[URL_VARIABLE]
    if not url.startswith(("http://", "https://")):
        raise LabelingError(f"{URL_VARIABLE} must begin with http:// or https://, but is {url!r}.", fault="request")
    return Connection(url.rstrip("/"), os.environ[KEY_VARIABLE])
