"""Values that are set on a copy of composed options give the configuration that Hydra composes as a whole."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pipeline.config.compose import normalize, register_schema
from pipeline.config.composing import compose_config
from pipeline.config.names import CONF

REQUESTS = (
    (),
    ("seed=3", "dpo.beta=0.3", "outputs=/tmp/some where", "sft.epochs=2", "launch.parallel=null"),
    ("peft=lora", "peft.rank=4", "peft@dpo.peft=qlora", "dpo.peft.rank=8", "sft.seed=${seed}", "seed=2"),
    ("data=files", "data.columns={prompt: Frage}", "data.columns.completion=Antwort", "data.sources=[{path: a.jsonl}]"),
    ("dpo.trainer.loss_type=[ipo,hinge]", "reward.trainer={optim: sgd, max_grad_norm: 0}", "labeling.codes={0: first}"),
    ("labeling=file", "labeling.path='a, b.jsonl'", "ppo.rewards=[{source: a.py:reward, weight: 0.5}]", "seed=1"),
    ("experiment=qlora_7b", "model.path=owner/name", "sft.batch_size=4", "labeling=simulated"),
    ("launch=small_gpu", "dpo.inputs.policy=sft@latest", "dpo.inputs={preferences: a}", "dpo.learning_rate=1e-3"),
    ("seed=1", "seed=2", "peft=full", "peft=lora"),
    ("hydra.verbose=true", "seed=4"),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=" ".join)
def test_it_is_what_hydra_composes(request_: tuple[str, ...]) -> None:
    register_schema()
    given = normalize(request_)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose_config(CONF, normalize([*request_, "project=other", "dpo.beta=7"]))  # leaves nothing for the next
        found, expected = compose_config(CONF, given), compose("config", given, return_hydra_config=True)
    assert found.hydra.runtime.choices == expected.hydra.runtime.choices
    for config in (found, expected):
        OmegaConf.set_struct(config, False)
        del config["hydra"]
    assert found == expected
    assert OmegaConf.to_object(found) == OmegaConf.to_object(expected)


@pytest.mark.parametrize("wrong", ["seed=x", "no.such=1", "dpo.beta=[1]", "+seed=1"])
def test_what_cannot_be_set_is_said_in_hydras_words(wrong: str) -> None:
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        errors = []
        for attempt in (lambda: compose_config(CONF, ["dpo.beta=1", wrong]), lambda: compose("config", [wrong])):
            with pytest.raises(Exception) as error:  # noqa: PT011  (Hydra's, of whatever kind)
                attempt()
            errors.append((type(error.value), str(error.value)))
    assert errors[0] == errors[1]
