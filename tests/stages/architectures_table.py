"""Writes docs/architectures.md from the expectations that the matrix tests check for every architecture.

python -m tests.stages.architectures_table
"""

from tests.places import ROOT
from tests.stages.architectures import ARCHITECTURES, METHODS, REFUSED, STAGE_NAMES, refusal

DOCUMENT = ROOT / "docs" / "architectures.md"
INTRODUCTION = """\
# Architectures

Which architecture works with which method, in `sft`, `dpo`, `reward`, `ppo`, `evaluate` and `export`. Every cell is a
test (`tests/stages/test_architectures.py`): a tiny random model goes through all six stages, and either is right in
each or is refused, when the plan is made, with the reason. Right means:

- after SFT, what text goes through has moved and nothing else has: a vision tower stays as it is;
- DPO begins at log 2, PPO at a KL of 0 and a ratio of 1;
- rewards do not depend on padding; PPO's sampler draws what the policy alone, without cache and padding, would draw;
- `evaluate`'s perplexity is that of whole, unpadded passes;
- the exported folder gives the policy's logits in transformers alone, and writes the same for padded prompts.

Other architectures that transformers loads as causal language models are used in the same way, untested. Encoders,
encoder-decoders, models that see or hear first, code of a model's own (`trust_remote_code`), pickled weights and
weights that are quantized already are refused.

By default, `make test-all` runs architectures that use the same lines of ours as another one with LoRA alone;
`make test-all ARGS=--hypothesis-profile=deep` runs every cell.

This table is written by `python -m tests.stages.architectures_table`.
"""
DECISIONS = """
## What is decided for every architecture

- **Dropout and router noise are off,** in every stage and for functions as well as modules; what is saved says 0 too.
- **Mixtures of experts:** adapters lie on experts where peft can put them there, else on the attention around them.
  bitsandbytes does not quantize experts: `qlora` says which share of the weights is in 4 bits. SFT balances the experts
  with the architecture's own coefficient, DPO does not unless `+dpo.trainer.router_aux_loss_coef=…` asks for it. Router
  logits are off in what is loaded, saved and exported: with them, `generate` fails on padded prompts.
- **Adapters lie between the ends:** never on embeddings or the head, where tied weights would lose them; nor on layers
  of a state-space mixer whose weights are read directly, past any adapter.
- **Context** is read from the language model's part of the configuration. Where none is named (ALiBi, recurrent
  models), no limit is assumed, and the stage says so.
- **Reward models** of architectures without a classification class in transformers (Granite, Cohere, OLMoE, …) are
  built in the same way as transformers' own. Only this pipeline loads these.
"""


def table() -> str:
    """Return a Markdown table: one row per architecture, one column per method, and the reasons below."""
    reasons = list(dict.fromkeys(words for told in REFUSED.values() for *_, words in told))
    lines = ["| architecture | " + " | ".join(METHODS) + " |", "|---|" + "---|" * len(METHODS)]
    lines += [
        f"| {name} | " + " | ".join(_cell(name, method, reasons) for method in METHODS) + " |" for name in ARCHITECTURES
    ]
    notes = [f"{number}. `{reason}`" for number, reason in enumerate(reasons, start=1)]
    return "\n".join([*lines, "", "Refused:", "", *notes])


def _cell(name: str, method: str, reasons: list[str]) -> str:
    refused: dict[str, list[str]] = {}
    for stage in STAGE_NAMES:
        words = refusal(name, method, stage)
        if words:
            refused.setdefault(words, []).append(stage)
    told = [f"no {', '.join(stages)} ({reasons.index(words) + 1})" for words, stages in refused.items()]
    return "; ".join(told) or "right"


def document() -> str:
    return f"{INTRODUCTION}\n{table()}\n{DECISIONS}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
