"""Who draws is part of a version, at which address is not; and a server is needed only by a stage that is to run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.schema import content
from pipeline.engine.planner import Step
from pipeline.engine.servers import check_servers
from pipeline.errors import RequestError, Unplannable
from tests.conftest import configured

SERVERS = "generation.servers=[{policy: sft, url: http://HOST/v1}]"


def test_who_draws_changes_a_version_and_the_address_does_not(planned: Callable[..., dict[str, Step]]) -> None:
    here, served = planned("stage=sample"), planned("stage=sample", "generation=vllm", SERVERS)
    elsewhere = SERVERS.replace("HOST", "OTHER")
    assert here["sample"].version != served["sample"].version
    assert here["sft"].version == served["sft"].version
    moved = planned("stage=sample", "generation=vllm", elsewhere, "generation.check=false")
    assert moved["sample"].version == served["sample"].version
    assert planned("stage=sample", "generation=hf")["sample"].version == here["sample"].version


def test_a_model_that_drafts_at_an_address_of_its_own_does_not_care_who_draws_for_policies(
    planned: Callable[..., dict[str, Step]],
) -> None:
    writer = ("stage=draft", "draft.writer=http://HOST/v1", "draft.model=large")
    assert planned(*writer)["draft"].version == planned(*writer, "generation=vllm", SERVERS)["draft"].version


def test_every_policy_that_a_stage_draws_from_has_a_server(outputs: Path) -> None:
    config = configured(outputs, "generation=vllm", SERVERS, "evaluate.policies=[sft,dpo]")
    check_servers(config, ["sft", "sample", "dpo", "draft"])
    with pytest.raises(Unplannable, match=r"evaluate has answers of 'dpo' drawn by vllm, .*names no server of it"):
        check_servers(config, ["sample", "evaluate"])
    check_servers(configured(outputs, "evaluate.policies=[sft,dpo]"), ["sample", "evaluate"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((SERVERS,), "generation.servers: this machine draws"),
        (("generation=vllm", SERVERS.replace("HOST", "me:secret@HOST")), "comes from the environment"),
        (("generation=vllm", SERVERS.replace("}]", "}, {policy: sft, url: http://B/v1}]")), "another server draws for"),
        (
            ("generation=vllm", "generation.request.temperature=2"),
            "generation.request.temperature: set by the pipeline",
        ),
        (("generation=vllm", "generation.servers=[{policy: sft}]"), "generation.servers[0].url has to be given"),
        (("generation=openai", "generation.request.api_key=abc"), "a credential does not belong in a request"),
    ],
)
def test_what_no_server_can_be_asked_is_refused(outputs: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(RequestError) as error:
        configured(outputs, *overrides)
    assert message in str(error.value)
    assert "secret" not in str(error.value)


ROLLOUTS = "generation.servers=[{policy: rollouts, url: http://HOST/v1}]"


def test_who_draws_ppos_rollouts_is_chosen_for_ppo_alone(planned: Callable[..., dict[str, Step]]) -> None:
    """What was made before stays; so does PPO's version where it draws here, as before there was a choice."""
    here = planned("stage=ppo", "peft=lora")
    served = planned("stage=ppo", "peft=lora", "ppo.drawn_by=vllm", ROLLOUTS)
    assert {name for name in here if here[name].version != served[name].version} == {"ppo"}
    moved = planned("stage=ppo", "peft=lora", "ppo.drawn_by=vllm", ROLLOUTS.replace("HOST", "OTHER"))
    assert moved["ppo"].version == served["ppo"].version
    assert planned("stage=ppo", "peft=lora", "generation=vllm")["ppo"].config.drawn_by == "hf"
    assert {"drawn_by", "importance_cap"}.isdisjoint(content(here["ppo"].config))


def test_rollouts_have_a_server(outputs: Path) -> None:
    config = configured(outputs, "peft=lora", "ppo.drawn_by=vllm", ROLLOUTS)
    check_servers(config, ["sft", "sample", "ppo", "evaluate"])
    with pytest.raises(Unplannable, match=r"ppo has answers of 'rollouts' drawn by vllm.*Or: ppo.drawn_by=hf"):
        check_servers(configured(outputs, "peft=lora", "ppo.drawn_by=vllm"), ["ppo"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("ppo.drawn_by=vllm", ROLLOUTS), "ppo.peft.method=full has none. Use peft@ppo.peft=lora"),
        (("peft=lora", ROLLOUTS), "this machine draws PPO's rollouts. Have the server draw them: ppo.drawn_by=vllm"),
        (("peft=lora", "ppo.importance_cap=3"), "all weights are 1. Leave it out"),
        (("peft=lora", "ppo.importance_cap=0.5"), "ppo.importance_cap=0.5: out of range, it has to be at least 1"),
        (("peft=lora", "ppo.drawn_by=openai", ROLLOUTS), "ppo.drawn_by=openai: "),
        (("peft=lora", "ppo.drawn_by=vllm", SERVERS), "generation.servers: this machine draws"),
    ],
)
def test_rollouts_that_no_server_can_draw_are_refused(outputs: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(RequestError) as error:
        configured(outputs, *overrides)
    assert message in str(error.value)
