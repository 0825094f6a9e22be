"""PPO whose answers a server draws: the policy is handed over each time, and what the server does wrongly is noticed.

The server is real (`tests/adapter_server.py`): it loads the adapters that it is given and draws from them, with code of
its own. It follows vLLM's protocol; vLLM itself is not installed here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.nodes.learning import KlConfig, PpoConfig
from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import PipelineError, RequestError
from pipeline.stage import StageContext
from pipeline.store.artifacts import CHECKPOINTS
from tests.adapter_server import AdapterServer
from tests.completions import running
from tests.lazily import lazily
from tests.stages import tiny

with lazily():
    import torch
    from peft import LoraConfig, PeftModel

    from pipeline.modeling.adapters import activate_adapters, lora_config, name_in_stack, with_adapter
    from pipeline.modeling.handover import joined_adapter
    from pipeline.modeling.roles import Roles, ValueStart, build_roles
    from pipeline.ppo.gathering import PpoTask
    from pipeline.ppo.loop import Loop
    from pipeline.ppo.sources import WeightedScorer

PEFT = PeftConfig("lora", rank=4, alpha=8, target_modules="all-linear")
SLOW = pytest.mark.slow
TRAINED = "default"  # pipeline.modeling.adapters.TRAINED
OWN = {"seed": 0, "iterations": 3, "rollouts": 32, "batch_size": 16, "epochs": 1, "max_new_tokens": 8}


class Short:
    """A reward for short answers."""

    def score(self, prompts: Sequence[Any], given: Sequence[Any]) -> list[float]:
        return [-float(len(answer.ids)) for answer in given]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the base model, from which a server is started."""
    folder = tmp_path_factory.mktemp("base")
    tiny.model("llama").save_pretrained(folder)
    return folder


@pytest.fixture
def server(base: Path, own_servers: None) -> Iterator[AdapterServer]:
    with running(AdapterServer(base)) as started:
        assert isinstance(started, AdapterServer)
        yield started


def roles_on(base: Path, *, sft: bool = True, frozen: str = "q_proj,v_proj") -> Roles:
    """Return PPO's roles on the base model; with an SFT adapter of another rank, on some layers, below the new one."""
    model: Any = tiny.model("llama")
    torch.manual_seed(1)
    if sft:
        config = LoraConfig(r=3, lora_alpha=9, target_modules=frozen.split(","), task_type="CAUSAL_LM")
        model = with_adapter(model, config, name_in_stack(0))
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter, std=0.2)
        activate_adapters(with_adapter(model, lora_config(PEFT, model), TRAINED), [name_in_stack(0), TRAINED])
    else:
        model = with_adapter(model, lora_config(PEFT, model), TRAINED)
    made = tiny.in_training(model)
    object.__setattr__(made, "source", replace(made.source, weights=str(base)))
    return build_roles(made, ValueStart(), PEFT, 0, recompute=False)


def context(server: AdapterServer, folder: Path, **options: Any) -> StageContext:
    return tiny.served_context(folder, "rollouts", server.url, 4, **options)


def loop(roles: Roles, given: StageContext, **options: Any) -> Loop:
    named = {"drawn_by": "vllm", "learning_rate": 1e-2, "kl": KlConfig(), "peft": PEFT, "checkpoint_every": 1}
    config = PpoConfig(**{**OWN, **named, **options})
    config.stop.distinct = 0.0
    ids = [row.prompt for row in tiny.answers(16)]
    scorers = [WeightedScorer("function", Short(), 1.0)]
    task = PpoTask([[{"role": "user", "content": "w1"}]] * len(ids), ids, scorers, {})
    return Loop(task, roles, config, given)


def trained(roles: Roles) -> dict[str, Any]:
    return {name: values.clone() for name, values in roles.trained_weights().items()}


