"""A policy that is loaded once, draws answers in batches, and gives the log-probabilities of answers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pipeline.config.nodes.models import DecodingConfig
from pipeline.errors import RequestError
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.chat.templates import Messages
from pipeline.modeling.generation import draw
from pipeline.modeling.heads import transformer_of
from pipeline.modeling.padding import check_padding, keeps_states
from pipeline.modeling.policy import context_length_of, device_of, load_policy
from pipeline.modeling.processes import share_of
from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs
from pipeline.modeling.sources import source_to_run, tokenizer_of
from pipeline.modeling.training import set_up_torch
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import CHECKPOINTS


class Answer(NamedTuple):
    """An answer as text and as token ids, with its stop token unless it was cut off."""

    text: str
    ids: list[int]
    stopped: bool


class Answerer:
    """One policy, ready to answer prompts and to compute log-probabilities of answers."""

    def __init__(self, artifact: Artifact, context: StageContext, seed: int) -> None:
        set_up_torch(context.runtime, seed)
        source = source_to_run(artifact, context.runtime.launch)
        tokenizer, _ = tokenizer_of(source)
        self.name = artifact.name
        self.chat = ChatFormat(tokenizer)
        self.model = load_policy(source, tokenizer, device_of(context.runtime.launch))
        transformer, pad_id = transformer_of(self.model), tokenizer.pad_token_id
        check_padding(transformer, pad_id, self.name)
        self.own_cache = keeps_states(transformer, pad_id, cached=True)
        self.context, self.seed = context, seed
        self.batch_tokens = context.runtime.launch.batch_tokens

    def draw(self, prompts: Sequence[Messages], decoding: DecodingConfig, what: str) -> list[Answer]:
        """Draw one answer to each prompt. Raises `RequestError` for a prompt that fills the context."""
        rendered = [self.chat.prompt(prompt) for prompt in prompts]
        room = context_length_of(self.model) - max(map(len, rendered))
        if room < 1:
            raise RequestError(f"A prompt of {max(map(len, rendered))} tokens fills the whole context of {self.name}.")
        folder = self.context.output_dir / CHECKPOINTS
        if self.context.is_main:
            folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{what.replace(' ', '-').replace('/', '_')}.rows"
        assert decoding.max_new_tokens is not None  # the stage has set it
        decoding = replace(decoding, max_new_tokens=min(decoding.max_new_tokens, room))
        given = (self.model, self.chat, rendered, decoding, self.seed)
        batch_tokens, own_cache = self.batch_tokens, self.own_cache
        with self.context.progress(what, len(prompts)) as advance:
            drawn = draw(*given, batch_tokens=batch_tokens, own_cache=own_cache, partial=partial, advance=advance)
        return [Answer(self.chat.text(ids), ids, stopped) for ids, stopped in drawn]

    def logprobs(self, prompts: Sequence[Messages], answers: Sequence[list[int]]) -> list[float]:
        """Return log p(answer | prompt) of each answer, summed over its tokens."""
        rows = [AnsweredPrompt(self.chat.prompt(p), ids) for p, ids in zip(prompts, answers, strict=True)]
        pad_id, size = self.chat.tokenizer.pad_token_id, share_of(len(rows), len(rows))
        return answer_logprobs(self.model, rows, pad_id=pad_id, batch_size=size, batch_tokens=self.batch_tokens)
