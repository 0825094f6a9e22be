"""Our client before a server of the standard library: what is sent, what is borne with, what ends the command."""

import json
from pathlib import Path

import pytest

from pipeline.config.checks import check_values
from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.rows import Message
from pipeline.errors import PipelineError, RequestError
from pipeline.services import endpoints
from pipeline.services.endpoints import Endpoint
from tests.completions import Reply, Server, completion, serving
from tests.conftest import configured

PROMPTS = [[Message(role="user", content=f"Question {number}?")] for number in range(8)]


def always(question: str, before: int) -> Reply:
    return completion(f"Answer to {question}")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_token_of_somebody")


def endpoint(server: Server, tmp_path: Path, concurrency: int = 3) -> Endpoint:
    return Endpoint(server.url, "some-model", DecodingConfig(0.5, 0.9, 77), 5, concurrency, tmp_path)


def test_answers_come_back_in_the_order_of_the_prompts_with_how_they_ended(tmp_path: Path) -> None:
    def script(question: str, before: int) -> Reply:
        return completion(None, "length") if question == "Question 3?" else always(question, before)

    with serving(script) as server:
        done: list[int] = []
        written = endpoint(server, tmp_path).write(PROMPTS, "draft", done.append)
    assert [one.text for one in written] == ["" if n == 3 else f"Answer to Question {n}?" for n in range(8)]
    assert [one.stopped for one in written] == [n != 3 for n in range(8)]
    assert sum(done) == 8
    body = next(body for body, _ in server.seen if body["messages"] == PROMPTS[2])
    assert {key: body[key] for key in ("model", "max_tokens", "temperature", "top_p", "seed")} == {
        "model": "some-model",
        "max_tokens": 77,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
    }


def test_no_token_of_another_login_is_ever_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(always) as server:
        endpoint(server, tmp_path / "without").write(PROMPTS[:1], "draft")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
        endpoint(server, tmp_path / "with").write(PROMPTS[:1], "draft")
    headers = [{name.lower(): value for name, value in sent.items()} for _, sent in server.seen]
    assert "authorization" not in headers[0]
    assert headers[1]["authorization"] == "Bearer sk-ours"
    assert "hf_token_of_somebody" not in json.dumps(headers)


def test_a_key_is_in_no_file_and_in_no_representation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
    with serving(lambda question, before: (400, {"error": {"message": "bad key sk-ours?"}})) as server:
        asking = endpoint(server, tmp_path)
        with pytest.raises(RequestError, match=r"refused the request: .*bad key …\?") as error:
            asking.write(PROMPTS[:1], "draft")
    assert "sk-ours" not in repr(asking) + str(error.value)
    assert all("sk-ours" not in file.read_text() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(tmp_path: Path, status: int) -> None:
    def script(question: str, before: int) -> Reply:
        return (status, {"error": {"message": "later"}}) if before < 2 else always(question, before)

    with serving(script) as server:
        written = endpoint(server, tmp_path).write(PROMPTS[:2], "draft")
    assert all(one.stopped for one in written)
    assert len(server.seen) == 6


def test_a_server_that_stays_away_is_the_machines_fault_and_what_came_is_kept(tmp_path: Path) -> None:
    def script(question: str, before: int) -> Reply:
        return (503, {}) if question == "Question 5?" else always(question, before)

    with serving(script) as server:
        with pytest.raises(PipelineError, match=r"was asked 6 times and gave no answer \(HTTP 503") as error:
            endpoint(server, tmp_path, concurrency=1).write(PROMPTS, "draft")
        assert error.value.status == 1
        server.seen.clear()
        server.script = always
        assert len(endpoint(server, tmp_path, concurrency=1).write(PROMPTS, "draft")) == 8
        assert server.questions() == ["Question 5?", "Question 6?", "Question 7?"]
        server.seen.clear()
        endpoint(server, tmp_path).write(PROMPTS, "draft")
        assert server.seen == []  # nothing is paid for twice
    with pytest.raises(PipelineError, match="gave no answer") as error:  # nobody listens there any more
        endpoint(server, tmp_path / "other").write(PROMPTS[:1], "draft")
    assert error.value.status == 1


def test_a_line_that_was_cut_off_by_a_kill_is_asked_for_again(tmp_path: Path) -> None:
    with serving(always) as server:
        whole = endpoint(server, tmp_path, concurrency=1).write(PROMPTS, "draft")
        file = tmp_path / "draft.jsonl"
        file.write_bytes(file.read_bytes()[:-20])
        server.seen.clear()
        assert endpoint(server, tmp_path).write(PROMPTS, "draft") == whole
        assert server.questions() == ["Question 7?"]
        assert len(file.read_text().splitlines()) == 8


def test_other_prompts_do_not_get_the_answers_that_are_there(tmp_path: Path) -> None:
    with serving(always) as server:
        endpoint(server, tmp_path).write(PROMPTS, "draft")
        (other,) = endpoint(server, tmp_path).write([[Message(role="user", content="Another?")]], "draft")
    assert other.text == "Answer to Another?"


@pytest.mark.parametrize(("status", "message"), [(401, "OPENAI_API_KEY is not set"), (404, "'some-model'")])
def test_a_refused_key_and_an_unknown_model_are_the_requests_fault(tmp_path: Path, status: int, message: str) -> None:
    with serving(lambda question, before: (status, {"error": {"message": "no"}})) as server:
        with pytest.raises(RequestError, match=message) as error:
            endpoint(server, tmp_path, concurrency=1).write(PROMPTS, "draft")
        assert error.value.status == 2
        assert len(server.seen) <= 2  # nobody insists


def test_one_prompt_that_is_refused_costs_one_draft(tmp_path: Path) -> None:
    def script(question: str, before: int) -> Reply:
        return (400, {"error": {"message": "too long"}}) if question == "Question 5?" else always(question, before)

    with serving(script) as server:
        written = endpoint(server, tmp_path, concurrency=1).write(PROMPTS, "draft")
    assert [one.refused for one in written] == [n == 5 for n in range(8)]


@pytest.mark.parametrize("page", [b"<html>Welcome</html>", b"{}", b'{"choices": []}', b"[1]"])
def test_another_kind_of_server_is_told(tmp_path: Path, page: bytes) -> None:
    with (
        serving(lambda question, before: (200, page)) as server,
        pytest.raises(RequestError, match="is not an endpoint for chat completions"),
    ):
        endpoint(server, tmp_path).write(PROMPTS[:1], "draft")


def test_a_client_that_is_told_to_stay_offline_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    with serving(always) as server, pytest.raises(RequestError, match="HF_HUB_OFFLINE is set"):
        endpoint(server, tmp_path).write(PROMPTS[:1], "draft")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("draft.writer=https://host/v1",), "draft.model has to be given"),
        (("draft.model=gpt",), "draft.writer=sft is a policy"),
        (("draft.writer='https://me:secret@host/v1'", "draft.model=gpt"), "comes from the environment"),
        (("draft.writer='https://host/v1?key=secret'", "draft.model=gpt"), "comes from the environment"),
        (("draft.writer=https://", "draft.model=gpt"), "like https://HOST/v1"),
        (("draft.prompts=7",), "a file, a folder or a glob"),
    ],
)
def test_an_address_has_a_model_and_no_key_in_it(tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(RequestError, match=message) as error:
        configured(tmp_path, *overrides)
    assert "secret" not in str(error.value)
    assert list(check_values(configured(tmp_path, "draft.writer=http://127.0.0.1:8000/v1", "draft.model=gpt"))) == []
