"""Wraps Argilla's client: every fault becomes one `LabelingError`, and nothing is printed.

`argilla.Argilla` opens the connection and checks the key. Requests go through its HTTP client, since its own classes
lose ranks (argilla issue 5677), return None with a warning for missing things, and draw progress bars. Connecting is
retried for about 7 s, and a request is sent once more if its connection breaks, which bridges a restart of the server.
That is safe, since all requests here are idempotent.
"""

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import httpx

from labeling.backend import LabelingError
from labeling.server import Connection
from labeling.server.connection import trusted

PAGE = 1_000  # records per request; Argilla's maximum
TIMEOUT = 120.0  # seconds; large bulks are slow on a busy machine
CONNECT_RETRIES = 5
_OPENING = threading.Lock()  # warning filters and log handlers are global


class Client:
    """One account's view of a server. Paths start below `/api/v1`; `doing` names a request in messages."""

    def __init__(self, connection: Connection) -> None:
        """Open the connection. Raises `LabelingError` without an Argilla, for a refused key, or another version."""
        self.url = connection.url.rstrip("/")
        self._http = _open(connection)
        self._check_version()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, doing: str, **params: Any) -> Any:
        return self._ask("GET", path, doing, params=params)

    def post(self, path: str, doing: str, body: Any, **params: Any) -> Any:
        return self._ask("POST", path, doing, json=body, params=params)

    def put(self, path: str, doing: str, body: Any = None) -> Any:
        return self._ask("PUT", path, doing, json=body)

    def patch(self, path: str, doing: str, body: Any) -> Any:
        return self._ask("PATCH", path, doing, json=body)

    def workspaces(self) -> dict[str, str]:
        """Return name -> id of the workspaces visible to this account."""
        return {space["name"]: space["id"] for space in self.get("/me/workspaces", "list the workspaces")["items"]}

    def dataset(self, workspace_id: str, name: str) -> dict[str, Any] | None:
        found = self.get("/me/datasets", f"look up dataset '{name}'", workspace_id=workspace_id, name=name)["items"]
        return found[0] if found else None

    def records(self, dataset: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield all records of a dataset with all responses, from the server's tables; needs an owner's key."""
        path, doing = f"/datasets/{dataset['id']}/records", f"read dataset '{dataset['name']}'"
        offset, total = 0, 1
        while offset < total:
            page = self.get(path, doing, offset=offset, limit=PAGE, include="responses")
            yield from page["items"]
            offset, total = offset + PAGE, page["total"]

    def own_records(self, dataset: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield all records of a dataset as an annotator sees them, with only this account's response."""
        path, doing = f"/me/datasets/{dataset['id']}/records/search", f"search dataset '{dataset['name']}'"
        offset, total = 0, 1
        while offset < total:
            page = self.post(path, doing, {}, offset=offset, limit=PAGE, include="responses")
            yield from (item["record"] for item in page["items"])
            offset, total = offset + PAGE, page["total"]

    def _ask(self, method: str, path: str, doing: str, **request: Any) -> Any:
        with _faults(self.url, doing):
            try:
                answer = self._http.request(method, f"/api/v1{path}", **request)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                answer = self._http.request(method, f"/api/v1{path}", **request)
            if answer.is_error:
                _refused(self.url, doing, answer.status_code, _detail(answer))
            return answer.json()

    def _check_version(self) -> None:
        import argilla

        theirs = str(self.get("/version", "tell its version").get("version"))
        if theirs.split(".")[:2] != argilla.__version__.split(".")[:2]:
            raise LabelingError(
                f"{self.url} runs Argilla {theirs}, but the client here is {argilla.__version__}, and both need "
                "the same minor version. Bring the server to that version; "
                "`python -m labeling serve` starts one that fits.",
                fault="request",
            )


def _open(connection: Connection) -> httpx.Client:
    with _quiet(), _faults(connection.url, "log in"):
        import argilla
        from argilla._exceptions import ArgillaAPIError, ArgillaCredentialsError

        try:
            client = argilla.Argilla(
                connection.url,
                connection.api_key,
                timeout=TIMEOUT,
                retries=CONNECT_RETRIES,
                verify=trusted(connection.certificate),
            )
        except ArgillaCredentialsError:
            _refused(connection.url, "log in", httpx.codes.UNAUTHORIZED)
        except ArgillaAPIError as error:
            if error.status_code == httpx.codes.NOT_FOUND:
                raise _no_argilla(connection.url) from None
            _refused(connection.url, "log in", error.status_code)
        except (TypeError, AttributeError):  # JSON, but not of a user
            raise _no_argilla(connection.url) from None
        http: httpx.Client = client.http_client
        return http


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress messages of Argilla and httpx, and restore the program's logging."""
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("httpx", "argilla.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)
        handlers = list(logging.root.handlers)
        try:
            yield
        finally:
            logging.root.handlers[:] = handlers  # the client's first message adds one


@contextlib.contextmanager
def _faults(url: str, doing: str) -> Iterator[None]:
    try:
        yield
    except httpx.ConnectError as error:
        raise LabelingError(
            f"No Argilla answers at {url} ({error}). Start it with `python -m labeling serve`, or check the URL."
        ) from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise LabelingError(f"{url!r} is not a server's URL: {error}", fault="request") from None
    except httpx.TimeoutException:
        raise LabelingError(f"Argilla at {url} took more than {TIMEOUT:.0f} s to {doing}. Try again later.") from None
    except httpx.HTTPError as error:
        raise LabelingError(
            f"The connection to Argilla at {url} broke while trying to {doing} ({type(error).__name__}). "
            "Confirmed data is not lost: check that the server runs, then repeat the command."
        ) from None
    except ValueError:  # not JSON, or not of a user
        raise _no_argilla(url) from None


def _no_argilla(url: str) -> LabelingError:
    return LabelingError(f"The server at {url} is not Argilla. Check the URL.", fault="request")


def _refused(url: str, doing: str, status: int, detail: str = "") -> NoReturn:
    if status == httpx.codes.UNAUTHORIZED:
        message = "does not know this API key. An owner finds theirs on Argilla's page, under My settings."
    elif status == httpx.codes.FORBIDDEN:
        message = f"does not let this key's account {doing}. Use an owner's key."
    elif status >= 500:
        raise LabelingError(f"Argilla at {url} failed to {doing} (HTTP {status}). See its log.")
    else:
        message = f"would not {doing} (HTTP {status}){': ' + detail if detail else ''}"
    raise LabelingError(f"Argilla at {url} {message}", fault="request")


def _detail(answer: httpx.Response) -> str:
    """Return Argilla's error message, shortened, since it can repeat the request's text."""
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        return ""
    if isinstance(detail, str):
        return detail[:300]
    errors = detail.get("params", {}).get("errors", []) if isinstance(detail, dict) else detail or []
    return "; ".join(f"{'.'.join(map(str, error.get('loc', ())))}: {error.get('msg')}" for error in errors[:3])
