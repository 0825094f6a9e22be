"""Models that write texts for a stage: a policy on this machine, or a model behind an endpoint."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.rows import Message
from pipeline.data.synthetic.drafts import Generated
from pipeline.lengths.limits import UNKNOWN, with_limit
from pipeline.services.endpoints import Endpoint
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import CHECKPOINTS


class Writer(Protocol):
    """A model that writes one text for each prompt."""

    @property
    def name(self) -> str: ...

    def write(self, prompts: Sequence[list[Message]], what: str) -> list[Generated]:
        """Return one answer to each prompt, in order. Answers of an interrupted run may be reused."""
        ...


class PolicyWriter:
    """A writer that is a policy; this machine draws its answers, or the server of `policy` that the request names."""

    def __init__(
        self,
        artifact: Artifact,
        decoding: DecodingConfig,
        seed: int,
        context: StageContext,
        *,
        policy: str = "",
        drawn_by: str = "hf",
    ) -> None:
        from pipeline.modeling.served import answerer_of

        self.name = artifact.reference
        self._decoding, _ = with_limit(decoding, [artifact], context.say)
        if context.runtime.processes < context.runtime.launch.processes:
            context.say(f"{artifact.reference} writes in one process")
        self._answerer = answerer_of(policy, artifact, context, seed, drawn_by)

    def write(self, prompts: Sequence[list[Message]], what: str) -> list[Generated]:
        drawn = self._answerer.draw(prompts, self._decoding, what)
        read = [len(self._answerer.chat.prompt(prompt)) for prompt in prompts]
        return [
            Generated(answer.text, answer.stopped, tokens=tokens + len(answer.ids))
            for answer, tokens in zip(drawn, read, strict=True)
        ]


class RemoteWriter:
    """A writer behind an endpoint, with progress."""

    def __init__(
        self, url: str, model: str, decoding: DecodingConfig, seed: int, concurrency: int, context: StageContext
    ) -> None:
        folder = context.output_dir / CHECKPOINTS
        limited = replace(decoding, max_new_tokens=decoding.max_new_tokens or UNKNOWN)
        self._endpoint = Endpoint(url, model, limited, seed, concurrency, folder)
        self._progress = context.progress
        self.name = model

    def write(self, prompts: Sequence[list[Message]], what: str) -> list[Generated]:
        with self._progress(f"{what}: {self.name}", len(prompts)) as advance:
            return self._endpoint.write(prompts, what, advance)
