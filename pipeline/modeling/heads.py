"""From a transformer's last hidden state to logits, as the model itself goes there: one way for all stages.

Architectures do more than apply a linear layer: they cap logits (Gemma), scale them (Granite, Cohere, Falcon-H1) or the
states (MiniCPM3, Inkling), leave out ids that pad the vocabulary, or transform the states first (BERT). A table of such
settings would go out of date unseen, so the model's own code runs here, over states that are given.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pipeline.errors import RequestError

TOLERANCE = {torch.float32: 1e-4}  # of the largest logit, by the precision of the states
HALF_TOLERANCE = 2e-2  # bfloat16 keeps 8 bits: a rounding is 0.4%


def causal_of(model: Any) -> Any:
    """The language model inside peft's wrapper; its layers hold the adapters."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def transformer_of(model: Any) -> Any:
    """The text transformer below the language-model head, adapters included.

    It is called with token ids and gives `last_hidden_state`.
    """
    causal = causal_of(model)
    body, decoder = causal.base_model, causal.get_decoder()
    # some models call a part of their head `decoder`
    return decoder if any(part is decoder for part in body.modules()) else body


class _States(tuple[Tensor]):
    """A transformer's output that is nothing but its last hidden state."""

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        """Cache, attentions, router logits and the like: none."""
        if name.startswith("__"):
            raise AttributeError(name)


class _Given:
    """Stands where the transformer is and returns the states that it is given; has all the transformer's settings."""

    def __init__(self, causal: Any) -> None:
        self._body, self._decoder = causal.base_model, transformer_of(causal)

    def __call__(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> _States:
        return _States((inputs_embeds,))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._body, name)
        return self if found is self._decoder else found  # OPT and BART call `model.decoder`


@dataclass(frozen=True)
class LanguageHead:
    """All that a causal language model does after its transformer, adapters on the head included."""

    causal: Any

    def __call__(self, states: Tensor) -> Tensor:
        """[…, hidden] -> […, vocabulary] logits. Differentiable in the states and in the head's parameters."""
        model = copy.copy(self.causal)
        model._modules = {**self.causal._modules, self.causal.base_model_prefix: _Given(self.causal)}
        flat = states.reshape(1, -1, states.shape[-1])
        # the class's `forward`: trainers put their own on the instance
        logits = type(model).forward(model, inputs_embeds=flat).logits
        return cast(Tensor, logits.reshape(*states.shape[:-1], logits.shape[-1]))

    @property
    def size(self) -> int:
        """About how many logits there are for a position."""
        return int(self.causal.config.get_text_config().vocab_size)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its weights."""
        return cast(torch.dtype, self.causal.get_output_embeddings().weight.dtype)

    def alone(self, device: torch.device) -> "LanguageHead":
        """The same head, frozen, on a device and without the transformer's weights. The model is used up by it."""
        causal = self.causal.requires_grad_(False)
        causal.base_model.to("meta")  # weights tied to the embeddings stay with the head
        for name, part in causal.named_children():
            if name != causal.base_model_prefix:
                part.to(device)
        return self


@torch.no_grad()
def check_head(model: Any, ids: Sequence[int], name: str) -> None:
    """Compare transformer and head, as all stages use them, with the model's own logits for a few tokens.

    Raises `RequestError` where they differ by more than rounding: every log-probability would be another model's.
    """
    given = {"input_ids": torch.tensor([ids], device=next(model.parameters()).device)}
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    own = model(**given, use_cache=False).logits.float()
    if not own.isfinite().all():
        raise RequestError(f"{name}: it gives logits that are not finite. Its weights are damaged: fetch them again.")
    refused = f"{name}: log-probabilities cannot be computed for {type(causal_of(model)).__name__}"
    try:
        states = transformer_of(model)(**given, use_cache=False).last_hidden_state
        found = LanguageHead(causal_of(model))(states).float()
    except (AttributeError, TypeError, ValueError) as error:
        raise RequestError(
            f"{refused}: its transformer and its head cannot be used one after the other ({error}). Use a model of "
            "another architecture."
        ) from error
    off = float((found - own).abs().max()) if found.shape == own.shape else float("inf")
    largest = float(own.abs().max())
    if not off <= TOLERANCE.get(states.dtype, HALF_TOLERANCE) * largest:
        raise RequestError(
            f"{refused}: logits made from its transformer's states differ from its own by {off:.2g}, where the largest "
            f"is {largest:.2g}. Use a model of another architecture."
        )


def known_ids(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """[highest id + 1] bool: the ids that are tokens. The others, and those beyond, fill up a vocabulary."""
    ids = torch.tensor(list(tokenizer.get_vocab().values()))
    return torch.zeros(int(ids.max()) + 1, dtype=torch.bool).index_fill_(0, ids, True)


def unknown_ids(tokenizer: PreTrainedTokenizerBase, count: int) -> list[int]:
    """The ids below `count` that are no tokens."""
    known = known_ids(tokenizer)[:count]
    return (~F.pad(known, (0, count - len(known)))).nonzero()[:, 0].tolist()
