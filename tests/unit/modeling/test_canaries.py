"""What other libraries do not promise is still as we rely on it; each failure names library, module and harm.

Names and signatures are in `tests/canaries_table.py`. Where a change would go unseen in results, behaviour is tested,
too. Tables that we read from source text have their canaries beside them: `test_model_folder.py` (architectures) and
`test_trainer_options.py` (options). The server's own are in `tests/labeling/test_canaries.py`.
"""

from __future__ import annotations

import ast
import inspect
import math
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.config.nodes.learning import DpoConfig, RewardConfig
from pipeline.config.nodes.models import SftConfig
from tests import canaries
from tests.canaries import Canary, fault
from tests.canaries_server import SERVER
from tests.canaries_table import CANARIES
from tests.lazily import lazily
from tests.private_uses import ELSEWHERE, foreign_imports, private_uses, sources
from tests.stages import tiny

with lazily():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, LlamaConfig

    from pipeline.modeling import policy, roles, training, tuning
    from pipeline.modeling.chat.rendering import Rendered
    from pipeline.modeling.rewards.training import Pair, reward_trainer

OPTIONS: dict[str, Any] = {"seed": 0, "epochs": 1, "batch_size": 8, "learning_rate": 1e-2, "evaluations": 2}
BATCH = {"rows": 19, "micro_batch_size": 4}

# Called for a sharded model, and when a run is resumed: tests/stages/test_fsdp.py
IN_OTHER_RUNS = {"_defer_fsdp_gradient_reduction", "_load_optimizer_and_scheduler"}

# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("canary", CANARIES, ids=str)
def test_what_we_rely_on_is_still_there(canary: Canary) -> None:
    assert fault(canary) is None


def test_canaries_name_modules_of_ours_that_use_the_names() -> None:
    for canary in (*CANARIES, *SERVER):
        assert canary.ours in sources(), f"{canary.ours} has moved: correct tests/canaries_table.py"
        name = canary.name if canary.name != "__init__" else canary.of.rpartition(".")[2]
        assert name in ast.unparse(sources()[canary.ours]), f"{canary.ours} does not use {canary}"


def test_every_private_name_that_we_use_has_a_canary() -> None:
    known = {(canary.ours, canary.name) for canary in (*CANARIES, *SERVER)}
    uses = (use for module, tree in sources().items() for use in private_uses(module, tree))
    unknown = [str(use) for use in uses if (use.module, use.name) not in known]
    assert unknown == [], "private names of other libraries without a line in tests/canaries_table.py"


def test_everything_that_we_import_is_there() -> None:
    """Imports inside functions too, which otherwise fail where they are first needed."""
    assert list(_missing(module for module in sources() if not module.startswith(ELSEWHERE))) == []


def _missing(modules: Iterator[str]) -> Iterator[str]:
    for ours in modules:
        for module, name in foreign_imports(ours, sources()[ours]):
            try:
                found = import_module(module)
                if name and not hasattr(found, name):
                    import_module(f"{module}.{name}")
            except ImportError:
                yield f"{canaries.release(module)} has no {module}.{name}, which {ours} imports"


# -- behaviour whose change would go unseen --------------------------------------------------------------------------


def made(stage: str, folder: Path) -> Any:
    """A tiny trainer that evaluates, saves checkpoints and loads the best of these at the end; and its context."""
    context = tiny.context(folder, micro_batch_size=BATCH["micro_batch_size"])
    pairs = [tiny.pairs(BATCH["rows"]), tiny.pairs(7, 1)]
    if stage == "dpo":
        return tuning.dpo_trainer(tiny.in_training(tiny.model("llama")), *pairs, DpoConfig(**OPTIONS), context), context
    if stage == "reward":
        rows = [[Pair(*pair, 0.5, i) for i, pair in enumerate(part)] for part in pairs]
        return reward_trainer(tiny.in_training(classifier()), *rows, RewardConfig(**OPTIONS), context), context
    rows = [[Rendered(a.prompt + a.answer, [0, 0] + [1] * len(a.answer)) for a, _ in part] for part in pairs]
    return tuning.sft_trainer(tiny.in_training(tiny.model("llama")), *rows, SftConfig(**OPTIONS), context), context


def classifier() -> Any:
    return AutoModelForSequenceClassification.from_config(LlamaConfig(**tiny.GROUPED, num_labels=1))


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: Counter[str]) -> None:
    """Count the calls of a function or method from here on."""
    real = getattr(owner, name)

    def spy(*given: Any, **named: Any) -> Any:
        calls[name] += 1
        return real(*given, **named)

    monkeypatch.setattr(owner, name, spy)


TRAINERS = {
    "sft": "pipeline.modeling.tuning.SftTrainer",
    "dpo": "pipeline.modeling.tuning.DpoTrainer",
    "reward": "pipeline.modeling.rewards.training.RewardTrainer",
}


