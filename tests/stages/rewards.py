"""Reward models for tests: trained on the tiny chain, of other architectures, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config.nodes.machine import LaunchConfig
from pipeline.data.rows import read_jsonl
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages.conftest import Chain

with lazily():
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
    )

    from pipeline.modeling.answering import Answer
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.rewards.models import load_reward
    from pipeline.modeling.rewards.scoring import raw_scores
    from pipeline.modeling.scoring import AnsweredPrompt
    from pipeline.modeling.sources import source_of, tokenizer_of


METHODS = ("full", "lora", "qlora")


PLAIN = ("reward.weight_decay=0", "reward.sft_weight=0", "reward.token_weight=0", "reward.keep_best=true")


SMALL = ("reward.batch_size=4", "reward.learning_rate=1e-3", "reward.epochs=1", *PLAIN)


HEAD = "base_model.model.score.weight"


QUESTION = [{"role": "user", "content": "My kettle hums. What can I do?"}]


def context(folder: Path) -> StageContext:
    """Return a stage's context for use outside of a stage."""
    runtime = Runtime(LaunchConfig(device="cpu"), threads=1)
    return StageContext({}, folder, runtime, progress, lambda remark: None, lambda metrics, step: None)


def loaded(artifact: Artifact) -> tuple[Any, ChatFormat]:
    source = source_of(artifact)
    tokenizer, _ = tokenizer_of(source)
    return load_reward(source, tokenizer, torch.device("cpu")), ChatFormat(tokenizer)


def rows_of(
    artifact: Artifact, chat: ChatFormat, name: str = "test.jsonl"
) -> tuple[list[AnsweredPrompt], list[AnsweredPrompt]]:
    """Return the chosen and the rejected answers of one file of pairs."""
    rows = read_jsonl(artifact.inputs["preferences"].file(name))
    sides = (
        [
            AnsweredPrompt(chat.prompt(row["prompt"]), chat.answer(row["prompt"], row[side][0]["content"]))
            for row in rows
        ]
        for side in ("chosen", "rejected")
    )
    chosen, rejected = sides
    return chosen, rejected


def scored(model: Any, chat: ChatFormat, rows: Sequence[AnsweredPrompt], batch_size: int = 8) -> list[float]:
    return raw_scores(model, rows, pad_id=chat.tokenizer.pad_token_id, batch_size=batch_size)


def policy_in(folder: Path, chain: Chain, *, template: str | None = None, dtype: Any = None, **config: Any) -> Path:
    """Write the SFT policy to a folder with some changes."""
    made = chain.make("sft").path / "model"
    model = AutoModelForCausalLM.from_pretrained(made, dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(made)
    tokenizer.chat_template = template or tokenizer.chat_template
    model.config.update(config)
    model.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    return folder / "policy"


def answered(chat: ChatFormat, text: str, stopped: bool = True) -> Answer:
    ids = chat.answer(QUESTION, text)
    return Answer(text, ids if stopped else ids[:-1], stopped)


def pair(chosen: str, rejected: str) -> dict[str, Any]:
    sides = {"chosen": chosen, "rejected": rejected}
    said = {name: [{"role": "assistant", "content": text}] for name, text in sides.items()}
    return {"prompt": QUESTION, **said, "margin": 1.0, "group": "g"}
