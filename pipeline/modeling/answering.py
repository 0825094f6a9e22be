"""A policy that is loaded once, draws answers in batches, and gives the log-probabilities of answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pipeline.config.nodes.models import DecodingConfig
from pipeline.errors import RequestError
from pipeline.modeling.adapters import Model
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.chat.templates import Messages
from pipeline.modeling.generation import draw
from pipeline.modeling.heads import transformer_of
from pipeline.modeling.padding import check_padding, keeps_states
from pipeline.modeling.policy import context_length_of, device_of
from pipeline.modeling.processes import share_of
from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs
from pipeline.modeling.sharing import SharedBase, can_share, names_by_base
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
    """One policy, ready to answer prompts and to compute log-probabilities of answers.

    It shares the base model of an answerer `beside` it if it can.
    """

    def __init__(self, artifact: Artifact, context: StageContext, seed: int, beside: Iterable["Answerer"] = ()) -> None:
        set_up_torch(context.runtime, seed)
        self.source = source_to_run(artifact, context.runtime.launch)
        tokenizer, _ = tokenizer_of(self.source)
        self.name = artifact.name
        self.chat = ChatFormat(tokenizer)
        self.context, self.seed = context, seed
        self.device = device_of(context.runtime.launch)
        self.base = self._base_beside(beside)
        transformer, pad_id = transformer_of(self.model), tokenizer.pad_token_id
        check_padding(transformer, pad_id, self.name)
        self.own_cache = keeps_states(transformer, pad_id, cached=True)
        self.batch_tokens = context.runtime.launch.batch_tokens

    def _base_beside(self, others: Iterable["Answerer"]) -> SharedBase:
        tokenizer = self.chat.tokenizer
        for base in (other.base for other in others):
            if can_share(self.source, base.sources):
                base.add(self.source, tokenizer)
                return base
        return SharedBase(self.source, tokenizer, self.device)

    @property
    def model(self) -> Model:
        """The policy's model, with its adapters active until another policy on the same base is used."""
        return self.base.model_of(self.source, self.chat.tokenizer)

    def draw(self, prompts: Sequence[Messages], decoding: DecodingConfig, what: str) -> list[Answer]:
        """Draw one answer to each prompt. Raises `RequestError` for a prompt that fills the context."""
        rendered = [self.chat.prompt(prompt) for prompt in prompts]
        decoding = within_context(decoding, rendered, context_length_of(self.model), self.name)
        folder = self.context.output_dir / CHECKPOINTS
        if self.context.is_main:
            folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{what.replace(' ', '-').replace('/', '_')}.rows"
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


def within_context(decoding: DecodingConfig, prompts: Sequence[list[int]], context: int, name: str) -> DecodingConfig:
    """Return decoding with which no answer exceeds a context of so many tokens.

    Raises `RequestError` for a prompt that fills it.
    """
    room = context - max(map(len, prompts))
    if room < 1:
        raise RequestError(f"A prompt of {max(map(len, prompts))} tokens fills the whole context of {name}.")
    assert decoding.max_new_tokens is not None  # the stage has set it
    return replace(decoding, max_new_tokens=min(decoding.max_new_tokens, room))


def answerers_on_bases(
    artifacts: Mapping[str, Artifact], context: StageContext, seed: int, *, last: str
) -> Iterator[tuple[str, Answerer]]:
    """Yield policies with their names; one base model is in memory at a time, with the policies that share it.

    An answerer can be used while those on its base are yielded. `last` comes last.
    """
    sources = {name: source_to_run(artifact, context.runtime.launch) for name, artifact in artifacts.items()}
    loaded: list[Answerer] = []
    for names in names_by_base(sources, last):
        while loaded:
            del loaded.pop().base  # the caller may still have the answerer
        for name in names:
            loaded.append(Answerer(artifacts[name], context, seed, loaded))
            yield name, loaded[-1]
