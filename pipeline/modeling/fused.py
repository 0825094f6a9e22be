"""Gives TRL's trainers the log-probabilities that all stages share.

TRL's SFT and DPO request log-probabilities in place of logits (`fused_lm_head=True`). TRL's implementation applies only
the caps and scales that it knows, and no adapter on the head. Here the whole head is applied, as in all other stages.
"""

import functools
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
from trl.trainer.utils import FusedCausalLMOutput

from pipeline.modeling.heads import LanguageHead, transformer_of, unwrapped_model
from pipeline.modeling.packing import packed_states
from pipeline.modeling.passes import IGNORED_LABEL, collision, scatter, token_logprobs


def use_whole_head(model: Any, *, collisions: bool = False) -> None:
    """Make a model that TRL's trainer has prepared return log-probabilities of its whole head for `fused_lm_head=True`.

    `collisions` adds the sums of squared probabilities, which weighted DPO (arXiv 2406.11827) needs.
    """
    causal = unwrapped_model(model)
    plain = causal.forward
    statistic = collision if collisions else None

    @functools.wraps(plain)
    def forward(*args: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **kwargs: Any) -> Any:
        if fused_lm_head and labels is not None:
            return _fused_output(causal, labels, statistic, *args, **kwargs)
        return plain(*args, **kwargs) if labels is None else plain(*args, labels=labels, **kwargs)

    causal.forward = forward


def _fused_output(causal: Any, labels: Tensor, statistic: Any, *args: Any, **kwargs: Any) -> FusedCausalLMOutput:
    """Return log-probabilities of the labels, [rows, width - 1], 0 where a label is ignored.

    Inputs with positions are packed rows; their real tokens form one row: [1, tokens - 1].
    Fields that TRL uses only for figures (entropy, mean logits, accuracy per token) are 0; these figures are left out.
    """
    if "position_ids" in kwargs:
        output, states = packed_states(transformer_of(causal), kwargs)
        states, labels = states[None], labels[kwargs["attention_mask"].bool()][None]
    else:
        output = transformer_of(causal)(*args, **{**kwargs, "use_cache": False})
        states = output.last_hidden_state
    targets = labels[:, 1:]
    mask = targets != IGNORED_LABEL
    states = states[:, :-1][mask]
    found = token_logprobs(states, targets[mask], LanguageHead(causal), statistic=statistic)
    logprobs, collisions = (None if values is None else scatter(values, mask) for values in found)
    blank = torch.zeros(mask.shape, device=mask.device)
    return FusedCausalLMOutput(
        log_probs=logprobs,
        log_sum_sq_probs=collisions,
        entropy=blank,
        mean_logits=blank,
        is_top1=blank.bool(),
        label_mask=mask,
        aux_loss=_load_balancing_loss(causal, output, kwargs) if kwargs.get("output_router_logits") else None,
    )


def _load_balancing_loss(causal: Any, output: Any, given: Mapping[str, Any]) -> Tensor:
    """Return the load-balancing loss of a mixture of experts, as in Mixtral (arXiv 2101.03961, equations 4 to 6)."""
    config = causal.config.get_text_config()
    experts = getattr(config, "num_experts", None) or config.num_local_experts
    routed = output.router_logits
    return cast(Tensor, load_balancing_loss_func(routed, experts, config.num_experts_per_tok, given["attention_mask"]))
