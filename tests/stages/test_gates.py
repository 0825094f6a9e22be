"""Gates in the chain: each warns of a fault made on purpose, none of sound artifacts."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import pstdev
from typing import Any

import pytest

from pipeline.config.nodes.machine import LaunchConfig
from pipeline.gates.check import check_gates
from pipeline.gates.rules import GateVerdict, padding_verdict, read_gates
from pipeline.playground.texts import sampling_prompts
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import MANIFEST
from tests.lazily import lazily
from tests.stages.classifiers import classifier
from tests.stages.conftest import Chain

with lazily():
    import torch
    from transformers import (
        LlamaConfig,
        LlamaForSequenceClassification,
        MixtralConfig,
        MixtralForSequenceClassification,
    )

    from pipeline.modeling.rewards.scoring import padding_effects, raw_scores
    from pipeline.modeling.scoring import AnsweredPrompt

pytestmark = pytest.mark.slow

POLITE, RUDE = "With pleasure!", "What a silly question!"
MIDDLES = ("Just rub it with mint.", "You should put it into the sun for a day.", "Ask the neighbours.", "Sing to it.")
LEARNED_TO_STOP = ("sft.epochs=20", "sft.learning_rate=5e-3")  # unlike the tiny SFT of the other tests


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], str]:
    """An override with a file of rankings by three annotators, who all prefer politeness, or choose at random.

    The length of an answer does not affect its rank.
    """

    def write(agree: bool) -> str:
        coins, path = random.Random(0), tmp_path_factory.mktemp("rankings") / "rankings.jsonl"
        rows = []
        for i, prompt in enumerate(sampling_prompts(80, seed=0, world_seed=0)):
            answers = [" ".join([start, *coins.sample(MIDDLES, coins.randint(1, 3))]) for start in (POLITE, RUDE)]
            first = [1 + i % 2] * 3 if agree else [coins.randint(1, 2) for _ in range(3)]
            ranks = [{"annotator": f"annotator{j}", "ranks": [rank, 3 - rank]} for j, rank in enumerate(first)]
            responses = answers if i % 2 == 0 else answers[::-1]
            rows.append({"id": str(i), "prompt": prompt, "responses": responses, "rankings": ranks})
        path.write_text("\n".join(map(json.dumps, rows)))
        return f"labeling.path={path}"

    return write


def found(made: Artifact) -> dict[str, GateVerdict]:
    return {verdict.name: verdict for verdict in read_gates(made)}


def test_no_gate_warns_of_sound_artifacts(chain: Chain, judged: Callable[[bool], str]) -> None:
    """An SFT policy that stops, and annotators who agree; with labeling=file the gate draws the answers."""
    made = chain.make("dpo", *LEARNED_TO_STOP, "labeling=file", judged(True))
    assert set(found(made)) == {"agreement", "annotators", "stopping"}
    assert all(verdict.passed for verdict in found(made).values())
    assert found(made)["stopping"].figures["answers"] > 20
    assert (made.metrics["gates"], made.metrics["gates_warned"]) == (3, 0)


def test_annotators_who_throw_coins_are_told_of(chain: Chain, judged: Callable[[bool], str]) -> None:
    made = chain.make("dpo", *LEARNED_TO_STOP, "labeling=file", judged(False))
    assert [name for name, verdict in found(made).items() if not verdict.passed] == ["agreement"]
    assert made.metrics["gates_warned"] == 1


def test_an_sft_policy_that_never_stops_is_told_of(
    chain: Chain, judged: Callable[[bool], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The policy is almost untrained."""
    made = chain.make("dpo", "sft.epochs=0.1", "labeling=file", judged(True))
    assert [name for name, verdict in found(made).items() if not verdict.passed] == ["stopping"]
    assert "gate stopping, at fault: sft." in capsys.readouterr().out


def test_the_sample_that_people_judged_says_whether_its_policy_stops(chain: Chain) -> None:
    """The gate draws no new answers: the figures are those of `sample`."""
    made = chain.make("dpo")
    (sample,) = (given for given in [made.inputs["preferences"]] if given.stage == "preferences")
    sample = sample.inputs["rankings"].inputs["publish"].inputs["sample"]
    assert found(made)["stopping"].figures["stopped"] == sample.metrics["stopped"]


