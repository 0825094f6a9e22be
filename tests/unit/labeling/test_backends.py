"""Every backend of the table is what it claims to be, and a new one is a module and a line."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from labeling.argilla.backend import ArgillaBackend
from labeling.backend import AnnotatorAnswer, Backend, Queue, Round, progress
from labeling.backends import BACKENDS, BackendModule, Place, backend_module
from labeling.in_memory import InMemory
from tests.places import ROOT

TASKS = [{"id": f"t{n}", "prompt": [{"role": "user", "content": "?"}], "responses": ["a", "b"]} for n in range(3)]
PROMPT_NAMES = Round("w", "ranking", "Rank them.", [Queue("w-one", TASKS[:2], 2), Queue("w-two", TASKS[2:], 1)])  # type: ignore[arg-type]


def public(kind: type) -> dict[str, list[str]]:
    """Name -> its parameters; for a property none."""
    names = [name for name in vars(kind) if not name.startswith("_")]
    found = {name: inspect.getattr_static(kind, name) for name in names}
    return {name: [*inspect.signature(one).parameters] if callable(one) else [] for name, one in found.items()}


@pytest.mark.parametrize("kind", [ArgillaBackend, InMemory])
def test_a_backend_has_what_the_protocol_says(kind: type) -> None:
    wanted = public(Backend)
    assert wanted == {name: parameters for name, parameters in public(kind).items() if name in wanted}


@pytest.mark.parametrize("name", BACKENDS)
def test_each_module_opens_and_prepares(name: str) -> None:
    module = backend_module(name)
    for function, signature in public(BackendModule).items():
        assert list(inspect.signature(getattr(module, function)).parameters) == signature[1:]


def test_the_table_loads_no_client() -> None:
    code = "import sys, labeling.backends; print([name for name in ('argilla', 'httpx', 'ssl') if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def answer(task: str, annotator: str, ranks: list[int]) -> AnnotatorAnswer:
    return AnnotatorAnswer(task=task, annotator=annotator, status="submitted", ranks=ranks, comment="")


def test_answers_in_memory_come_back_once_each_and_sorted(tmp_path: Path) -> None:
    given = [answer("t2", "bob", [1, 2]), answer("t0", "bob", [1, 1]), answer("t0", "ann", [2, 1])]
    told: list[int] = []
    with backend_module("simulated").open_backend(Place(tmp_path, print)) as backend:
        assert (backend.publish(PROMPT_NAMES), backend.publish(PROMPT_NAMES)) == (3, 0)
        backend.submit(PROMPT_NAMES, given, told.append)
        backend.submit(PROMPT_NAMES, given[:1], told.append)
        found = backend.answers(PROMPT_NAMES)
    assert found == [given[2], given[1], given[0]]
    assert told == [1, 1, 1, 1]  # what is there already counts, as for a client that goes on
    assert (progress(PROMPT_NAMES, found).complete, progress(PROMPT_NAMES, found).answers) == (2, 3)


def test_a_submitted_answer_stays_as_it_is() -> None:
    backend = InMemory()
    backend.submit(PROMPT_NAMES, [answer("t0", "ann", [1, 2])], lambda number: None)
    backend.submit(PROMPT_NAMES, [answer("t0", "ann", [2, 1])], lambda number: None)
    assert backend.answers(PROMPT_NAMES) == [answer("t0", "ann", [1, 2])]