# -- what is handed over -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sft", [True, False])
def test_the_adapter_that_is_handed_over_is_the_policy(base: Path, tmp_path: Path, sft: bool) -> None:
    """Loaded by peft on the bare base, it gives the logits of the whole stack: of other ranks, scalings and layers."""
    roles = roles_on(base, sft=sft)
    for parameter in roles.parameters["policy"].values():
        torch.nn.init.normal_(parameter, std=0.2)
    roles.policy.switch()
    joined = joined_adapter(roles)
    joined.write(tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    expected = roles.in_training.model(ids).logits
    alone = PeftModel.from_pretrained(tiny.model("llama"), str(tmp_path / "adapter")).eval()
    assert joined.rank == (7 if sft else 4)
    assert torch.allclose(alone(ids).logits, expected, atol=1e-4)
    assert not torch.allclose(tiny.model("llama")(ids).logits, expected, atol=1e-2)


def test_other_weights_have_another_name(base: Path) -> None:
    """Under an old name a server may go on with what it has cached."""
    roles = roles_on(base)
    first = joined_adapter(roles).digest
    assert joined_adapter(roles).digest == first
    next(iter(roles.parameters["policy"].values())).data[0, 0] += 1e-6
    assert joined_adapter(roles).digest != first


@pytest.mark.parametrize(
    ("sft", "temperature"), [(True, 1.0), *(pytest.param(*one, marks=SLOW) for one in ((False, 1.0), (True, 0.7)))]
)
def test_a_server_draws_from_the_policy_as_it_is_now(
    base: Path, server: AdapterServer, tmp_path: Path, sft: bool, temperature: float
) -> None:
    """Its log-probabilities are ours but for rounding, so that all importance weights are 1. Rule 25 (Y).

    The first step still starts at the reference exactly: the ratio is of the policy's own log-probabilities.
    """
    said: list[str] = []
    given = replace(context(server, tmp_path), say=said.append)
    _, history = loop(roles_on(base, sft=sft), given, temperature=temperature).run()
    seen = 4 if sft else 3  # at first, a policy without an adapter below it is its base
    assert f"showed the current policy in {seen} iterations; in {4 - seen} it had changed too little" in said[-1]
    assert history[0]["kl"] == 0.0
    assert [row["start_difference"] for row in history] == [0.0] * 3
    assert max(row["sampler_difference_max"] for row in history) < 1e-4
    assert [row["importance_weight"] for row in history] == pytest.approx([1.0] * 3, abs=1e-5)
    assert history[2]["kl"] != 0.0
    assert len(server.loaded) == 4  # before each iteration, and for the figures of the last policy
    assert server.names == {}  # it is asked to keep none
    asked = [body for body, _ in server.seen]
    assert len({body["model"] for body in asked}) == 4
    assert {(body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) for body in asked} == {
        (temperature, 1.0, 0, 8)
    }
    assert len({body["seed"] for body in asked}) == len(asked) == 4 * 32


@SLOW
def test_a_policy_that_has_not_changed_yet_cannot_be_told_from_its_base(
    base: Path, server: AdapterServer, tmp_path: Path
) -> None:
    said: list[str] = []
    given = replace(context(server, tmp_path), say=said.append)
    loop(roles_on(base, sft=False), given, value_warmup=2).run()
    assert "in 1 iterations; in 3 it had changed too little to tell" in said[-1]
    assert len(server.loaded) == 2  # the policy of three iterations is one


# -- what a server can do wrongly --------------------------------------------------------------------------------------

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"uses_adapter": False}, "draws from another distribution|does not draw from the policy as it is now"),
    ({"scale": 2.0}, "draws from another distribution|does not draw from the policy as it is now"),
    ({"shift": 1}, "goes on after|does not have|ended an answer|another distribution"),
    ({"shift": 1000}, "returns token ids that the policy does not have"),
    ({"most": 3}, r"ended an answer after 3 of 8 tokens"),
    ({"goes_on": True}, "goes on after token 2"),
    ({"returns_logprobs": False}, "returns no log-probabilities"),
    ({"returns_ids": False}, "returns no token ids"),
    ({"takes_ids": False}, "prompt must be a string"),
    (
        {"adapters": False},
        r"does not load the adapter in .*HTTP 404.*VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve",
    ),
    ({"temperature": 0.3}, "another distribution|more probable tokens"),
    ({"top_k": 2, "reports_before_temperature": True}, "by which its tokens were not drawn|more probable tokens"),
]


