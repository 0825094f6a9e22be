"""Reward models that users bring, built from config."""

from __future__ import annotations

from pathlib import Path

from pipeline.store.artifact import Artifact
from tests.lazily import lazily

with lazily():
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification


def classifier(folder: Path, policy: Artifact, *, usual: float = 0.0) -> Artifact:
    """Build an untrained reward model with the policy's tokenizer, as users bring them; `usual` is its usual score."""
    tokenizer = AutoTokenizer.from_pretrained(policy.path / "model")
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    model = LlamaForSequenceClassification(LlamaConfig(num_labels=1, **size, **tokens))
    if usual:  # the last token is always the same, so all its states are nearly equal to this one
        state = model.model(torch.tensor([[tokenizer.bos_token_id, tokenizer.eos_token_id]])).last_hidden_state[0, -1]
        model.score.weight = torch.nn.Parameter(usual * state[None].detach() / state.norm() ** 2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Artifact("folder", "own", folder, {"source": {"path": str(folder)}})
