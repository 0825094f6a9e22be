"""Who draws is part of a version, at which address is not; and a server is needed only by a stage that is to run."""

from collections.abc import Callable
from pathlib import Path

import pytest

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
