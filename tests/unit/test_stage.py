"""Facts about a stage stand on the stage: a new one is its module, its line in the table and its node."""

import ast
import dataclasses
from collections.abc import Iterator

from pipeline.evaluation.comparison import comparison
from pipeline.report.model_card import model_card
from pipeline.stages import STAGES
from tests.places import ROOT
from tests.unit.report.comparisons import chain, evaluation, made

PIPELINE = ROOT / "pipeline"
ALLOWED = {
    ("config/nodes/people.py", "JUDGEMENT_FORMATS"): "formats of files, two of which have a stage's name",
    ("config/names.py", "STAGE_HABITS"): "words of other tools for our stages: hints for a word that is no stage",
}


def test_no_room_but_stages_has_a_list_of_stage_names() -> None:
    found = {
        (path.relative_to(PIPELINE).as_posix(), name): names
        for path in PIPELINE.rglob("*.py")
        if path.parent.name != "stages"
        for name, names in collections_of_stage_names(path.read_text(encoding="utf-8"))
    }
    assert {place: names for place, names in found.items() if place not in ALLOWED} == {}
    assert found.keys() == ALLOWED.keys(), "an exception that is not needed any more"


def collections_of_stage_names(source: str) -> Iterator[tuple[str, list[str]]]:
    """(the variable it is assigned to, or its line; the names) of each literal collection of two names or more."""
    tree = ast.parse(source)
    targets = {
        id(below): target.id
        for statement in ast.walk(tree)
        for target in [*getattr(statement, "targets", []), getattr(statement, "target", None)]
        if isinstance(target, ast.Name)
        for below in ast.walk(statement)
    }
    for node in ast.walk(tree):
        names = {text.rstrip(".") for text in texts_in(node)} & STAGES.keys()
        if len(names) > 1:
            yield targets.get(id(node), f"line {node.lineno}"), sorted(names)


def texts_in(node: ast.AST | None) -> Iterator[str]:
    """The texts in a literal collection, and in those within it: `(("sft", 1), ("dpo", 2))`."""
    inside = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []
    inside = [*node.keys, *node.values] if isinstance(node, ast.Dict) else inside
    for part in inside:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        yield from texts_in(part)


def test_such_lists_are_found_in_every_form() -> None:
    for text in ('X = ("sft.", "dpo")', 'X: dict = {"sft": 1, "ppo": 2}', 'X = {"a": "reward", "b": "judge"}'):
        assert len(list(collections_of_stage_names(text))) == 1
    assert list(collections_of_stage_names('for name, node in (("sft", 1), ("dpo", 2)):\n    pass'))
    assert list(collections_of_stage_names('if name in ["sft", "other", "dpo"]:\n    pass'))
    assert not list(collections_of_stage_names('X = ("sft", "sft", "other")'))


def test_a_new_arm_is_labelled_and_tagged_by_its_own_line() -> None:
    stages = {**STAGES, "another": dataclasses.replace(STAGES["dpo"], name="another", label="Another")}
    parts = chain()
    arm = made("another", inputs=parts["dpo"].inputs)
    seen = comparison(evaluation({"sft": parts["sft"], "another": arm}, {"prompts": 9}), [], stages)
    assert [policy.label for policy in seen.policies] == ["SFT", "Another"]
    assert "tags: [sft, another]" in model_card(arm, stages)
