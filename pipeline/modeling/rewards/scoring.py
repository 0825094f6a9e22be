"""Scores answers with reward models: one score per answer, read at the last real token.

That token is found by its index, so a score does not depend on the side and amount of padding, on the batch, or on the
pad token.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from pipeline.batches import batches_by_length, cheapest_batches
from pipeline.errors import RequestError, Unrenderable
from pipeline.modeling.answering import Answer
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.chat.templates import Messages
from pipeline.modeling.fsdp import computed_inside, is_sharded
from pipeline.modeling.passes import pad_rows, pass_cost
from pipeline.modeling.policy import context_length_of, device_of
from pipeline.modeling.processes import computed, share_of
from pipeline.modeling.rewards.models import check_labels, decoder_of, head_of, load_reward, normalization_of
from pipeline.modeling.scoring import AnsweredPrompt
from pipeline.modeling.sources import source_of, source_to_run, tokenizer_of
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact


def read_scores(model: Any, ids: Tensor, attention: Tensor) -> Tensor:
    """Return the raw score at each row's last real token, [rows] float32; `ids` and `attention` are [rows, width].

    Padding can be on either side. Models without a `score` head find the place of their score themselves.
    """
    head = head_of(model)
    if head is None:
        return cast(Tensor, model(input_ids=ids, attention_mask=attention).logits[:, 0].float())
    positions = attention.cumsum(1) - attention
    output = decoder_of(model)(input_ids=ids, attention_mask=attention, position_ids=positions, use_cache=False)
    places = torch.arange(ids.shape[1], device=ids.device)
    last = (attention * places).argmax(1)
    states = output.last_hidden_state[torch.arange(len(ids), device=ids.device), last]
    return cast(Tensor, head(states)[:, 0].float())


@torch.no_grad()
def raw_scores(
    model: Any,
    rows: Sequence[AnsweredPrompt],
    *,
    pad_id: int,
    batch_size: int,
    left: bool = False,
    more: int = 0,
    cheapest: bool = False,
) -> list[float]:
    """Return the raw score of each row, in the given order; batches are by length, with `more` columns of padding.

    Batches have `batch_size` rows, or at most so many if the `cheapest` are taken.
    """
    device = next(model.parameters()).device

    def scores(places: Sequence[int]) -> list[float]:
        some = [rows[i] for i in places]
        ids, attention = pad_rows([row.prompt + row.answer for row in some], pad_id, left=left, more=more)
        found = computed_inside(model, lambda: read_scores(model, ids.to(device), attention.to(device)))
        return cast(list[float], found.tolist())

    lengths = [row.length for row in rows]
    cost = pass_cost(model) if cheapest else 0
    batches = cheapest_batches(lengths, batch_size, cost) if cheapest else batches_by_length(lengths, batch_size)
    return computed(scores, batches, together=is_sharded(model))


def padding_difference(model: Any, rows: Sequence[AnsweredPrompt], pad_id: int) -> float:
    """Return the largest change of a raw score with the side and amount of padding and with its batch."""
    alone = raw_scores(model, rows, pad_id=pad_id, batch_size=1)
    ways = [
        raw_scores(model, rows, pad_id=pad_id, batch_size=size, left=left, more=more)
        for size, left, more in ((1, False, 5), (1, True, 5), (4, False, 0), (4, True, 0), (len(rows), False, 1))
    ]
    return max(_largest_difference(alone, scores) for scores in ways)


class PaddingEffects(NamedTuple):
    """The largest change of a raw score by cause."""

    difference: float  # with the side and amount of padding, and with the batch
    content: float  # with another pad token in the same shape: nothing else differs, so 0 in any precision
    rounding: float  # with each embedding rounded once more: the difference to expect between shapes

    def scaled(self, scale: float) -> dict[str, float]:
        """Return the effects as metrics, in units of the normalized score."""
        return {f"padding_{name}": scale * value for name, value in self._asdict().items()}


def padding_effects(model: Any, rows: Sequence[AnsweredPrompt], pad_id: int) -> PaddingEffects:
    """Measure the effects of padding on scores, and of rounding: 0.1 in bfloat16 with 30 layers, 1e-6 in float32.

    Models without a `score` head may find the place of their score by the pad token, so they keep their pad token.
    """
    other = next(token for row in rows for token in row.answer if token != pad_id)

    def scores(pad_id: int, left: bool) -> list[float]:
        return raw_scores(model, rows, pad_id=pad_id, batch_size=len(rows), left=left, more=1)

    usual, content = scores(pad_id, left=False), 0.0
    if head_of(model):
        right, left = scores(other, left=False), scores(other, left=True)
        content = max(_largest_difference(usual, right), _largest_difference(scores(pad_id, left=True), left))
    hook = model.get_input_embeddings().register_forward_hook(_round_once_more)
    rounded = scores(pad_id, left=False)
    hook.remove()
    return PaddingEffects(padding_difference(model, rows, pad_id), content, _largest_difference(usual, rounded))


def _round_once_more(module: Any, given: Any, embedded: Tensor) -> Tensor:
    """Return embeddings with each number moved up or down by the precision's rounding, with a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(2, embedded.shape, generator=generator).to(embedded) * 2 - 1
    return embedded * (1 + torch.finfo(embedded.dtype).eps * signs)


