"""A path that is given is read: the choice that it needs follows, or the request is refused; never ignored."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.config import compose, names
from pipeline.config.schema import PipelineConfig
from pipeline.errors import RequestError

GROUPS = {"model.path=a/b": "model=hub", "data.path=a.jsonl": "data=files", "labeling.path=b.jsonl": "labeling=file"}
OTHERS = {
    "model.path=a/b": ["model=tiny"],
    "data.path=a.jsonl": ["data=playground", "data.source=playground"],
    "data.sources=[{path: a.jsonl}]": ["data=playground"],
    "labeling.path=b.jsonl": ["labeling=embedded", "labeling=remote", "labeling=simulated"],
}


@pytest.mark.parametrize(("given", "follows"), GROUPS.items())
def test_a_path_alone_is_as_if_its_group_had_been_chosen(given: str, follows: str) -> None:
    loaded = compose.read([given])
    assert [one.override for one in loaded.followed] == [follows]
    assert loaded.followed[0].text == f"{given.partition('=')[0]} is given, so {follows}"
    assert loaded.config == compose.load([given, follows])
    assert compose.read([given, follows]).followed == []


def test_all_paths_together(tmp_path: Path) -> None:
    config = compose.load([*GROUPS])
    assert (config.model.dtype, config.data.source, config.labeling.backend) == ("bfloat16", "files", "file")
    assert config.sft.learning_rate == 2e-5  # a pretrained model's, not the playground's


def test_several_sources_are_files() -> None:
    loaded = compose.read(["data.sources=[{path: a.jsonl}]"])
    assert (loaded.config.data.source, loaded.followed[0].key) == ("files", "data.sources")


@pytest.mark.parametrize(("given", "chosen"), [(given, one) for given, ones in OTHERS.items() for one in ones])
def test_a_path_beside_a_choice_that_ignores_it_is_refused(given: str, chosen: str) -> None:
    with pytest.raises(RequestError) as raised:
        compose.load([chosen, given])
    [_, said] = str(raised.value).splitlines()
    assert said.strip().startswith(given.partition("=")[0] + "=")
    assert f"{chosen} was chosen" in said


@pytest.mark.parametrize("nothing", ["data.path=null", "model.path=''", "labeling.path=null"])
def test_an_empty_path_changes_nothing(nothing: str) -> None:
    assert compose.read([nothing]).followed == []


@pytest.mark.parametrize(
    ("override", "needs"),
    [("data.test_path=t.jsonl", "data.path=FILE"), ("data.format=kto", "data.path=FILE"),
     ("data.columns.prompt=Frage", "data.path=FILE"), ("model.thinking=keep", "model.path="),
     ("labeling.format=pairs", "labeling.path=FILE"), ("labeling.columns.prompt=Frage", "labeling.path=FILE"),
     ("model.revision=v1", "model.path="), ("model.chat_template=c.jinja", "model.path=")],
)  # fmt: skip
def test_what_is_about_the_users_own_needs_something_of_theirs(override: str, needs: str) -> None:
    with pytest.raises(RequestError, match=needs):
        compose.load([override])


def test_annotators_beside_a_file_of_rankings_are_refused() -> None:
    with pytest.raises(RequestError, match="instead of a file"):
        compose.load(["labeling.path=b.jsonl", "labeling.annotators=[anna,ben]"])


@pytest.mark.parametrize("codes", ["{0: first, 2: tie}", '{"0": first, "2": tie}', "{'0': 'first', '2': 'tie'}"])
def test_keys_of_a_mapping_may_be_quoted(codes: str) -> None:
    given = compose.load(["labeling.path=b.jsonl", f"labeling.codes={codes}"]).labeling.codes
    assert {str(code): meant for code, meant in given.items()} == {"0": "first", "2": "tie"}


# -- experiments


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write `experiment=mine`."""
    conf = tmp_path / "conf"
    shutil.copytree(compose.CONF, conf)
    for module in (compose, names):
        monkeypatch.setattr(module, "CONF", conf)

    def write(text: str) -> None:
        (conf / "experiment" / "mine.yaml").write_text("# @package _global_\n" + text)
        names.all_names.cache_clear()

    yield write
    names.all_names.cache_clear()


