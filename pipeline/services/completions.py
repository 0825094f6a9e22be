"""Policies that an OpenAI-compatible server draws from: prompts are sent as they are, to `/v1/completions`.

The server renders no template. Prompts are token ids, or texts for servers that take no ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.data.synthetic.drafts import Generated
from pipeline.services.endpoints import FINISHED, TIMEOUT, Endpoint, Refusal

if TYPE_CHECKING:
    from huggingface_hub import InferenceClient


@dataclass(frozen=True)
class Completions(Endpoint):
    """One policy at one server. `request` are further fields of each request, in the server's own words."""

    kind: ClassVar[str] = "completions"

    request: Mapping[str, Any] = field(default_factory=dict)

    def takes_ids(self, prompt: list[int]) -> bool:
        """Ask for one token. Return whether the server takes token ids; it may take texts only, if not."""
        return not isinstance(self._answer(self._client(), prompt, self.seed), Refusal)

    def models(self) -> list[str] | None:
        """Return the names of the models that the server lists; None if it lists none. It is asked once."""
        from httpx2 import HTTPError
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            return [str(one["id"]) for one in self._sent("models", None)["data"]]
        except (HTTPError, HfHubHTTPError, OfflineModeIsEnabled, ValueError, TypeError, LookupError):
            return None  # one that is away is told when it is asked to draw

    def _asked(self, client: "InferenceClient", prompt: Any, seed: int) -> Generated:
        body = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": self.decoding.max_new_tokens,
            "temperature": self.decoding.temperature,
            "top_p": self.decoding.top_p,
            "seed": seed,
            **self.request,
        }
        answer = self._sent("completions", body)
        chosen, usage = answer["choices"][0], answer.get("usage") or {}
        return Generated(
            str(chosen["text"]),
            chosen["finish_reason"] in FINISHED,
            tokens=usage.get("total_tokens") or 0,
            read=usage.get("prompt_tokens"),
            ids=chosen.get("token_ids"),
            logprobs=(chosen.get("logprobs") or {}).get("token_logprobs"),
        )

    def _sent(self, path: str, body: Mapping[str, Any] | None) -> Any:
        """Return the server's reply to a body, or to a request without one. Raises huggingface_hub's errors."""
        from huggingface_hub import get_session, hf_raise_for_status

        header = {"authorization": f"Bearer {self.key}"} if self.key else {}
        address, method = f"{self.url.rstrip('/')}/{path}", "GET" if body is None else "POST"
        response = get_session().request(method, address, json=body, headers=header, timeout=TIMEOUT)
        hf_raise_for_status(response)
        return response.json()
