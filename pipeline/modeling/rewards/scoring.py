"""Reward models, asked: one number per answer, read at the last real token.

The place is found by its index, so a score depends neither on the padding's side and amount nor on the batch, and not
on which token pads.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from pipeline.batches import computed_by_length
from pipeline.errors import RequestError, Unrenderable
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.chat.templates import Messages
from pipeline.modeling.passes import padded
from pipeline.modeling.policy import context_of, device_of, source_of, tokenizer_of
from pipeline.modeling.rewards.models import check_labels, decoder_of, head_of, load_reward, standard_of
from pipeline.modeling.scoring import Answered
from pipeline.stage import StageContext
from pipeline.store.artifacts import Artifact


class GivenAnswer(Protocol):
    """An answer as words and as the token ids of whoever wrote it (its stop token included if it came to one)."""

    @property
    def text(self) -> str: ...
    @property
    def ids(self) -> list[int]: ...
    @property
    def stopped(self) -> bool: ...


def read_scores(model: Any, ids: Tensor, attention: Tensor) -> Tensor:
    """[rows], float32: the raw score at each row's last real token; `ids` and `attention` are [rows, width].

    Padding may be on either side. Models without a `score` head are asked as they are.
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
    rows: Sequence[Answered],
    *,
    pad_id: int,
    batch_size: int,
    left: bool = False,
    more: int = 0,
) -> list[float]:
    """The raw score of each row, in the order given; batched by length, `more` columns of padding on top."""
    device = next(model.parameters()).device
    whole = [row.prompt + row.answer for row in rows]

    def scores(places: Sequence[int]) -> list[float]:
        ids, attention = padded([whole[i] for i in places], pad_id, left=left, more=more)
        return cast(list[float], read_scores(model, ids.to(device), attention.to(device)).tolist())

    return computed_by_length(scores, [len(ids) for ids in whole], batch_size)


def padding_difference(model: Any, rows: Sequence[Answered], pad_id: int) -> float:
    """The most that a raw score moves with the padding's side and amount and with the batch it is in."""
    alone = raw_scores(model, rows, pad_id=pad_id, batch_size=1)
    ways = [
        raw_scores(model, rows, pad_id=pad_id, batch_size=size, left=left, more=more)
        for size, left, more in ((1, False, 5), (1, True, 5), (4, False, 0), (4, True, 0), (len(rows), False, 1))
    ]
    return max(_furthest(alone, scores) for scores in ways)


class PaddingEffects(NamedTuple):
    """The most that a raw score moves, and what rounding explains of it."""

    difference: float  # with the padding's side and amount, and the batch it is in
    content: float  # with the tokens that pad: in one shape nothing else differs, so 0 in any precision (see below)
    rounding: float  # where each token's embedding is rounded once more: what one shape may differ from another by

    def scaled(self, scale: float) -> dict[str, float]:
        """As metrics, in units of the reward."""
        return {f"padding_{name}": scale * value for name, value in self._asdict().items()}


def padding_effects(model: Any, rows: Sequence[Answered], pad_id: int) -> PaddingEffects:
    """Whether scores see their padding, apart from rounding: 0.1 in bfloat16 on 30 layers, 1e-6 in float32.

    Models that find the place of their score by themselves may find it by the pad token, so theirs is not exchanged.
    """
    other = next(token for row in rows for token in row.answer if token != pad_id)

    def scores(pad_id: int, left: bool) -> list[float]:
        return raw_scores(model, rows, pad_id=pad_id, batch_size=len(rows), left=left, more=1)

    usual, content = scores(pad_id, left=False), 0.0
    if head_of(model):
        right, left = scores(other, left=False), scores(other, left=True)
        content = max(_furthest(usual, right), _furthest(scores(pad_id, left=True), left))
    hook = model.get_input_embeddings().register_forward_hook(_rounded_once_more)
    shaken = scores(pad_id, left=False)
    hook.remove()
    return PaddingEffects(padding_difference(model, rows, pad_id), content, _furthest(usual, shaken))


