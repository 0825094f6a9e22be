"""The door: every fault of a command line at once, each with the nearest right name; and what is let in means it."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import MISSING

from pipeline.config import compose
from pipeline.config.names import CONF
from pipeline.config.nodes.demonstrations import DEMONSTRATION_FORMATS
from pipeline.config.nodes.people import JUDGEMENT_FORMATS
from pipeline.config.schema import PipelineConfig, content
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS
from pipeline.errors import RequestError


def faults(*overrides: str) -> list[str]:
    with pytest.raises(RequestError) as raised:
        compose.check(list(overrides))
    assert raised.value.status == 2
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


# -- faults


@pytest.mark.parametrize(("override", "list_of_one"), [("evaluate.best_of=4", "[4]"), ("sample.policies=sft", "[sft]")])
def test_one_value_where_a_list_belongs_is_told_as_a_list(override: str, list_of_one: str) -> None:
    key = override.partition("=")[0]
    assert faults(override) == [f"{override}: it has to be a list: {key}={list_of_one}"]


def test_all_faults_are_said_at_once_each_with_the_nearest_name() -> None:
    found = faults(
        "sft.lerning_rate=1e-4", "dpo.beta=-1", "seed=many", "peft=lorra", "plan=perhaps", "sft.schedule=cosin",
        "dpo.trainer.loss_typ=ipo", "dpo.inputs.polcy=sft", "stage=sfft", "project=../mine", "tag=latest", "nonsense",
    )  # fmt: skip
    expected = {
        "nonsense": "not of the form key=value",
        "sft.lerning_rate": "Did you mean 'sft.learning_rate'?",
        "dpo.beta=-1": "it has to be above 0",
        "seed=many": "could not be converted to Integer",
        "peft=lorra": "Did you mean 'lora'?",
        "plan=perhaps": "not a valid bool",
        "sft.schedule=cosin": "Did you mean 'cosine'?",
        "dpo.trainer.loss_typ": "Did you mean 'loss_type'?",
        "dpo.inputs.polcy": "Did you mean 'policy'?",
        "stage=sfft": "Did you mean 'sft'?",
        "project=../mine": "a project's name has",
        "tag=latest": "choose another tag",
    }
    assert len(found) == len(expected)
    for start, end in expected.items():
        assert [line for line in found if line.startswith(start) and end in line], f"{start} … {end} in {found}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+dpo.foo=1", "dpo.foo: no such key"),
        ("foo.trainer.x=1", "foo.trainer.x: no such key. Did you mean 'sft.trainer'?"),
        ("collect.trainer.x=1", "collect.trainer.x: no such key"),
        ("xyzzy=1", "xyzzy: no such key. `python -m pipeline --help` lists all keys."),
        ("peft@sft.pft=full", "peft@sft.pft: no such key. Did you mean 'sft.peft'?"),
        ("peft=null", "peft=null: no such option. Did you mean"),
        ("sft.peft=lora", "sft.peft=lora: an option is chosen with peft@sft.peft=lora."),
        ("~sft.epochs", "~sft.epochs: nothing can be taken out"),
        ("dpo.seed=${nope}", "dpo.seed: Interpolation key 'nope' not found"),
        ("hydra.foo=1", "hydra.foo=1: Key 'foo' not in 'HydraConf'"),
        ("sft.epochs=null", "sft.epochs=null: field 'sft.epochs' is not Optional"),
        ("sft.epochs=???", "sft.epochs has to be given"),
        ("dpo.beta=nan", "dpo.beta=nan: out of range"),
        ("dpo.beta=inf", "dpo.beta=inf: it has to be a finite number"),
        ("sft.trainer.max_grad_norm=inf", "sft.trainer.max_grad_norm=inf: it has to be a finite number"),
        ("sft.trainer.max_grad_norm=nan", "sft.trainer.max_grad_norm=nan: it has to be a finite number"),
        ("sample.policies=[]", "sample.policies=[]: it needs at least one entry"),
        ("sft.trainer.max_length=9", "sft.trainer.max_length: set by the pipeline; use data.max_length."),
        ("data.inputs.base=x", "data.inputs.base: no such input. The stage data has none that can be named."),
        ("dpo.trainer.learning_rate=1", "dpo.trainer.learning_rate: set by the pipeline; use dpo.learning_rate."),
        ("sft.trainer.beta=1", "sft.trainer.beta: no such option"),
        ("sft.trainer=3", "sft.trainer=3: Cannot assign int"),
        ("outputs=", "outputs=: it has to name a folder"),
        ("model=hub", "model.path has to be given: model.path=…"),
        ("data=files", "data.path has to be given: data.path=…"),
        ("labeling=file", "labeling.path has to be given: labeling.path=…"),
        ("data.source=files", "data.path has to be given: data.path=…"),
        ("labeling.backend=file", "labeling.path has to be given"),
        ("statsu", "statsu: not of the form key=value. Did you mean the command 'status'?"),
    ],
)
def test_one_fault(override: str, message: str) -> None:
    [found] = faults(override)
    assert message in found


def test_shares_that_leave_nothing_for_sft() -> None:
    [found] = faults("data=files", "data.path=a.jsonl", "data.split.dev=0.6", "data.split.test=0.5")
    assert found == "data.split: the shares add up to 1.1, so nothing is left for SFT."


def test_a_missing_key_is_said_beside_a_wrong_one() -> None:
    assert faults("data=files", "data.pth=a.jsonl") == [
        "data.pth: no such key. Did you mean 'data.path'?",
        "data.path has to be given: data.path=…",
    ]


def test_a_right_override_is_not_blamed_for_a_wrong_one() -> None:
    trainer = "sft.trainer.lr_scheduler_kwargs.num_cycles=2"
    assert faults("peft=lora", trainer, "sft.epoch=2", "dpo.inputs.policy=sft@friday") == [
        "sft.epoch: no such key. Did you mean 'sft.epochs'?"
    ]


# -- sweeps


def test_every_value_of_a_sweep_is_checked() -> None:
    assert faults("dpo.beta=0.1,wide,0.3", "peft=full,lorra", "seed=0,1") == [
        "dpo.beta=wide: Value 'wide' of type 'str' could not be converted to Float",
        "peft=lorra: no such option. Did you mean 'lora'?",
    ]


@pytest.mark.parametrize(
    "sweep",
    [
        ["dpo.beta=0.05,0.1,0.3"],
        ["seed=range(0,3)"],
        ["peft=glob(*)"],
        ["dpo.beta=choice(0.1,0.2)", "stage=dpo"],
        ["data=files", "data.path=a.jsonl,b.jsonl"],
        ["data.path=a.jsonl,b.jsonl", "model.path='',a/b"],  # each request has the choices that follow from it
    ],
)
def test_a_right_sweep_is_let_through(sweep: list[str]) -> None:
    compose.check(sweep)


def test_a_sweep_of_nothing_is_refused() -> None:
    assert "dpo.beta=glob(*): it stands for no value." in faults("dpo.beta=glob(*)")


def test_a_job_of_a_sweep_with_a_wrong_combination_ends_with_status_2(outputs: Path) -> None:
    """Every value is right beside the first ones of the others; two of them together are not."""
    sweep = ["-m", "plan=true", "data.split.dev=0.1,0.6", "data.split.test=0.1,0.6", "data=files", "labeling=file"]
    rows = outputs.parent / "rows.jsonl"
    rows.write_text('{"instruction": "greet", "output": "hello"}\n')
    files = [f"data.path={rows}", f"labeling.path={rows}", f"outputs={outputs}"]
    command = [sys.executable, "-m", "pipeline", *sweep, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the shares add up to 1.2" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("playground ·") == 3  # the other jobs of the sweep ran


def test_several_values_without_m_are_refused() -> None:
    with pytest.raises(RequestError, match=r"dpo\.beta=0\.1,0\.3: several values need -m"):
        compose.load(["dpo.beta=0.1,0.3"])


# -- what is let in


def test_a_group_is_chosen_for_all_stages_or_for_one() -> None:
    config = compose.load(["peft=lora", "peft@sft.peft=full"])
    assert (config.sft.peft.method, config.dpo.peft.method) == ("full", "lora")


def test_a_stages_own_option_changes_no_other_stage() -> None:
    before = compose.load(["peft=lora"])
    config = compose.load(["peft=lora", "dpo.peft.rank=3"])
    assert before.dpo.peft.rank != config.dpo.peft.rank == 3
    assert config.sft.peft == before.sft.peft


def test_an_option_of_peft_is_for_all_stages_unless_one_has_its_own() -> None:
    config = compose.load(["dpo.peft.rank=2", "peft=lora", "peft.rank=4", "peft.dropout=0.1"])
    assert (config.sft.peft.rank, config.dpo.peft.rank) == (4, 2)
    assert (config.sft.peft.dropout, config.dpo.peft.dropout) == (0.1, 0.1)


# (full, lora, qlora), from the sources that conf/config.yaml names
RATES = {"sft": (2e-5, 2e-4, 2e-4), "dpo": (5e-7, 5e-6, 5e-6), "reward": (1e-5, 1e-4, 1e-4), "ppo": (3e-6, 3e-5, 3e-5)}


@pytest.mark.parametrize(("method", "place"), [("full", 0), ("lora", 1), ("qlora", 2)])
def test_learning_rates_follow_how_a_stage_is_tuned(method: str, place: int) -> None:
    hub, rates = ("model=hub", "model.path=a/b"), {stage: of_methods[place] for stage, of_methods in RATES.items()}
    for chosen in (
        [f"peft={method}"],
        [f"peft@{stage}.peft={method}" for stage in RATES],
        [f"{stage}.peft.method={method}" for stage in RATES],
    ):
        config = compose.load([*hub, *chosen])
        assert {stage: getattr(config, stage).learning_rate for stage in RATES} == rates
        assert {stage: content(getattr(config, stage))["learning_rate"] for stage in RATES} == rates  # as hashed
    own = compose.load([*hub, f"peft={method}", *(f"{stage}.learning_rate=0.01" for stage in RATES)])
    assert {getattr(own, stage).learning_rate for stage in RATES} == {0.01}


@pytest.mark.parametrize("stage", RATES)
@pytest.mark.parametrize("chosen", ["peft@{}.peft=lora", "{}.peft.method=qlora"])
def test_how_one_stage_is_tuned_changes_the_rates_of_no_other(stage: str, chosen: str) -> None:
    config = compose.load(["model=hub", "model.path=a/b", chosen.format(stage)])
    rates = {name: of_methods[int(name == stage)] for name, of_methods in RATES.items()}
    assert {name: getattr(config, name).learning_rate for name in RATES} == rates


def test_the_playground_keeps_its_own_rates_and_limits() -> None:
    for peft in ("full", "lora"):
        config = compose.load([f"peft={peft}"])
        rates = [getattr(config, stage).learning_rate for stage in RATES]
        assert rates == [1e-3, 3e-4, 2e-3, 3e-4]
        limits = (config.sample.decoding, config.evaluate.decoding, config.ppo)
        assert [node.max_new_tokens for node in limits] == [64] * 3


def test_an_unknown_way_of_tuning_is_the_one_thing_said() -> None:
    assert faults("model=hub", "model.path=a/b", "sft.peft.method=lorra") == [
        "sft.peft.method=lorra: not an option. Did you mean 'lora'?"
    ]


def test_seeds_follow_the_seed_unless_set() -> None:
    config = compose.load(["seed=5", "dpo.seed=7"])
    assert (config.sft.seed, config.dpo.seed, config.evaluate.seed, config.data.seed) == (5, 7, 5, 0)


def test_trainer_and_input_mappings_take_new_names_without_a_plus() -> None:
    config = compose.load(
        ["dpo.trainer.loss_type=cdpo", "+dpo.trainer.label_smoothing=0.1", "dpo.inputs.policy=sft@friday",
         "evaluate.inputs.sft=sft@friday", "sft.trainer.lr_scheduler_kwargs.num_cycles=2"]
    )  # fmt: skip
    assert config.dpo.trainer == {"loss_type": "cdpo", "label_smoothing": 0.1}
    assert config.dpo.inputs["policy"] == config.evaluate.inputs["sft"] == "sft@friday"
    assert config.sft.trainer == {"lr_scheduler_kwargs": {"num_cycles": 2}}


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(node):
        value = getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, value


def written(value: Any) -> str:
    """A value as it stands on a command line."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        return f"'{value}'"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_every_key_can_be_overridden_with_its_own_default() -> None:
    default = compose.load([])
    overrides = [f"{key}={written(value)}" for key, value in leaves(default)]
    assert len(overrides) > 100
    assert compose.load(overrides) == default


