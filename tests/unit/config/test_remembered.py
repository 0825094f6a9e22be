"""The last request of a project: what is kept of it, when, and how later overrides change it."""

import shlex
from pathlib import Path

import pytest
import yaml

from pipeline.config.remembered import FILE, Request, merged, recall, remember, remembering, request_of
from pipeline.errors import PipelineError, RequestError

OWN = ("stage=sft", "project=support", "data.path=my rows.jsonl", "model.path=a/b")


def made() -> bool:
    return True


def not_made() -> bool:
    return False


def test_a_command_is_the_whole_request_quoted_for_the_shell() -> None:
    command = Request(OWN).command("stage=dpo", "dpo.beta=0.3")
    assert shlex.split(command)[3:] == ["stage=dpo", *OWN[1:], "dpo.beta=0.3"]
    assert "'data.path=my rows.jsonl'" in command


def test_what_was_asked_of_one_run_is_not_asked_of_the_next() -> None:
    assert Request(("plan=true", "tag=friday", "seed=1")).command() == "python -m pipeline seed=1"


@pytest.mark.parametrize(
    ("before", "later", "expected"),
    [
        (["dpo.beta=0.1"], ["dpo.beta=0.3"], ["dpo.beta=0.3"]),
        (["seed=1"], ["stage=dpo"], ["stage=dpo", "seed=1"]),
        (["data=files", "data.path=a"], ["data.path=b"], ["data=files", "data.path=b"]),
        (["data.path=a"], ["data.sources=[{path: b}]"], ["data.sources=[{path: b}]"]),
        (["data=playground"], ["data.path=b"], ["data.path=b"]),
        (["data.path=a", "seed=1"], ["data=playground"], ["seed=1", "data=playground"]),
        (["labeling=simulated"], ["labeling.path=b"], ["labeling.path=b"]),
        (["model=mine"], ["model.path=b"], ["model=mine", "model.path=b"]),
        (["++dpo.trainer.x=1"], ["dpo.trainer.x=2"], ["dpo.trainer.x=2"]),
    ],
)
def test_a_later_override_takes_the_place_of_an_earlier_one(
    before: list[str], later: list[str], expected: list[str]
) -> None:
    assert merged(before, later) == expected


def test_a_request_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    request = request_of([*OWN, "dpo.trainer.x='${seed}: {a, ü}'", "tag=friday"])
    remember(tmp_path / "support", request)
    back = recall(tmp_path / "support")
    assert back is not None
    assert back.overrides == request.overrides[:-1]
    assert (back.folder, back.time) == (str(Path.cwd()), request.time)
    assert yaml.safe_load((tmp_path / "support" / FILE).read_text())["command"] == request.command()


def test_nothing_is_recalled_where_nothing_was_kept(tmp_path: Path) -> None:
    assert recall(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "[", "overrides: 3", "a: b", "\x00", "{overrides: [seed=1], folder: x, time: noon}"]
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RequestError, match=FILE):
        recall(tmp_path)


def test_the_last_request_counts(tmp_path: Path) -> None:
    for beta in ("0.1", "0.3"):
        with remembering(tmp_path, request_of(["dpo.beta=" + beta]), made):
            pass
    assert recall(tmp_path).overrides == ("dpo.beta=0.3",)  # type: ignore[union-attr]


def test_a_request_that_is_refused_before_it_made_anything_is_no_last_one(tmp_path: Path) -> None:
    root = tmp_path / "outputs" / "support"
    with pytest.raises(RequestError), remembering(root, request_of(["seed=1"]), not_made):
        raise RequestError("wrong")
    assert not root.parent.exists()
    remember(root, request_of(["seed=1"]))
    with pytest.raises(RequestError), remembering(root, request_of(["seed=2"]), not_made):
        raise RequestError("wrong")
    assert recall(root).overrides == ("seed=1",)  # type: ignore[union-attr]


@pytest.mark.parametrize(("error", "has_made"), [(RequestError, made), (PipelineError, not_made)])
def test_a_request_that_went_some_way_is_the_last_one(tmp_path: Path, error: type[Exception], has_made: object) -> None:
    with pytest.raises(error), remembering(tmp_path, request_of(["seed=2"]), has_made):  # type: ignore[arg-type]
        raise error("later")
    assert recall(tmp_path).overrides == ("seed=2",)  # type: ignore[union-attr]
