"""Evaluations made by hand, for the tests of what is said of them."""

import dataclasses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pipeline.evaluation.comparison import Comparison, comparison
from pipeline.stages import STAGES
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import lineage

RATE = {"win_rate": 0.84, "win_rate_low": 0.81, "win_rate_high": 0.87}
PLAIN = {"length": 12.0, "stopped": 1.0, "perplexity": 3.0, "kl": 2.0}


def made(stage: str, version: str = "aaaa", path: Path = Path("nowhere"), **more: Any) -> Artifact:
    inputs = more.pop("inputs", {})
    return Artifact(stage, version, path, {"seconds": 10, "metrics": {}, "config": {}, **more}, inputs)


def chain(*, simulated: bool = True, path: Path = Path("nowhere")) -> dict[str, Artifact]:
    """base, data, sft, dpo, as the pipeline makes them."""
    base, data = made("base"), made("data")
    sft = made("sft", path=path / "sft", inputs={"base": base, "data": data})
    answers = {"rankings": 90, "prompts": 30, "annotators": 3, **({"simulated": 1} if simulated else {})}
    collect = made("collect", inputs={"publish": made("publish", inputs={"sft": sft})}, metrics=answers)
    found = {"pairs": 75, "ties": 25, "alpha": 0.62, "kendall_w": 0.6, "pairwise_agreement": 0.7, "annotators": 3}
    preferences = made("preferences", inputs={"rankings": collect}, metrics=found)
    dpo = made(
        "dpo", path=path / "dpo", inputs={"policy": sft, "preferences": preferences}, metrics={"trainable": 1.4e6}
    )
    return {"base": base, "data": data, "sft": sft, "dpo": dpo}


def two_arms(tmp_path: Path = Path("nowhere"), **changed: Any) -> dict[str, Artifact]:
    """sft, dpo and ppo, PPO by way of a reward model; `changed` is of PPO's settings."""
    parts = chain(path=tmp_path)
    cost = {"tokens": 1000.0, "peak_memory_mb": 512.0}
    preferences = parts["dpo"].inputs["preferences"]
    reward = made("reward", inputs={"policy": parts["sft"], "preferences": preferences}, metrics={**cost, "pairs": 70})
    inputs = {"policy": parts["sft"], "prompts": parts["data"], "reward": reward}
    settings = {"seed": 0, "peft": {"method": "full"}, **changed}
    ppo = made("ppo", path=tmp_path / "ppo", inputs=inputs, config=settings, metrics={**cost, "peak_memory_mb": 1024.0})
    dpo = dataclasses.replace(
        parts["dpo"],
        manifest={
            **parts["dpo"].manifest,
            "config": {"seed": 0, "peft": {"method": "full"}},
            "metrics": {"tokens": 400.0, "peak_memory_mb": 2048.0},
        },
    )
    return {"sft": parts["sft"], "dpo": dpo, "ppo": ppo}


def evaluation(policies: dict[str, Artifact], metrics: dict[str, float], baseline: str = "sft") -> Artifact:
    data = next((a for policy in policies.values() for a in lineage(policy) if a.stage == "data"), made("data"))
    config = {"policies": list(policies), "baseline": baseline, "decoding": {"max_new_tokens": 64}}
    path = Path("outputs/playground/evaluate/eeee")
    return made("evaluate", "eeee", path, config=config, metrics=metrics, inputs={"data": data, **policies})


def rows_of(scores: dict[str, list[float]], text: str = "Rub it with mint.") -> list[dict[str, Any]]:
    some = next(iter(scores.values()))
    return [
        {
            "id": str(i),
            "prompt": [{"role": "user", "content": f"Question {i}?"}],
            "reference": "Turn it.",
            "answers": {
                name: {"text": text, "stopped": True, "tokens": 5, "kl": 0.5, "score": values[i]}
                for name, values in scores.items()
            },
        }
        for i in range(len(some))
    ]


def told(
    policies: dict[str, Artifact], own: dict[str, dict[str, float]], rows: Any = (), prompts: int = 512, **more: float
) -> Comparison:
    """`more` are metrics of the whole evaluation."""
    metrics = {f"{name}/{key}": value for name, values in own.items() for key, value in values.items()}
    return comparison(evaluation(policies, {"prompts": prompts, **more, **metrics}), rows, STAGES)


def usual(own: dict[str, float], **options: Any) -> Comparison:
    """SFT against DPO, DPO with these metrics."""
    policies = {name: artifact for name, artifact in chain(**options).items() if name in ("sft", "dpo")}
    return told(policies, {"sft": {"true_score": 0.4, **PLAIN}, "dpo": {"true_score": 0.8, **PLAIN, **own}})


class Elements(HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str, kind: str) -> list[dict[str, str | None]]:
        return [a for name, a in self.found if name == tag and kind in (a.get("class") or "").split()]