def test_gates_stop_ends_before_training_and_gates_off_looks_at_nothing(
    chain: Chain, judged: Callable[[bool], str], capsys: pytest.CaptureFixture[str]
) -> None:
    request = ("stage=dpo", "labeling=file", judged(False), "dpo.seed=5")
    before = chain.store.unfinished("dpo")
    assert chain.run(*request, "gates=stop") == 2
    said = capsys.readouterr()
    assert "dpo is not trained, since gates=stop and 2 gates warn" in said.err + said.out
    (version,) = set(chain.store.unfinished("dpo")) - set(before)
    folder = chain.store.directory("dpo", version)
    assert not (folder / "history.jsonl").exists()
    assert not (folder / MANIFEST).exists()
    assert chain.run(*request, "gates=warn") == 0  # the same version: the strictness of gates does not change results
    assert (folder / MANIFEST).exists()
    made = chain.make("dpo", *request[1:3], "dpo.seed=6", "gates=off")
    assert read_gates(made) == []
    assert made.metrics["gates"] == 0


def test_a_wrong_word_for_gates_is_refused(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    assert chain.run("stage=dpo", "gates=maybe") == 2
    assert "gates=maybe: not an option. It can be: off, stop, warn." in capsys.readouterr().err


# -- reward models ---------------------------------------------------------------------------------------------------


def before_ppo(folder: Path, **inputs: Artifact) -> dict[str, GateVerdict]:
    """Return the verdicts of the gates before `ppo`."""
    folder.mkdir()
    runtime = Runtime(LaunchConfig(), threads=1)
    context = StageContext(inputs, folder, runtime, progress, lambda remark: None, lambda metrics, step: None)
    return {verdict.name: verdict for verdict in check_gates(context, "ppo")}


def warnings(found: Mapping[str, GateVerdict]) -> list[str]:
    return [name for name, verdict in found.items() if not verdict.passed]


@pytest.fixture(scope="session")
def sound(chain: Chain, judged: Callable[[bool], str]) -> Artifact:
    """A reward model that has learned to prefer politeness, from a policy that stops."""
    learned = ("reward.epochs=20", "reward.learning_rate=3e-3", "reward.batch_size=16", "reward.keep_best=true")
    return chain.make(
        "reward", *LEARNED_TO_STOP, *learned, "labeling=file", judged(True), "preferences.test_fraction=0.4"
    )


ALL = {"agreement", "annotators", "stopping", "beats_length", "padding", "centred", "same_format"}


def test_no_gate_warns_of_a_sound_reward_model(sound: Artifact, tmp_path: Path) -> None:
    found = before_ppo(tmp_path / "ppo", policy=sound.inputs["policy"], reward=sound)
    assert set(found) == ALL
    assert warnings(found) == []
    assert found["same_format"].figures["same_ids"] == 1


@pytest.mark.parametrize(
    ("metric", "spoilt", "gate"),
    [
        ("accuracy", 0.5, "beats_length"),
        ("padding_difference", 0.4, "padding"),
        ("reference_mean", 3.0, "centred"),
    ],
)
def test_a_spoilt_figure_fires_its_gate_and_no_other(
    sound: Artifact, tmp_path: Path, metric: str, spoilt: float, gate: str
) -> None:
    assert metric in sound.metrics
    metrics = {**sound.metrics, metric: spoilt}
    bad = dataclasses.replace(sound, manifest={**sound.manifest, "metrics": metrics})
    found = before_ppo(tmp_path / "ppo", policy=sound.inputs["policy"], reward=bad)
    assert warnings(found) == [gate]
    assert found[gate].stage == "reward"


def test_a_reward_model_whose_template_was_exchanged_is_told_of(sound: Artifact, tmp_path: Path) -> None:
    """Its tokenizer now renders conversations differently than in training."""
    folder = tmp_path / "copy"
    shutil.copytree(sound.path, folder)
    template = folder / "model" / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|assistant|>", "<|system|>"))
    found = before_ppo(tmp_path / "ppo", policy=sound.inputs["policy"], reward=dataclasses.replace(sound, path=folder))
    assert warnings(found) == ["same_format"]


def test_an_untrained_reward_model_of_ones_own_is_measured(sound: Artifact, tmp_path: Path) -> None:
    """It has no metrics: the gate measures it on held-out pairs and on the policy's answers."""
    policy, preferences = sound.inputs["policy"], sound.inputs["preferences"]
    own = classifier(tmp_path / "own", policy)
    found = before_ppo(tmp_path / "ppo", policy=policy, preferences=preferences, reward=own)
    assert set(found) == ALL
    assert warnings(found) == ["beats_length"]
    assert found["padding"].figures["difference"] < 1e-4


class WithoutHead:
    """A classifier that finds the place of its score itself, by the pad token in its config."""

    def __init__(self, model: Any) -> None:
        self.parameters, self.get_input_embeddings, self._model = model.parameters, model.get_input_embeddings, model

    def __call__(self, **given: Any) -> Any:
        return self._model(**given)


@pytest.fixture(params=["float32", "bfloat16"])
def deep(request: pytest.FixtureRequest) -> Any:
    """A random classifier of 24 layers, in which rounding errors add up."""
    torch.manual_seed(0)
    size = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 24, "num_attention_heads": 4}
    config = LlamaConfig(num_labels=1, vocab_size=64, pad_token_id=0, initializer_range=0.1, **size)
    return LlamaForSequenceClassification(config).to(getattr(torch, request.param)).eval()