def test_every_key_of_the_schema_is_in_the_configuration() -> None:
    composed = {key for key, _ in leaves(compose.load([]))}
    schema = PipelineConfig()
    assert {key for key, _ in leaves(schema)} == composed
    assert [key for key, value in leaves(compose.load([])) if value == MISSING] == []


def test_a_stage_alone_is_told_how_it_is_asked_for() -> None:
    with pytest.raises(RequestError, match="Did you mean 'stage=sft'"):
        compose.load(["sft"])


def test_mappings_are_given_key_by_key_or_in_braces() -> None:
    given = compose.load(
        [
            *("labeling.path=votes.csv", "labeling.codes={0: first, -1: second, a b: tie}"),
            *("labeling.columns.prompt=Frage", "data.path=rows.csv", "data.codes={1: bad}"),
        ]
    )
    assert given.labeling.codes == given.preferences.codes == {0: "first", -1: "second", "a b": "tie"}
    assert given.preferences.columns == {"prompt": "Frage"}
    assert given.data.codes == {1: "bad"}
    assert content(given.preferences)["codes"] == {"0": "first", "-1": "second", "a b": "tie"}


def test_preferences_are_read_as_labeling_says() -> None:
    given = compose.load(
        ["labeling.path=v.csv", "labeling.on_bad_row=error", "labeling.max_bad_fraction=0.4", "labeling.format=wide"]
    ).preferences
    assert (given.on_bad_row, given.max_bad_fraction, given.format) == ("error", 0.4, "wide")
    assert compose.load(["preferences.on_bad_row=error"]).preferences.on_bad_row == "error"


def test_every_format_can_be_named_and_is_documented() -> None:
    assert set(JUDGEMENT_FORMATS) == {one.name for one in JUDGEMENTS}
    assert set(DEMONSTRATION_FORMATS) == {one.name for one in DEMONSTRATIONS}
    documented = (CONF.parent / "docs" / "formats.md").read_text()
    assert all(f"`{name}`" in documented for name in (*DEMONSTRATION_FORMATS, *JUDGEMENT_FORMATS))