def mine(*overrides: str) -> PipelineConfig:
    return compose.load(["experiment=mine", *overrides])


def test_a_path_in_an_experiment_is_read(experiment: Callable[[str], None]) -> None:
    experiment("data: {path: a.jsonl}\nmodel: {path: a/b}\nlabeling: {path: b.jsonl}\n")
    config = mine()
    assert (config.data.source, config.data.path) == ("files", "a.jsonl")
    assert (config.model.path, config.model.dtype, config.labeling.backend) == ("a/b", "bfloat16", "file")


def test_a_path_beside_an_experiment_that_says_nothing_about_it_is_read(experiment: Callable[[str], None]) -> None:
    experiment("seed: 3\n")
    config = mine("data.path=a.jsonl")
    assert (config.seed, config.data.source) == (3, "files")


def test_an_experiment_that_chose_the_files_needs_nothing_more(experiment: Callable[[str], None]) -> None:
    experiment("defaults:\n  - override /data: files\n")
    assert compose.read(["experiment=mine", "data.path=a.jsonl"]).followed == []


@pytest.mark.parametrize(
    "text", ["defaults:\n  - override /data: playground\n", "data: {source: playground}\n", "data: {path: b.jsonl}\n"]
)
def test_an_experiment_that_chose_the_playground_and_a_path_contradict(
    experiment: Callable[[str], None], text: str
) -> None:
    experiment(text)
    if "path" in text:  # another file: the command line wins
        assert mine("data.path=a.jsonl").data.path == "a.jsonl"
        return
    with pytest.raises(RequestError, match="reads no files"):
        mine("data.path=a.jsonl")


def test_an_experiment_that_is_no_yaml_is_refused_with_its_line(experiment: Callable[[str], None]) -> None:
    experiment("seed: 1\ndata: {path: ???}\n")
    with pytest.raises(RequestError, match=r"mine\.yaml, line 3: "):
        mine()


# -- sweeps


def test_every_request_of_a_sweep_has_the_choices_that_follow_from_it() -> None:
    sweep = ["stage=sft", "data.path=a.jsonl", "model.path='',a/b", "dpo.beta=0.1,0.3"]
    compose.check(sweep)
    loaded = [compose.load(job) for job in compose.jobs(sweep)]
    assert [(one.model.path, one.dpo.beta) for one in loaded] == [("", 0.1), ("", 0.3), ("a/b", 0.1), ("a/b", 0.3)]
    assert [one.model.dtype for one in loaded] == ["float32"] * 2 + ["bfloat16"] * 2
    assert {one.data.source for one in loaded} == {"files"}


def test_a_sweep_with_a_choice_that_ignores_a_path_is_refused() -> None:
    with pytest.raises(RequestError, match="data=playground was chosen"):
        compose.check(["data=files,playground", "data.path=a.jsonl"])


# -- other keys that follow


def test_ppos_batch_follows_its_rollouts_unless_set() -> None:
    assert compose.load([]).ppo.batch_size == 32
    assert [compose.load([f"ppo.rollouts={n}"]).ppo.batch_size for n in (2, 7, 16)] == [1, 7, 8]
    assert compose.load(["ppo.rollouts=16", "ppo.batch_size=4"]).ppo.batch_size == 4
    with pytest.raises(RequestError, match=r"not a multiple of ppo\.batch_size=48\. Give ppo\.rollouts=96"):
        compose.load(["ppo.batch_size=48"])


@pytest.mark.parametrize(
    "override",
    ["sft.trainer.hub_token=hf_abcdefghijklmnopqrstuv", "dpo.trainer.foo.api_key=x",
     "model.path=https://anna:secret@host/x", "data.path=sk-abcdefghijklmnopqrst"],
)  # fmt: skip
def test_a_credential_is_refused_and_not_repeated(override: str) -> None:
    with pytest.raises(RequestError) as raised:
        compose.load([override])
    assert "does not belong in a request" in str(raised.value)
    assert override.partition("=")[2] not in str(raised.value)


def test_words_that_only_sound_like_credentials_are_let_through() -> None:
    compose.load(["reward.token_weight=1", "sft.trainer.hub_model_id=a/b", "data.path=my-token.jsonl"])