@pytest.mark.parametrize(("ways", "message"), FAULTS)
def test_a_server_that_does_not_draw_from_the_policy_is_refused_before_anything_is_learned(
    base: Path, server: AdapterServer, tmp_path: Path, ways: dict[str, Any], message: str
) -> None:
    server.change(**ways)
    roles = roles_on(base)
    before = trained(roles)
    with pytest.raises(RequestError, match=message) as error:
        loop(roles, context(server, tmp_path)).run()
    assert error.value.status == 2
    assert all(torch.equal(values, before[name]) for name, values in trained(roles).items())
    assert [*(tmp_path / CHECKPOINTS).glob("served/*/rollouts-*")] == []  # the next run asks anew


def test_log_probabilities_from_before_the_temperature_are_refused(
    base: Path, server: AdapterServer, tmp_path: Path
) -> None:
    """vLLM returns those unless it is told otherwise."""
    server.change(reports_before_temperature=True)
    with pytest.raises(RequestError, match=r"were not drawn .*--logprobs-mode processed_logprobs"):
        loop(roles_on(base), context(server, tmp_path), temperature=0.7, rollouts=128, batch_size=64).run()


@SLOW
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("loads", [1, 2])
def test_a_server_that_goes_on_with_an_older_adapter_is_refused(
    base: Path, server: AdapterServer, tmp_path: Path, loads: int, half: bool
) -> None:
    """It says that it has loaded the new one. It is found out by the first policy that it does not have."""
    server.change(loads=loads, half=half)
    run = loop(roles_on(base), context(server, tmp_path), iterations=6, schedule="constant")
    with pytest.raises(RequestError, match=r"does not draw from the policy as it is now: of its last change"):
        run.run()
    state = run.checkpoints.load_last()
    assert state is not None
    assert state.iteration == loads


@SLOW
def test_small_steps_that_a_server_does_not_take_are_noticed_once_they_add_up(
    base: Path, server: AdapterServer, tmp_path: Path
) -> None:
    """Each step alone is below the noise of another precision: too little to tell at first."""
    server.change(loads=1, noise=0.2)
    small = {"learning_rate": 1e-3, "iterations": 40, "schedule": "constant", "importance_cap": None}
    run = loop(roles_on(base), context(server, tmp_path), **small)
    with pytest.raises(RequestError, match="does not draw from the policy as it is now"):
        run.run()
    state = run.checkpoints.load_last()
    assert state is not None
    assert 1 < state.iteration < 20


@SLOW
def test_a_server_in_bfloat16_is_seen_to_have_each_policy(base: Path, server: AdapterServer, tmp_path: Path) -> None:
    server.change(half=True)
    said: list[str] = []
    _, history = loop(roles_on(base), replace(context(server, tmp_path), say=said.append)).run()
    assert "showed the current policy in 4 iterations; in 0 " in said[-1]
    assert all(1e-3 < row["sampler_difference"] < 0.1 for row in history)
    assert all(0.99 < row["importance_weight"] < 1.01 for row in history)


@SLOW
def test_a_server_of_another_precision_is_corrected_by_weights(
    base: Path, server: AdapterServer, tmp_path: Path
) -> None:
    """It is not refused, what it differs by is logged, and the weights change what is learned. Rule 25 (Y)."""
    server.change(noise=0.3)
    runs = {}
    for cap in (None, 1.5):
        roles = roles_on(base)
        _, history = loop(roles, context(server, tmp_path / str(cap)), importance_cap=cap).run()
        runs[cap] = trained(roles), history
        assert all(0.05 < row["sampler_difference"] < 0.5 for row in history)
        assert all(-0.02 < row["sampler_kl"] < 0.2 for row in history)
    weighted, plain = runs[1.5], runs[None]
    assert all(0.9 < row["importance_weight"] < 1.02 for row in weighted[1])
    assert any(row["importance_capped"] > 0 for row in weighted[1])
    assert "importance_weight" not in plain[1][0]
    assert weighted[1][0]["sampler_difference"] == plain[1][0]["sampler_difference"]
    assert any(not torch.equal(values, plain[0][name]) for name, values in weighted[0].items())