def _rounded_once_more(module: Any, given: Any, embedded: Tensor) -> Tensor:
    """Embeddings, each number up or down by the precision's own rounding, always in the same way."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(2, embedded.shape, generator=generator).to(embedded) * 2 - 1
    return embedded * (1 + torch.finfo(embedded.dtype).eps * signs)


def _furthest(these: Sequence[float], those: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(these, those, strict=True))


def check_prompts(artifact: Artifact, prompts: Sequence[Messages]) -> None:
    """Raise `RequestError` for a prompt that a model's own template refuses, before answers are drawn."""
    tokenizer, _ = tokenizer_of(source_of(artifact))
    chat = ChatFormat(tokenizer)
    for prompt in prompts:
        try:
            chat.prompt(prompt)
        except Unrenderable as error:
            raise RequestError(f"{artifact.name}: the prompt {str(prompt[-1]['content'])!r}: {error}.") from error


class RewardModel:
    """A reward model of this pipeline or any sequence-classification model with one label, ready to score answers."""

    def __init__(self, artifact: Artifact, context: StageContext) -> None:
        torch.set_num_threads(context.runtime.threads)
        source = source_of(artifact)
        check_labels(source, artifact.name)
        tokenizer, remarks = tokenizer_of(source)
        for remark in remarks:
            context.say(f"{artifact.name}: {remark}")
        self.name = artifact.name
        self.chat = ChatFormat(tokenizer)
        self.model = load_reward(source, tokenizer, device_of(context.runtime.launch))
        self.standard = standard_of(artifact)

    @property
    def room(self) -> int:
        """The most tokens of prompt and answer together, in its own tokens."""
        return context_of(self.model)

    def rows(self, prompts: Sequence[Messages], answers: Sequence[GivenAnswer]) -> list[Answered]:
        """Prompts and answers as this model's own tokens.

        Prompts are rendered with its own template. An answer's ids are used as they are where they mean the same words
        and the same end to this model; another tokenizer's are decoded and encoded again, ending with this model's stop
        token if the answer came to its own (an answer that was cut off stays so).
        """
        return [Answered(self.chat.prompt(p), self._ids(p, a)) for p, a in zip(prompts, answers, strict=True)]

    def _ids(self, prompt: Messages, answer: GivenAnswer) -> list[int]:
        ids, stop_id, known = answer.ids, self.chat.stop_id, len(self.chat.tokenizer)
        same_end = (bool(ids) and ids[-1] == stop_id) == answer.stopped
        if same_end and all(token < known for token in ids) and self.chat.text(ids) == answer.text.strip():
            return list(ids)
        own = self.chat.answer(prompt, answer.text)
        return own if answer.stopped else own[:-1] if own[-1:] == [stop_id] else own

    def score(self, prompts: Sequence[Messages], answers: Sequence[GivenAnswer], batch_size: int = 64) -> list[float]:
        """One reward per answer, shift and scale applied.

        Raises `RequestError` for what exceeds the model's context, and where a score is no finite number.
        """
        rows = self.rows(prompts, answers)
        longest = max((len(row.prompt) + len(row.answer) for row in rows), default=0)
        if longest > self.room:
            raise RequestError(f"{self.name}: an answer with its prompt has {longest} tokens, and {self.room} fit.")
        pad_id = self.chat.tokenizer.pad_token_id
        scores = self.standard(raw_scores(self.model, rows, pad_id=pad_id, batch_size=batch_size))
        for score, answer in zip(scores, answers, strict=True):
            if not math.isfinite(score):
                raise RequestError(f"{self.name}: its score of the answer {answer.text!r} is {score}.")
        return scores

    def padding_effects(self, prompts: Sequence[Messages], answers: Sequence[GivenAnswer]) -> dict[str, float]:
        """What these answers' rewards have to do with their padding, as the stage `reward` measures it."""
        effects = padding_effects(self.model, self.rows(prompts, answers), self.chat.tokenizer.pad_token_id)
        return effects.scaled(self.standard.scale)

    def linear_head(self) -> tuple[Tensor, float]:
        """The head's weight [1, hidden] and bias with shift and scale inside: a value model's first guess.

        Raises `RequestError` for models that have no such head.
        """
        head = head_of(self.model)
        if head is None:
            raise RequestError(f"{self.name}: it has no linear head to start a value model from.")
        shift, scale = self.standard
        bias = float(head.bias) if head.bias is not None else 0.0
        return scale * head.weight.detach().clone().float(), scale * (bias - shift)