def _largest_difference(these: Sequence[float], those: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(these, those, strict=True))


def check_prompts(artifact: Artifact, prompts: Sequence[Messages]) -> None:
    """Raise `RequestError` for a prompt that a model's own template refuses; called before answers are drawn."""
    tokenizer, _ = tokenizer_of(source_of(artifact))
    chat = ChatFormat(tokenizer)
    for prompt in prompts:
        try:
            chat.prompt(prompt)
        except Unrenderable as error:
            raise RequestError(f"{artifact.name}: the prompt {str(prompt[-1]['content'])!r}: {error}.") from error


class RewardModel:
    """A loaded reward model: one of this pipeline, or any sequence-classification model with one label."""

    def __init__(self, artifact: Artifact, context: StageContext) -> None:
        torch.set_num_threads(context.runtime.threads)
        source = source_to_run(artifact, context.runtime.launch)
        check_labels(source, artifact.name)
        tokenizer, remarks = tokenizer_of(source)
        for remark in remarks:
            context.say(f"{artifact.name}: {remark}")
        self.name = artifact.name
        self.chat = ChatFormat(tokenizer)
        self.model = load_reward(source, tokenizer, device_of(context.runtime.launch))
        self.normalization = normalization_of(artifact)

    @property
    def context_length(self) -> int:
        """The context length: the maximum of prompt and answer together, in this model's tokens."""
        return context_length_of(self.model)

    def rows(self, prompts: Sequence[Messages], answers: Sequence[Answer]) -> list[AnsweredPrompt]:
        """Return prompts and answers as this model's own tokens.

        Prompts are rendered with its own template. An answer's ids are used unchanged if they mean the same text and
        the same end to this model. Otherwise the text is encoded again, with this model's stop token unless the answer
        was cut off.
        """
        return [AnsweredPrompt(self.chat.prompt(p), self._ids(p, a)) for p, a in zip(prompts, answers, strict=True)]

    def _ids(self, prompt: Messages, answer: Answer) -> list[int]:
        ids, stop_id, known = answer.ids, self.chat.stop_id, len(self.chat.tokenizer)
        same_end = (bool(ids) and ids[-1] == stop_id) == answer.stopped
        if same_end and all(token < known for token in ids) and self.chat.text(ids) == answer.text.strip():
            return list(ids)
        own = self.chat.answer(prompt, answer.text)
        return own if answer.stopped else own[:-1] if own[-1:] == [stop_id] else own

    def score(self, prompts: Sequence[Messages], answers: Sequence[Answer], batch_size: int = 64) -> list[float]:
        """Return one normalized score per answer.

        Raises `RequestError` for a row longer than the model's context, and for a score that is not finite.
        """
        rows = self.rows(prompts, answers)
        longest = max((row.length for row in rows), default=0)
        if longest > self.context_length:
            raise RequestError(
                f"{self.name}: an answer with its prompt has {longest} tokens, and {self.context_length} fit."
            )
        pad_id, size = self.chat.tokenizer.pad_token_id, share_of(batch_size, len(rows))
        scores = self.normalization(raw_scores(self.model, rows, pad_id=pad_id, batch_size=size, cheapest=True))
        for score, answer in zip(scores, answers, strict=True):
            if not math.isfinite(score):
                raise RequestError(f"{self.name}: its score of the answer {answer.text!r} is {score}.")
        return scores

    def padding_effects(self, prompts: Sequence[Messages], answers: Sequence[Answer]) -> dict[str, float]:
        """Return the effects of padding on these answers' scores, as the stage `reward` measures them."""
        effects = padding_effects(self.model, self.rows(prompts, answers), self.chat.tokenizer.pad_token_id)
        return effects.scaled(self.normalization.scale)

    def linear_head(self) -> tuple[Tensor, float]:
        """Return the head's weight [1, hidden] and bias with shift and scale included: a value model's start.

        Raises `RequestError` for models without a linear head.
        """
        head = head_of(self.model)
        if head is None:
            raise RequestError(f"{self.name}: it has no linear head to start a value model from.")
        shift, scale = self.normalization
        bias = float(head.bias) if head.bias is not None else 0.0
        return scale * head.weight.detach().clone().float(), scale * (bias - shift)