@pytest.mark.parametrize("stage", TRAINERS)
def test_what_we_override_runs(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that the library calls by another name is dead, and the library's own does the work."""
    kind, calls = canaries.resolved(TRAINERS[stage]), Counter[str]()
    ours = {name for base in kind.__mro__ if base.__module__.startswith("pipeline") for name in vars(base)}
    overridden = {canary.name for canary in CANARIES if canary.kind == "overridden"} & ours - IN_OTHER_RUNS
    events = {name for name in vars(training.Milestones) if name.startswith("on_")}
    for name in overridden:
        counted(monkeypatch, kind, name, calls)
    for name in events:
        counted(monkeypatch, training.Milestones, name, calls)
    trainer, context = made(stage, tmp_path)
    history = training.train(trainer, context, "training", OPTIONS["evaluations"])
    assert calls.keys() == overridden | events
    assert all({"loss", "eval_loss"} & row.keys() for row in history)  # none of transformers' summary of the run
    assert len(overridden) >= 8
    assert len(events) == 5


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_trls_losses_use_our_log_probabilities(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's own are those of the bare linear layer: equal for many architectures, and wrong for the others."""
    calls = Counter[str]()
    counted(monkeypatch, import_module("pipeline.modeling.fused"), "_fused_output", calls)
    trainer, _ = made(stage, tmp_path)
    trainer.evaluate()
    assert calls["_fused_output"] == len(trainer.get_eval_dataloader()) == 2


def test_the_reference_is_what_was_handed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up log-probabilities of the reference, far from the policy's, come back in batches and in the loss."""
    handed: dict[tuple[int, ...], float] = {}

    def made_up(model: Any, rows: Any, **_: Any) -> list[float]:
        handed.update({(*row.prompt, *row.answer): -10.0 * i for i, row in enumerate(rows)})
        return list(handed.values())

    monkeypatch.setattr("pipeline.modeling.preferences.reference.answer_logprobs", made_up)
    trainer, _ = made("dpo", tmp_path)
    evaluation = tiny.pairs(7, 1)
    references = [[handed[(*side.prompt, *side.answer)] for side in pair] for pair in evaluation]
    columns = [list(trainer.eval_dataset[f"ref_{side}_logps"]) for side in ("chosen", "rejected")]
    assert columns == [list(side) for side in zip(*references, strict=True)]
    batch = next(iter(trainer.get_eval_dataloader()))
    assert [batch[f"ref_{side}_logps"].tolist() for side in ("chosen", "rejected")] == [c[:4] for c in columns]
    with torch.no_grad():
        own = [[float(logprob(trainer.model, side)) for side in pair] for pair in evaluation]
    margins = [trainer.args.beta * ((p[0] - r[0]) - (p[1] - r[1])) for p, r in zip(own, references, strict=True)]
    loss = sum(math.log1p(math.exp(-margin)) for margin in margins) / len(margins)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss, rel=1e-4)
    assert abs(loss - math.log(2)) > 0.05  # which the policy itself as its reference would give


def logprob(model: Any, row: Any) -> Any:
    """Of an answer, by the plain way."""
    logits = model(input_ids=torch.tensor([row.prompt + row.answer])).logits[0, len(row.prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(row.answer)[:, None]).sum()


def test_the_copy_that_trl_makes_of_an_adapter_is_gone(tmp_path: Path) -> None:
    model = get_peft_model(tiny.model("llama"), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    before = [name for name, _ in model.named_parameters()]
    trainer = tuning.dpo_trainer(
        tiny.in_training(model), tiny.pairs(8), tiny.pairs(4, 1), DpoConfig(**OPTIONS), tiny.context(tmp_path)
    )
    assert list(trainer.model.peft_config) == [policy.TRAINED]
    assert [name for name, _ in trainer.model.named_parameters()] == before
    assert trainer.model.base_model.active_adapters == [policy.TRAINED]


@pytest.mark.parametrize("name", ["SftTrainer", "DpoTrainer"])
def test_the_figures_that_we_make_exact_are_those_that_trl_collects(name: str) -> None:
    """One that TRL calls otherwise would be missing from the history and the manifest."""
    kind = getattr(tuning, name)
    source = inspect.getsource(next(base for base in kind.__mro__ if base.__module__.startswith("trl.")))
    assert [figure for figure in kind.FIGURES if f'self._metrics[mode]["{figure}"].append(' not in source] == []


def test_batches_of_dpo_hold_all_chosen_answers_and_then_all_rejected_ones(tmp_path: Path) -> None:
    trainer, _ = made("dpo", tmp_path)
    batch, pairs = next(iter(trainer.get_eval_dataloader())), tiny.pairs(7, 1)[:4]
    sides = [row.prompt + row.answer for side in (0, 1) for row in (pair[side] for pair in pairs)]
    rows = [
        ids[: int(real.sum())].tolist() for ids, real in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert rows == sides
    answers = [len(pair[side].answer) for side in (0, 1) for pair in pairs]
    assert batch["completion_mask"].sum(1).tolist() == answers


def test_parameters_of_adapters_and_heads_have_the_names_by_which_we_find_them() -> None:
    """A pattern that finds nothing would freeze everything, or train the value model with the policy."""
    config = LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=["score"])
    model = get_peft_model(classifier(), config)
    policy.activate_adapters(model, [policy.TRAINED])
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    adapters = [name for name in trained if roles._belongs_to(name, policy.TRAINED)]
    assert len(adapters) == 2 * 2 * 7  # two factors, two layers, seven linear layers in each
    assert [name for name in trained if name not in adapters] == [
        "base_model.model.score.modules_to_save.default.weight"
    ]
    assert not any(roles._belongs_to(name, roles.VALUE) for name in trained)


# -- canaries that cannot fail are none ------------------------------------------------------------------------------

LIBRARY = """
class Trainer:
    def __init__(self):
        self._figures = {}

    def _prepare(self, rows, name):
        return rows

    def run(self, rows):
        return self.scale * len(self._prepare(rows, "train"))


def render(text): ...


def build(event): ...

def notify(event):
    return build(event)
"""
CHANGES = {
    "nothing": ("", "", []),
    "a method is renamed": ("_prepare", "_ready", ["Trainer._prepare is not called by the library's own code"]),
    "a method has a new parameter": (
        "self, rows, name",
        "self, rows, name, seed=0",
        ["takes (rows, name, seed), not (rows, name)"],
    ),
    "an attribute is renamed": ("self._figures", "self._numbers", ["Trainer._figures is gone"]),
    "what we set is read elsewhere": ("self.scale", "rows.scale", ["Trainer.scale is not read by the library's own"]),
    "a function is called by another name": ("return build(", "return made(", ["library.build is not read"]),
    "a function needs more": ("render(text)", "render(text, where)", ["library.render needs where, too"]),
    "a function may be given more": ("render(text)", "render(text, where=None)", []),
    "a parameter is renamed": ("def build(event)", "def build(what)", ["library.build does not take event any more"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_a_library_is_told_with_who_relies_on_it(
    change: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, after, told = CHANGES[change]
    (tmp_path / "library.py").write_text(LIBRARY.replace(before, after) if before else LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "library", raising=False)
    relied = [
        Canary("library.Trainer", "_prepare", "overridden", "pipeline.ours", "rows would be read twice", "rows name"),
        Canary("library.Trainer", "_figures", "read", "pipeline.ours", "no figures"),
        Canary("library.Trainer", "scale", "set", "pipeline.ours", "another loss"),
        Canary("library", "render", "called", "pipeline.ours", "no text", "text"),
        Canary("library", "build", "set", "pipeline.ours", "too much work", "event"),
    ]
    found = [one for one in map(fault, relied) if one]
    monkeypatch.delitem(sys.modules, "library")
    assert [part in one for part, one in zip(told, found, strict=True)] == [True] * len(told)
    assert all("pipeline.ours relies on it: " in one for one in found)


USES = {
    "trainer._figures": "_figures",
    "getattr(trainer, '_figures')": "_figures",
    "from transformers._secret import thing": "_secret",
    "from transformers import _secret": "_secret",
    "import transformers._secret": "_secret",
    "from trl import trainer\ntrainer.build = None": "build",
}


@pytest.mark.parametrize("text", USES)
def test_a_private_use_is_found(text: str) -> None:
    assert {use.name for use in private_uses("pipeline.new", ast.parse(text))} == {USES[text]}


def test_private_names_of_our_own_are_no_use_of_a_library() -> None:
    own = "class A:\n    def _b(self): return self._c\n\ndef _d(a): return a._b() + a._asdict()"
    assert list(private_uses("pipeline.new", ast.parse(own))) == []


def test_a_class_that_hides_a_librarys_private_name_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also by accident: a new release may use a name that was ours alone."""
    text = (
        "from transformers import Trainer\n\n"
        "class New(Trainer):\n"
        "    def _prepare_inputs(self, inputs): ...\n"
        "    def _our_own(self): return self._not_there\n"
    )
    (tmp_path / "new.py").write_text(text)
    monkeypatch.setattr(pipeline, "__path__", [*pipeline.__path__, str(tmp_path)])
    found = {use.name for use in private_uses("pipeline.new", ast.parse(text))}
    monkeypatch.delitem(sys.modules, "pipeline.new")
    assert found == {"_prepare_inputs", "_not_there"}