@SLOW
def test_nothing_is_compared_where_that_is_asked_for(base: Path, server: AdapterServer, tmp_path: Path) -> None:
    server.change(loads=1)
    said: list[str] = []
    given = replace(context(server, tmp_path, check=False), say=said.append)
    _, history = loop(roles_on(base), given).run()
    assert "nothing was compared (generation.check=false)" in said[-1]
    assert history[2]["sampler_difference"] > 0.01  # it is still told


# -- a server that is away ---------------------------------------------------------------------------------------------


@SLOW
def test_a_server_that_goes_away_loses_nothing(base: Path, server: AdapterServer, tmp_path: Path) -> None:
    """Status 1; the same command goes on, and asks only for what is missing."""
    _, unbroken = loop(roles_on(base), context(server, tmp_path / "unbroken")).run()
    server.seen.clear()
    server.change(answers=32 + 10)  # in the second iteration
    with pytest.raises(PipelineError, match="gave no answer") as error:
        loop(roles_on(base), context(server, tmp_path / "broken"), checkpoint_every=3).run()
    assert error.value.status == 1
    assert not isinstance(error.value, RequestError)
    [kept] = (tmp_path / "broken" / CHECKPOINTS).glob("served/*/rollouts-1.jsonl")
    assert 0 < len(kept.read_text().splitlines()) <= 10
    asked = len(kept.read_text().splitlines())
    server.seen.clear()
    server.change(answers=None)
    said: list[str] = []
    given = replace(context(server, tmp_path / "broken"), say=said.append)
    _, resumed = loop(roles_on(base), given, checkpoint_every=3).run()
    assert said[0] == "resumed from iteration 1"
    assert len(server.seen) == 3 * 32 - asked
    timeless = [{k: v for k, v in row.items() if "seconds" not in k} for row in unbroken]
    assert [{k: v for k, v in row.items() if "seconds" not in k} for row in resumed] == timeless


def test_a_server_without_the_adapters_folder_is_told_what_it_needs(
    base: Path, server: AdapterServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = loop(roles_on(base), context(server, tmp_path))
    hand_over = type(run.sampler.server).hand_over  # type: ignore[attr-defined]

    def elsewhere(self: Any, name: str, folder: Path, prefix: str) -> None:
        hand_over(self, name, Path("/nowhere") / folder.name, prefix)

    monkeypatch.setattr(type(run.sampler.server), "hand_over", elsewhere)  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match=r"No adapter found.*has to read that folder under the same path") as error:
        run.run()
    assert f"vllm serve {base} --enable-lora --max-lora-rank 8" in str(error.value)


def test_an_adapter_whose_loading_was_answered_to_nobody_is_used(
    base: Path, server: AdapterServer, tmp_path: Path
) -> None:
    """The first answer to each loading is lost: asked again, the server says that it has the adapter already."""
    server.change(loses_answers=True)
    _, history = loop(roles_on(base), context(server, tmp_path), iterations=1).run()
    assert history[0]["sampler_difference_max"] < 1e-4


def test_adapters_of_a_killed_run_are_taken_back(base: Path, server: AdapterServer, tmp_path: Path) -> None:
    """Those of other versions stay."""
    server.names = dict.fromkeys((f"ppo-{tmp_path.name}-old", "ppo-another-run", "other"), server.model)
    loop(roles_on(base), context(server, tmp_path)).run()
    assert set(server.names) == {"ppo-another-run", "other"}
    shutil.rmtree(tmp_path / CHECKPOINTS)
