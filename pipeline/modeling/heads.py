"""Turns a transformer's last hidden state into logits with the model's own code, in one way for all stages.

Architectures do more than apply a linear layer: they cap logits (Gemma), scale them (Granite, Cohere, Falcon-H1) or the
states (MiniCPM3, Inkling), leave out ids that pad the vocabulary, or transform the states first (BERT). A table of such
settings would become outdated unnoticed, so the model's own code runs here, on given states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedTokenizerBase

from pipeline.errors import RequestError
from pipeline.modeling.tiles import tiled

TOLERANCE = {torch.float32: 1e-4}  # relative to the largest logit, by the precision of the states
HALF_TOLERANCE = 2e-2  # bfloat16 keeps 8 bits: a rounding is 0.4%


def unwrapped_model(model: Any) -> Any:
    """Return the model inside the wrappers of peft and of DDP; its layers hold the adapters."""
    model = model.module if isinstance(model, DistributedDataParallel) else model
    return model.get_base_model() if isinstance(model, PeftModel) else model


def transformer_of(model: Any) -> Any:
    """Return the text transformer below the language-model head, adapters included.

    It takes token ids and returns `last_hidden_state`.
    """
    causal = unwrapped_model(model)
    body, decoder = causal.base_model, causal.get_decoder()
    # in some models `decoder` is a part of the head
    return decoder if any(part is decoder for part in body.modules()) else body


class _StatesOutput(tuple[Tensor]):
    """A transformer's output with the last hidden state only."""

    @property
    def last_hidden_state(self) -> Tensor:
        return self[0]

    def __getattr__(self, name: str) -> None:
        """Return None for cache, attentions, router logits and similar fields."""
        if name.startswith("__"):
            raise AttributeError(name)


class _TransformerStub:
    """Replaces the transformer: returns the states that it is given, with all settings of the transformer."""

    def __init__(self, causal: Any) -> None:
        self._body, self._decoder = causal.base_model, transformer_of(causal)

    def __call__(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> _StatesOutput:
        return _StatesOutput((inputs_embeds,))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._body, name)
        return self if found is self._decoder else found  # OPT and BART call `model.decoder`


@dataclass(frozen=True)
class LanguageHead:
    """All steps of a causal language model after its transformer, adapters on the head included."""

    causal: Any

    def __call__(self, states: Tensor) -> Tensor:
        """Return logits, […, hidden] -> […, vocabulary]; differentiable in the states and the head's parameters."""
        model = object.__new__(type(self.causal))  # `copy.copy` would construct a new one of a sharded model
        model.__dict__.update(self.causal.__dict__)
        parts = {name: tiled(part) for name, part in self.causal._modules.items()}
        model._modules = {**parts, self.causal.base_model_prefix: _TransformerStub(self.causal)}
        flat = states.reshape(1, -1, states.shape[-1])
        # the `forward` of the class: trainers replace that of the instance
        logits = type(model).forward(model, inputs_embeds=flat).logits
        return cast(Tensor, logits.reshape(*states.shape[:-1], logits.shape[-1]))

    @property
    def size(self) -> int:
        """The approximate number of logits per position."""
        return int(self.causal.config.get_text_config().vocab_size)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the head's weights."""
        return cast(torch.dtype, self.causal.get_output_embeddings().weight.dtype)

    def without_transformer(self, device: torch.device) -> "LanguageHead":
        """Return the frozen head on a device, without the transformer's weights; the model is unusable afterwards."""
        causal = self.causal.requires_grad_(False)
        causal.base_model.to("meta")  # the head keeps weights that are tied to the embeddings
        for name, part in causal.named_children():
            if name != causal.base_model_prefix:
                part.to(device)
        return self


@torch.no_grad()
def check_head(model: Any, ids: Sequence[int], name: str) -> None:
    """Compare the logits of transformer and head, as all stages use them, with the model's own for a few tokens.

    Raises `RequestError` if they differ by more than rounding: all log-probabilities would be wrong.
    """
    given = {"input_ids": torch.tensor([ids], device=next(model.parameters()).device)}
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    own = model(**given, use_cache=False).logits.float()
    if not own.isfinite().all():
        raise RequestError(f"{name}: it gives logits that are not finite. Its weights are damaged: fetch them again.")
    refusal = f"{name}: log-probabilities cannot be computed for {type(unwrapped_model(model)).__name__}"
    try:
        states = transformer_of(model)(**given, use_cache=False).last_hidden_state
        found = LanguageHead(unwrapped_model(model))(states).float()
    except (AttributeError, TypeError, ValueError) as error:
        raise RequestError(
            f"{refusal}: its transformer and its head cannot be used one after the other ({error}). Use a model of "
            "another architecture."
        ) from error
    off = float((found - own).abs().max()) if found.shape == own.shape else float("inf")
    largest = float(own.abs().max())
    if not off <= TOLERANCE.get(states.dtype, HALF_TOLERANCE) * largest:
        raise RequestError(
            f"{refusal}: logits made from its transformer's states differ from its own by {off:.2g}, where the largest "
            f"is {largest:.2g}. Use a model of another architecture."
        )


def ids_with_token(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return a mask of the ids that have a token, [highest id + 1] bool. All other ids only fill up a vocabulary."""
    ids = torch.tensor(list(tokenizer.get_vocab().values()))
    return torch.zeros(int(ids.max()) + 1, dtype=torch.bool).index_fill_(0, ids, True)
