"""Models behind an endpoint that speaks OpenAI's language: vLLM, TGI, llama.cpp, Ollama, `transformers serve`, others.

The key comes from the environment alone, and no other is ever sent: Hugging Face's client would add the token of its
own login, to whatever host. An answer is kept in a file as soon as it is there, so that nothing is paid for twice.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.credentials import ENDPOINT_KEY
from pipeline.config.schema import DecodingConfig
from pipeline.data.rows import Message
from pipeline.data.synthetic.drafts import Generated
from pipeline.errors import PipelineError, RequestError
from pipeline.progress import Advance
from pipeline.row_log import RowLog
from pipeline.store.hashing import content_hash

if TYPE_CHECKING:
    from huggingface_hub import InferenceClient

TRIES = 6
FIRST_PAUSE = 1.0  # seconds; each further one is twice as long, unless the server names another
LONGEST_PAUSE = 60.0
TIMEOUT = 600.0  # seconds for one answer
SHOWN = 300  # characters of what a server says
FINISHED = ("stop", "eos_token", "stop_sequence")  # as servers say that an answer came to its end
BUSY = (408, 409, 425, 429)  # as they say that it is worth asking again; so does any 5xx
REFUSED = (400, 413, 422)  # as they say that this request cannot be answered


@dataclass(frozen=True)
class Endpoint:
    """One model at one address. `folder` has the answers that are there already; `seed` is sent with each request."""

    url: str
    model: str
    decoding: DecodingConfig
    seed: int
    concurrency: int
    folder: Path
    key: str = field(default_factory=lambda: os.environ.get(ENDPOINT_KEY, ""), repr=False)

    @property
    def name(self) -> str:
        """Who wrote it, in a row."""
        return self.model

    def write(
        self, prompts: Sequence[list[Message]], what: str, advance: Advance = lambda done: None
    ) -> list[Generated]:
        """One answer to each prompt, in the order given; `what` names the file in which they are kept.

        Raises `RequestError` where key, model or request are refused, `PipelineError` where the server stays away.
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
        """A refused request costs one draft; where none was ever answered, it is the request that is wrong."""
        if isinstance(answer, Generated):
            return answer
        if all(one.refused for one in kept.answers.values()):
            raise RequestError(f"{self.url} refused the request: {answer.reason}")
        return Generated("", stopped=False, refused=True)

    def _client(self) -> "InferenceClient":
        from huggingface_hub import InferenceClient

        # With no key at all the client would send the token of its own login: it is given one, and the header is
        # then set by hand, or left out.
        header = {"authorization": f"Bearer {self.key}" if self.key else None}
        return InferenceClient(
            base_url=self.url,
            api_key=self.key or "none",
            headers=header,  # type: ignore[arg-type]
            timeout=TIMEOUT,
        )

    def _answer(self, client: "InferenceClient", prompt: list[Message], seed: int) -> "Generated | Refusal":
        """Ask until there is an answer, with longer and longer pauses while the server is busy or away."""
        from httpx2 import TransportError
        from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError, OfflineModeIsEnabled

        for attempt in range(TRIES):
            wait = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
            try:
                return self._asked(client, prompt, seed)
            except OfflineModeIsEnabled:
                raise RequestError(f"{self.url}: HF_HUB_OFFLINE is set, by which all requests are refused.") from None
            except HfHubHTTPError as error:
                status = error.response.status_code
                said = self._said(error)
                if status in REFUSED:
                    return Refusal(said)
                if status < 500 and status not in BUSY:
                    raise self._refused(status, said) from None
                fault, wait = f"HTTP {status}: {said}", _named_pause(error.response.headers) or wait
            except (TransportError, InferenceTimeoutError) as error:
                fault = f"{type(error).__name__}: {error}"
            except (ValueError, TypeError, AttributeError, LookupError):
                raise RequestError(f"What answers at {self.url} is no endpoint for chat completions.") from None
            if attempt + 1 < TRIES:
                time.sleep(wait)
        raise PipelineError(
            f"{self.url} was asked {TRIES} times and gave no answer ({fault}). See that it runs; the answers that came "
            "are kept, and the same command goes on from there."
        )

    def _asked(self, client: "InferenceClient", prompt: list[Message], seed: int) -> Generated:
        answer: Any = client.chat_completion(
            prompt,  # type: ignore[arg-type]
            model=self.model,
            max_tokens=self.decoding.max_new_tokens,
            temperature=self.decoding.temperature,
            top_p=self.decoding.top_p,
            seed=seed,
        )
        chosen = answer.choices[0]
        return Generated(str(chosen.message.content or ""), chosen.finish_reason in FINISHED)

    def _refused(self, status: int, said: str) -> RequestError:
        if status in (401, 403):
            unset = f"requests without a key, and {ENDPOINT_KEY} is not set"
            given = f"the key in {ENDPOINT_KEY}" if self.key else unset
            return RequestError(f"{self.url} refuses {given} (HTTP {status}).")
        return RequestError(f"{self.url} has no such address or model as '{self.model}' (HTTP {status}): {said}")

    def _said(self, error: Any) -> str:
        """The server's own words, without the key if it repeats that."""
        text = re.sub(r"\s+", " ", str(error.server_message or error.response.reason_phrase or "no reason given"))
        return (text.replace(self.key, "…") if self.key else text)[:SHOWN]


@dataclass(frozen=True)
class Refusal:
    """A request that was not answered, and why."""

    reason: str


class Kept:
    """Answers by the name of their request, in a file as they come; read again when a stopped run goes on."""

    def __init__(self, file: Path) -> None:
        self.log = RowLog(file)
        self.answers = {row["name"]: Generated(row["text"], row["stopped"], row["refused"]) for row in self.log.rows}

    def add(self, name: str, answer: Generated) -> None:
        self.log.append({"name": name, **answer._asdict()})
        self.answers[name] = answer


def _named_pause(headers: Mapping[str, str]) -> float | None:
    """The seconds that a busy server asks for, if it does."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None
