"""A server of completions that takes adapters while it runs, by vLLM's `/v1/load_lora_adapter`.

Each state of a policy has a name of its own: under an old name, a server may go on with what it has cached
(vllm#42125).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.errors import RequestError
from pipeline.services.completions import Completions
from pipeline.services.endpoints import BUSY, TIMEOUT

AWAY = (502, 503, 504)  # HTTP statuses of a gateway or a server that is starting


class _Declined(Exception):
    """The server answered that it does not load or unload an adapter."""


@dataclass(frozen=True)
class AdapterServer(Completions):
    """A server with one base model, and adapters on it under names."""

    kind: ClassVar[str] = "completions with adapters"

    def hand_over(self, name: str, folder: Path, prefix: str) -> None:
        """Have the server load the adapter in a folder under a name, and unload others whose names begin with `prefix`.

        Raises `RequestError` if the server does not load it, `PipelineError` if it does not answer.
        """
        listed = self.models() or []
        self._unload([one for one in listed if one.startswith(prefix) and one != name])
        if name not in listed:
            try:
                self._insist(lambda: self._change("load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}))
            except _Declined as why:
                if name in (self.models() or []):
                    return  # loaded by a request whose answer was lost
                raise RequestError(f"{self.url} does not load the adapter in {folder} ({why}).") from None

    def take_back(self, prefix: str) -> None:
        """Have the server unload all adapters whose names begin with `prefix`; one that is away keeps them."""
        self._unload([one for one in self.models() or [] if one.startswith(prefix)])

    def _unload(self, names: list[str]) -> None:
        from httpx2 import TransportError
        from huggingface_hub.errors import HfHubHTTPError

        for name in names:
            try:
                self._change("unload_lora_adapter", {"lora_name": name})
            except (_Declined, TransportError, HfHubHTTPError):
                continue  # it takes room at the server and nothing else: no answer is asked of it again

    def _change(self, path: str, body: Mapping[str, str]) -> None:
        """Send a change of adapters. Raises `_Declined` with the server's words, or huggingface_hub's errors."""
        from huggingface_hub import get_session, hf_raise_for_status

        header = {"authorization": f"Bearer {self.key}"} if self.key else {}
        address = f"{self.url.rstrip('/')}/{path}"
        response = get_session().request("POST", address, json=body, headers=header, timeout=TIMEOUT)
        status = response.status_code
        if status >= 400 and status not in (401, 403, *BUSY, *AWAY):
            raise _Declined(f"HTTP {status}: {self._without_key(response.text)}")
        hf_raise_for_status(response)
