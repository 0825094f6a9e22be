"""TRL's trainers on the log-probabilities that all stages share.

TRL's SFT and DPO ask the model for log-probabilities instead of logits (`fused_lm_head=True`). Their own way applies
the caps and scales that TRL has a name for, and no adapter on the head. Here it is the whole head, as everywhere.
"""

import functools
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
from trl.trainer.utils import FusedCausalLMOutput

from pipeline.modeling.heads import LanguageHead, causal_of, transformer_of
from pipeline.modeling.passes import collision, scattered, token_logprobs

IGNORED = -100  # a label that takes no part in the loss


def use_whole_head(model: Any, *, collisions: bool = False) -> None:
    """Let a model that TRL's trainer has prepared answer `fused_lm_head=True` with the log-probabilities of its head.

    `collisions` are the sums of squared probabilities, which weighted DPO (arXiv 2406.11827) needs.
    """
    causal = causal_of(model)
    plain = causal.forward
    statistic = collision if collisions else None

    @functools.wraps(plain)
    def forward(*args: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **kwargs: Any) -> Any:
        if fused_lm_head and labels is not None:
            return _fused(causal, labels, statistic, *args, **kwargs)
        return plain(*args, **kwargs) if labels is None else plain(*args, labels=labels, **kwargs)

    causal.forward = forward


def _fused(causal: Any, labels: Tensor, statistic: Any, *args: Any, **kwargs: Any) -> FusedCausalLMOutput:
    """Log-probabilities of the labels, [rows, width - 1], 0 where a label is ignored.

    What TRL needs for figures alone (entropy, mean logits, accuracy per token) is blank; these figures are left out.
    """
    output = transformer_of(causal)(*args, **{**kwargs, "use_cache": False})
    targets = labels[:, 1:]
    mask = targets != IGNORED
    states = output.last_hidden_state[:, :-1][mask]
    found = token_logprobs(states, targets[mask], LanguageHead(causal), statistic=statistic)
    logprobs, collisions = (None if values is None else scattered(values, mask) for values in found)
    blank = torch.zeros(mask.shape, device=mask.device)
    return FusedCausalLMOutput(
        log_probs=logprobs,
        log_sum_sq_probs=collisions,
        entropy=blank,
        mean_logits=blank,
        is_top1=blank.bool(),
        label_mask=mask,
        aux_loss=_imbalance(causal, output, kwargs) if kwargs.get("output_router_logits") else None,
    )


def _imbalance(causal: Any, output: Any, given: Mapping[str, Any]) -> Tensor:
    """How unevenly a mixture of experts uses these, as Mixtral's loss has it (arXiv 2101.03961, equations 4 to 6)."""
    config = causal.config.get_text_config()
    experts = getattr(config, "num_experts", None) or config.num_local_experts
    routed = output.router_logits
    return cast(Tensor, load_balancing_loss_func(routed, experts, config.num_experts_per_tok, given["attention_mask"]))