def seen_of(model: Any) -> GateVerdict:
    """Return the gate's verdict on a model's scores of answers of different lengths, with standard deviation 1."""
    coins = random.Random(0)
    rows = [
        AnsweredPrompt(
            [1, *(coins.randrange(3, 64) for _ in range(i % 5 + 2))], [*(coins.randrange(3, 64) for _ in range(i))]
        )
        for i in range(1, 17)
    ]
    scores = raw_scores(model, rows, pad_id=0, batch_size=1)
    known = padding_effects(model, rows, 0).scaled(1 / pstdev(scores))
    return padding_verdict(*(known[f"padding_{name}"] for name in ("difference", "content", "rounding")))


def test_rounding_is_no_padding_fault(deep: Any) -> None:
    for model in (deep, WithoutHead(deep)):
        verdict = seen_of(model)
        assert verdict.passed, verdict.says
        assert verdict.figures["content"] == 0


def test_experts_that_rounding_chooses_are_not_blamed_on_the_token_that_pads() -> None:
    """In bfloat16 a token near two experts can go to either; the choice of the pad token has no effect."""
    torch.manual_seed(0)
    size = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 12, "num_attention_heads": 4}
    given = {"num_labels": 1, "vocab_size": 64, "pad_token_id": 0, "initializer_range": 0.1, "num_key_value_heads": 4}
    model = MixtralForSequenceClassification(MixtralConfig(num_local_experts=8, **size, **given)).bfloat16().eval()
    verdict = seen_of(model)
    assert verdict.passed, verdict.says
    assert verdict.figures["rounding"] > 0.05
    assert verdict.figures["content"] == 0


def test_padding_that_is_attended_to_is_told_of_in_any_precision(deep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = deep.model.forward

    def attending(attention_mask: torch.Tensor, **given: Any) -> Any:
        return forward(attention_mask=torch.ones_like(attention_mask), **given)

    monkeypatch.setattr(deep.model, "forward", attending)
    verdict = seen_of(deep)
    assert not verdict.passed
    assert "the model reads them" in verdict.says


def test_a_score_read_at_the_padding_is_told_of_in_any_precision(deep: Any) -> None:
    """Its config names a token that does not pad, so the model reads the last column as the answer's end."""
    deep.config.pad_token_id = 2
    verdict = seen_of(WithoutHead(deep))
    assert not verdict.passed
    assert "read in the wrong place" in verdict.says


def test_a_reward_model_of_ones_own_that_is_off_centre_is_told_of(sound: Artifact, tmp_path: Path) -> None:
    policy, preferences = sound.inputs["policy"], sound.inputs["preferences"]
    own = classifier(tmp_path / "own", policy, usual=3.0)
    found = before_ppo(tmp_path / "ppo", policy=policy, preferences=preferences, reward=own)
    assert "centred" in warnings(found)
