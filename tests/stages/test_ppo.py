"""PPO on the tiny chain: the parameters that change, the reference, early ends of a run, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.config.nodes.learning import PpoConfig
from pipeline.data.rows import read_jsonl
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages.classifiers import classifier
from tests.stages.conftest import Chain
from tests.stages.test_faults import assert_one_message
from tests.stages.test_tuning import full_weights_below, weights

with lazily():
    import torch
    from safetensors.torch import load_file

    from pipeline.ppo.learning import Learner

pytestmark = pytest.mark.slow

SMALL = (
    *("ppo.iterations=3", "ppo.rollouts=16", "ppo.batch_size=8", "ppo.epochs=2", "ppo.max_new_tokens=12"),
    *("ppo.learning_rate=1e-3", "ppo.checkpoint_every=1", "gates=off"),
)
METHODS = [
    ("full", "full"),
    ("lora", "lora"),
    ("qlora", "qlora"),
    ("full", "lora"),
    ("full", "qlora"),
    ("lora", "full"),
]


def history(artifact: Artifact) -> list[dict[str, Any]]:
    return read_jsonl(artifact.file("history.jsonl"))


@pytest.mark.parametrize(("sft", "ppo"), METHODS)
def test_the_first_step_starts_at_the_sft_policy_exactly(chain: Chain, vowels: str, sft: str, ppo: str) -> None:
    """KL to the reference is exactly 0 and the ratio exactly 1, also for stacked adapters and in 4 bits.

    Rules 10 and 20 (H, S, T; trl#4723). The ratio is also 1 before the first step of every later iteration.
    """
    made = chain.make("ppo", *SMALL, vowels, f"peft@sft.peft={sft}", f"peft@ppo.peft={ppo}")
    rows = history(made)
    assert rows[0]["kl"] == 0.0
    assert all(row["kl"] != 0.0 for row in rows[1:])
    assert [row["start_difference"] for row in rows] == [0.0] * 3


@pytest.mark.parametrize(("sft", "ppo"), METHODS)
def test_exactly_what_should_change_does(chain: Chain, vowels: str, sft: str, ppo: str) -> None:
    """Every trained parameter of policy and value model has changed, and the artifact has only these."""
    made = chain.make("ppo", *SMALL, vowels, f"peft@sft.peft={sft}", f"peft@ppo.peft={ppo}")
    after, value = weights(made), load_file(made.file("value/value.safetensors"))
    assert value["head.weight"].abs().max() > 0  # without a reward model it starts at zero
    if ppo == "full":
        before = full_weights_below(made.inputs["policy"])
        assert set(after) == set(before)
        assert all(not torch.equal(after[name], before[name]) for name in after)
        assert {name for name in value if name.startswith("layers.")}
    else:
        assert all(".lora_A." in name or ".lora_B." in name for name in after)
        assert all(values.abs().max() > 0 for name, values in after.items() if ".lora_B." in name)
        assert all(".lora_" in name for name in value if not name.startswith("head."))
        assert all(values.abs().max() > 0 for name, values in value.items() if ".lora_B." in name)


def test_it_learns(chain: Chain, vowels: str) -> None:
    """Rule 23: a known reward rises by much more than it varies between iterations, and KL stays finite."""
    learning = (*SMALL, vowels, "ppo.iterations=40", "ppo.kl.coefficient=0.001", "ppo.learning_rate=3e-3")
    rows = history(chain.make("ppo", *learning))
    first, last = ([row["reward"] for row in part] for part in (rows[:8], rows[-8:]))
    spread = torch.tensor(first).std() + torch.tensor(last).std()
    assert sum(last) / 8 > sum(first) / 8 + 3 * float(spread)
    assert all(math.isfinite(row["kl"]) for row in rows)


def test_everything_of_rule_22_is_logged(chain: Chain, vowels: str) -> None:
    made = chain.make("ppo", *SMALL, vowels)
    named = {
        *("kl", "approx_kl", "clip_fraction", "value_clip_fraction", "ratio", "entropy", "stopped", "length", "reward"),
        *("reward_length_correlation", "explained_variance", "repetition", "policy_loss", "value_loss", "tokens"),
        *("seconds_sampling", "seconds_scoring", "seconds_learning", "true_score", "reward_true_score_correlation"),
    }
    for row in history(made):
        assert named <= set(row)
        assert all(math.isfinite(value) for value in row.values())
    assert {"kl", "reward", "seconds_per_iteration", "iterations", "stopped", "length", "tokens"} <= set(made.metrics)
    samples = read_jsonl(made.file("samples.jsonl"))
    assert {"step", "prompt", "answer", "reward", "kl"} <= set(samples[0])
    assert {row["step"] for row in samples} == {1, 3}


def test_adam_has_its_epsilon_and_its_rates_fall_linearly(chain: Chain, vowels: str) -> None:
    """Rule 18 (S, N): the rate of an iteration is the first rate times the share of iterations that are left."""
    made = chain.make("ppo", *SMALL, vowels)
    first = made.manifest["config"]["learning_rate"]
    assert [row["learning_rate"] for row in history(made)] == pytest.approx([first, first * 2 / 3, first / 3])
    roles = SimpleNamespace(parameters={"policy": {}, "value": {"head": torch.nn.Parameter(torch.zeros(1))}})
    optimizer = Learner(cast(Any, roles), PpoConfig(learning_rate=first), cast(Any, None), recompute=False).optimizer
    assert type(optimizer) is torch.optim.Adam
    assert [group["eps"] for group in optimizer.param_groups] == [1e-5, 1e-5]


def test_micro_batches_give_the_same_run(chain: Chain, tmp_path: Path, vowels: str) -> None:
    """Rule 21: micro batches and recomputed activations give the same version and the same weights."""
    whole = chain.make("ppo", *SMALL, vowels, "ppo.iterations=2")
    made = chain.beside(tmp_path, *whole.inputs.values()).make(
        "ppo", *SMALL, vowels, "ppo.iterations=2", "launch.micro_batch_size=2", "launch.gradient_checkpointing=true"
    )
    assert made.version == whole.version
    for name, value in weights(whole).items():
        assert torch.allclose(value, weights(made)[name], atol=2e-4)


@pytest.mark.parametrize("peft", ["full", "lora"])
def test_the_policy_stands_still_while_the_value_model_warms_up(chain: Chain, vowels: str, peft: str) -> None:
    """The policy after the warm-up is exactly the reference; a coefficient that adapts waits for it."""
    warm = ("ppo.value_warmup=2", "ppo.iterations=4", "ppo.kl.target=2", "ppo.kl.horizon=200", f"peft@ppo.peft={peft}")
    rows = history(chain.make("ppo", *SMALL, vowels, *warm))
    assert [row["kl"] == 0 for row in rows] == [True, True, True, False]
    assert [row["gradient_norm"] == 0 for row in rows] == [True, True, False, False]
    assert [(row["ratio"], row["approx_kl"]) == (1, 0) for row in rows] == [True, True, False, False]
    assert rows[0]["value"] != rows[1]["value"]
    assert all(row["value_gradient_norm"] > 0 for row in rows)
    assert (
        rows[0]["kl_coefficient"] == rows[1]["kl_coefficient"] == rows[2]["kl_coefficient"] != rows[3]["kl_coefficient"]
    )


def test_the_value_model_is_kept_and_can_go_on(chain: Chain, vowels: str) -> None:
    """A trained value model is kept (trl#3293)."""
    first = chain.make("ppo", *SMALL, vowels)
    second = chain.make("ppo", *SMALL, vowels, f"ppo.inputs.value=ppo@{first.version}", "ppo.seed=1")
    assert second.inputs["value"].version == first.version
    before, after = (load_file(made.file("value/value.safetensors")) for made in (first, second))
    fresh = load_file(chain.make("ppo", *SMALL, vowels, "ppo.seed=1").file("value/value.safetensors"))

    def distance(other: dict[str, torch.Tensor]) -> float:
        return sum(float((after[name] - other[name]).abs().sum()) for name in after if name.startswith("head."))

    assert distance(before) > 0
    assert history(second)[0]["value"] != history(first)[0]["value"]
    assert distance(fresh) > 0


def test_an_artifact_of_ppo_is_a_policy(chain: Chain, vowels: str) -> None:
    """The loaded artifact is the trained policy: it gives the final metrics again."""
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs
    from pipeline.modeling.sources import source_of, tokenizer_of

    for peft in ("full", "lora"):
        made = chain.make("ppo", *SMALL, vowels, f"peft={peft}")
        row = read_jsonl(made.file("samples.jsonl"))[-1]
        values = []
        for artifact in (made, made.inputs["policy"]):
            source = source_of(artifact)
            tokenizer, _ = tokenizer_of(source)
            chat, model = ChatFormat(tokenizer), load_policy(source, tokenizer, torch.device("cpu"))
            answered = AnsweredPrompt(chat.prompt(row["prompt"]), chat.answer(row["prompt"], row["answer"]))
            values += answer_logprobs(model, [answered], pad_id=tokenizer.pad_token_id, batch_size=1)
        assert values[0] != values[1]


# -- early ends of a run ---------------------------------------------------------------------------------------------


def test_a_stop_on_kl_keeps_the_last_good_policy_and_says_why(chain: Chain, vowels: str) -> None:
    wild = (*SMALL, vowels, "ppo.learning_rate=3e-3", "ppo.kl.coefficient=0", "ppo.iterations=30", "ppo.stop.kl=1")
    made = chain.make("ppo", *wild, "ppo.stop.patience=2")
    metrics = made.metrics
    assert metrics["ended_early"] == 1
    assert 0 < metrics["kept"] < metrics["iterations"] < 30
    assert metrics["kl"] <= 1  # of the kept policy
    said = made.file("log.txt").read_text()
    assert "KL to the reference" in said
    assert f"the policy of iteration {metrics['kept']:.0f} is kept" in said
    rows = history(made)
    assert rows[int(metrics["kept"])]["kl"] == pytest.approx(metrics["kl"], abs=1e-6)


FAILING = """
    import json, pathlib
    calls = pathlib.Path(__file__).with_suffix('.calls')
    count = int(calls.read_text()) + 1 if calls.exists() else 1
    calls.write_text(str(count))
    if count == 3: {fault}
    return [answer.count('e') / (len(answer) + 1) for answer in answers]"""


@pytest.mark.parametrize("fault", ["raise OSError('service is down')", "return [float('nan')] * len(answers)"])
def test_a_reward_function_that_fails_loses_nothing(
    chain: Chain, tmp_path: Path, rewarded: Callable[..., str], capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """One message, status 2; then the same command resumes and ends like an unbroken run."""
    name = f"failing{len(fault)}"
    given = (*SMALL, rewarded(FAILING.format(fault=fault), name), "ppo.checkpoint_every=3")
    assert chain.run("stage=ppo", *given) == 2
    said = capsys.readouterr()
    assert sum(line.startswith("Error:") for line in said.err.splitlines()) == 1
    made = chain.make("ppo", *given)
    assert "resumed from iteration 2" in made.file("log.txt").read_text()
    again = chain.beside(tmp_path, *made.inputs.values()).make("ppo", *given)  # the function fails only once
    assert_same_run(made, again)


def test_a_gradient_that_is_not_finite_keeps_the_last_good_policy(chain: Chain, rewarded: Callable[..., str]) -> None:
    """The square of the reward overflows float32, so the update fails; the policy before it is kept."""
    body = FAILING.format(fault="return [1e30 * (i % 2) for i, _ in enumerate(answers)]").replace("== 3", ">= 3")
    made = chain.make("ppo", *SMALL, rewarded(body, "enormous"), "ppo.iterations=6")
    said = made.file("log.txt").read_text()
    assert "not finite; the policy of iteration 2 is kept" in said
    assert (made.metrics["kept"], made.metrics["iterations"]) == (2, 2)
    assert all(torch.isfinite(value).all() for value in weights(made).values())


def assert_same_run(one: Artifact, other: Artifact) -> None:
    """Compare policy, value model, samples and all metrics except time and memory, for bitwise equality."""
    assert one.version == other.version
    weights = [sorted(p.relative_to(made.path) for p in made.path.rglob("*.safetensors")) for made in (one, other)]
    assert weights[0] == weights[1]
    valued = "explained_variance" in history(one)[0]
    assert {file.parts[0] for file in weights[0]} == {"model", *(["value"] if valued else [])}
    for file in (*weights[0], "samples.jsonl"):
        assert (one.path / file).read_bytes() == (other.path / file).read_bytes(), file
    assert [timeless(row) for row in history(one)] == [timeless(row) for row in history(other)]
    assert timeless(one.metrics) == timeless(other.metrics)


def timeless(row: Any) -> dict[str, float]:
    return {name: value for name, value in row.items() if "seconds" not in name and name != "peak_memory_mb"}


def test_a_policy_that_was_never_good_is_no_artifact(
    chain: Chain, rewarded: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*SMALL, rewarded("return [0.0] * len(answers)", "nothing"), "ppo.stop.distinct=1", "ppo.stop.patience=1")
    assert chain.run("stage=ppo", *given, "ppo.temperature=0.01", "ppo.rollouts=32") == 1
    assert "differ from each other" in capsys.readouterr().err


# -- refusals before the first rollout -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("ppo.batch_size=7",), ("ppo.rollouts=16", "ppo.batch_size=7")),
        (("launch.micro_batch_size=3",), ("micro_batch_size=3", "ppo.batch_size=8")),
        (("ppo.max_new_tokens=250",), ("no row fits",)),
        (("ppo.rewards=[]",), ("ppo.rewards",)),
        (("ppo.rewards=[{source:nowhere.py:reward}]",), ("nowhere.py", "no such file")),
        (("ppo.rewards=[{source:no_such_module:reward}]",), ("no_such_module",)),
        (("ppo.inputs.prompts={tmp}/empty.jsonl",), ("empty.jsonl", "prompts")),
        (("ppo.temperature=0",), ("ppo.temperature",)),
        (("ppo.value_warmup=3",), ("ppo.value_warmup=3", "ppo.iterations=3")),
    ],
)
def test_what_cannot_be_trained_is_refused(
    chain: Chain, vowels: str, tmp_path: Path, overrides: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    given = [text.replace("{tmp}", str(tmp_path)) for text in overrides]
    assert_one_message(chain.ended("stage=ppo", *SMALL, vowels, *given), 2, *words)


@pytest.mark.parametrize("stage", ["ppo", "evaluate"])
def test_a_prompt_that_a_reward_models_template_refuses_is_told_before_anything_is_drawn(
    stage: str, chain: Chain, tmp_path: Path
) -> None:
    picky = "{% if messages[0].content | length > 9 %}{{ raise_exception('too long for me') }}{% endif %}"
    model = classifier(tmp_path / "reward", chain.make("sft"))
    template = model.path / "chat_template.jinja"
    template.write_text(picky + template.read_text())
    own = {"ppo": f"ppo.rewards=[{{source:{model.path}}}]", "evaluate": f"evaluate.inputs.reward={model.path}"}
    begun = set((chain.outputs / "playground" / stage).glob("*/checkpoints/*"))
    run = chain.ended(f"stage={stage}", *SMALL, "evaluate.policies=[sft]", "evaluate.judge=false", own[stage])
    assert_one_message(run, 2, str(model.path), "too long for me")
    assert set((chain.outputs / "playground" / stage).glob("*/checkpoints/*")) == begun


def test_a_vocabulary_larger_than_the_tokenizers_is_refused(chain: Chain, vowels: str, tmp_path: Path) -> None:
    """The tokenizer belongs to another model, so samples of the policy could not be decoded (issue 4)."""
    folder = grown(chain, tmp_path, 200)
    run = chain.ended("stage=ppo", *SMALL, vowels, f"ppo.inputs.policy={folder}")
    assert_one_message(run, 2, "vocabulary", "tokenizer")


def test_the_padding_of_a_vocabulary_is_never_sampled(chain: Chain, vowels: str, tmp_path: Path) -> None:
    """Rows that only fill up a vocabulary have no token: they are not part of the distribution."""
    from pipeline.modeling.sources import source_of, tokenizer_of

    folder = grown(chain, tmp_path, 10, loud=True)
    made = chain.make("ppo", *SMALL, vowels, f"ppo.inputs.policy={folder}")
    assert history(made)[0]["start_difference"] == 0
    assert history(made)[0]["entropy"] > 0.5  # the loud rows would take all the probability
    words = len(tokenizer_of(source_of(chain.make("sft")))[0])
    assert weights(made)["model.embed_tokens.weight"].shape[0] == words + 10


def grown(chain: Chain, folder: Path, rows: int, loud: bool = False) -> Path:
    """Write the SFT policy with more embeddings than its tokenizer has tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = chain.make("sft").path / "model"
    model = AutoModelForCausalLM.from_pretrained(made)
    words = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(words + rows)
    with torch.no_grad():
        mean = model.get_input_embeddings().weight[:words].mean(0)
        model.get_input_embeddings().weight[words:] = 50 * torch.sign(mean) if loud else mean
    model.save_pretrained(folder / "grown")
    AutoTokenizer.from_pretrained(made).save_pretrained(folder / "grown")
    return folder / "grown"


def test_prompts_too_long_are_left_out_and_entered(chain: Chain, vowels: str, tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": "the kettle " * n}]} for n in (1, 2, 3, 400)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = chain.make("ppo", *SMALL, vowels, f"ppo.inputs.prompts={tmp_path / 'mine.jsonl'}")
    assert "1 of 4 rows are left out: longer than" in made.file("log.txt").read_text()
    assert "true_score" not in history(made)[0]  # these have no true score


def test_a_changed_reward_function_is_another_version(chain: Chain, rewarded: Callable[..., str]) -> None:
    """The user's code is hashed by content."""
    first = chain.make("ppo", *SMALL, rewarded("return [0.0] * len(answers)", "changing"))
    second = chain.make("ppo", *SMALL, rewarded("return [1.0] * len(answers)", "changing"))
    assert first.version != second.version
