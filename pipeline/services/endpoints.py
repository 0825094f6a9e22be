"""Models behind an OpenAI-compatible endpoint: vLLM, TGI, llama.cpp, Ollama, `transformers serve` and others.

`Endpoint` sends conversations, which the server renders. The key comes only from the environment, and no other key is
sent: by default, Hugging Face's client would send the user's login token to any host. Each answer is written to a file
at once, so that no answer is paid for twice.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pipeline.config.credentials import ENDPOINT_KEY
from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.synthetic.drafts import Generated
from pipeline.errors import PipelineError, RequestError
from pipeline.progress import Advance
from pipeline.row_log import RowLog
from pipeline.store.hashing import content_hash

if TYPE_CHECKING:
    from huggingface_hub import InferenceClient

T = TypeVar("T")

TRIES = 6
FIRST_PAUSE = 1.0  # seconds; doubles with each try, unless the server names a pause
LONGEST_PAUSE = 60.0
TIMEOUT = 600.0  # seconds for one answer
SHOWN = 300  # most characters of a server's message in an error
FINISHED = ("stop", "eos_token", "stop_sequence")  # finish reasons of complete answers
BUSY = (408, 409, 425, 429)  # HTTP statuses after which to try again, besides all 5xx
REFUSED = (400, 413, 422)  # HTTP statuses of a request that cannot be answered


@dataclass(frozen=True)
class Endpoint:
    """One model at one address. `folder` stores the answers; prompt number n is sent with the seed `seed + n`."""

    kind: ClassVar[str] = "chat completions"

    url: str
    model: str
    decoding: DecodingConfig
    seed: int
    concurrency: int
    folder: Path
    key: str = field(default_factory=lambda: os.environ.get(ENDPOINT_KEY, ""), repr=False)

    @property
    def name(self) -> str:
        """The writer's name in a row."""
        return self.model

    def write(self, prompts: Sequence[Any], what: str, advance: Advance = lambda done: None) -> list[Generated]:
        """Return one answer to each prompt, in order. `what` names the file that stores them.

        Raises `RequestError` if the key, model or request is refused, `PipelineError` if the server does not answer.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = Kept(self.folder / f"{what.replace(' ', '-')}.jsonl")
        names = [content_hash([number, prompt]) for number, prompt in enumerate(prompts)]
        missing = [number for number, name in enumerate(names) if name not in kept.answers]
        advance(len(prompts) - len(missing))
        client = self._client()
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            asked = {pool.submit(self._answer, client, prompts[n], self.seed + n): names[n] for n in missing}
            for answered in as_completed(asked):
                kept.add(asked[answered], self._accepted(answered.result(), kept))
                advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
        return [kept.answers[name] for name in names]

    def _accepted(self, answer: "Generated | Refusal", kept: "Kept") -> Generated:
        """Return the answer, or an empty one for a refused request.

        Raises `RequestError` if no request was ever answered: then the settings are at fault, not one prompt.
        """
        if isinstance(answer, Generated):
            return answer
        if all(one.refused for one in kept.answers.values()):
            raise RequestError(f"{self.url} refused the request: {answer.reason}")
        return Generated("", stopped=False, refused=True)

    def _client(self) -> "InferenceClient":
        from huggingface_hub import InferenceClient

        # Without a key, the client would send the user's login token. So it gets a placeholder, and the header is
        # set here, or left out.
        header = {"authorization": f"Bearer {self.key}" if self.key else None}
        return InferenceClient(
            base_url=self.url,
            api_key=self.key or "none",
            headers=header,  # type: ignore[arg-type]
            timeout=TIMEOUT,
        )

    def _answer(self, client: "InferenceClient", prompt: Any, seed: int) -> "Generated | Refusal":
        """Ask until there is an answer, or the server refuses the prompt."""
        return self._insist(lambda: self._asked(client, prompt, seed))

    def _insist(self, ask: Callable[[], T]) -> "T | Refusal":
        """Ask up to `TRIES` times, with longer pauses while the server is busy or away.

        Raises `RequestError` if the server refuses the key or model, `PipelineError` if it gives no answer.
        """
        from httpx2 import TransportError
        from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, OfflineModeIsEnabled

        for attempt in range(TRIES):
            wait = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
            try:
                return ask()
            except OfflineModeIsEnabled:
                raise RequestError(f"{self.url}: HF_HUB_OFFLINE is set, by which all requests are refused.") from None
            except HfHubHTTPError as error:
                status = error.response.status_code
                message = self._server_message(error)
                if status in REFUSED:
                    return Refusal(message)
                if status < 500 and status not in BUSY:
                    raise self._refused(status, message) from None
                fault, wait = f"HTTP {status}: {message}", _named_pause(error.response.headers) or wait
            except (TransportError, InferenceTimeoutError) as error:
                fault = f"{type(error).__name__}: {error}"
            except (ValueError, TypeError, AttributeError, LookupError):
                raise RequestError(f"{self.url} is not an endpoint for {self.kind}.") from None
            if attempt + 1 < TRIES:
                time.sleep(wait)
        raise PipelineError(
            f"{self.url} was asked {TRIES} times and gave no answer ({fault}). See that it runs; the answers that came "
            "are kept, and the same command continues from there."
        )

    def _asked(self, client: "InferenceClient", prompt: Any, seed: int) -> Generated:
        answer: Any = client.chat_completion(
            prompt,
            model=self.model,
            max_tokens=self.decoding.max_new_tokens,
            temperature=self.decoding.temperature,
            top_p=self.decoding.top_p,
            seed=seed,
        )
        chosen = answer.choices[0]
        tokens = getattr(getattr(answer, "usage", None), "total_tokens", None) or 0  # not every server counts
        return Generated(str(chosen.message.content or ""), chosen.finish_reason in FINISHED, tokens=tokens)

    def _refused(self, status: int, message: str) -> RequestError:
        if status in (401, 403):
            unset = f"requests without a key, and {ENDPOINT_KEY} is not set"
            given = f"the key in {ENDPOINT_KEY}" if self.key else unset
            return RequestError(f"{self.url} refuses {given} (HTTP {status}).")
        return RequestError(f"{self.url} has no such address or model as '{self.model}' (HTTP {status}): {message}")

    def _server_message(self, error: Any) -> str:
        """Return the server's message, with the key removed."""
        return self._without_key(str(error.server_message or error.response.reason_phrase or "no reason given"))

    def _without_key(self, message: str) -> str:
        """Return the beginning of a server's message on one line, with the key removed."""
        text = re.sub(r"\s+", " ", message)
        return (text.replace(self.key, "…") if self.key else text)[:SHOWN]


@dataclass(frozen=True)
class Refusal:
    """A request that the server refused, and the reason."""

    reason: str


class Kept:
    """Answers by the name of their request, written to a file as they arrive and read when a run resumes."""

    def __init__(self, file: Path) -> None:
        self.log = RowLog(file)
        self.answers = {row.pop("name"): Generated(**row) for row in map(dict, self.log.rows)}

    def add(self, name: str, answer: Generated) -> None:
        self.log.append({"name": name, **answer._asdict()})
        self.answers[name] = answer


def _named_pause(headers: Mapping[str, str]) -> float | None:
    """Return the pause in seconds that a busy server requests, at most `LONGEST_PAUSE`; None if it requests none."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None
