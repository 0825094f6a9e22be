"""The stage `data` on a user's own files needs no model, and token counts need only the named tokenizer."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.engine.planner import Step
from pipeline.errors import RequestError
from pipeline.store.artifacts import Store
from tests.conftest import configured
from tests.unit.model_files.folders import model

Plan = Callable[..., dict[str, Step]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [{"prompt": f"What is number {n} good for?", "completion": f"For {n * 7} things."} for n in range(40)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_reading_data_makes_no_model_and_imports_no_torch(file: Path, outputs: Path) -> None:
    request = ["stage=data", "data=files", f"data.path={file}", f"outputs={outputs}"]
    heavy = "{name.partition('.')[0] for name in sys.modules} & {'torch', 'transformers', 'sklearn', 'wandb'}"
    code = f"import sys; from pipeline.__main__ import main; assert main({request!r}) == 0; assert not {heavy}, {heavy}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    store = Store(outputs, "playground")
    made = store.open(*store.resolve("data"))
    assert store.stages() == ["data"]
    assert made.metrics["kept"] == 40
    assert set(made.manifest["inputs"]) == {"files"}


def test_what_counts_tokens_imports_nothing_that_trains() -> None:
    """`data.tokenizer` needs a tokenizer and its template; what adapts and trains models takes seconds to import."""
    heavy = "{'peft', 'trl', 'bitsandbytes'} & set(sys.modules)"
    code = f"import sys; import pipeline.modeling.chat.rendering, pipeline.modeling.chat.tokenizers; assert not {heavy}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_one_version_of_the_data_serves_every_model(file: Path, planned: Plan, tmp_path: Path) -> None:
    own = ("stage=sft", "data=files", f"data.path={file}")
    models = [model(tmp_path / name, {"hidden_size": size}) for name, size in (("one", 8), ("two", 16))]
    versions = [planned(*own, f"model.path={folder}", "model=hub")["data"].version for folder in models]
    assert len({planned(*own)["data"].version, *versions}) == 1


def test_the_tokenizer_that_counts_is_part_of_the_version_wherever_it_lies(
    file: Path, planned: Plan, tmp_path: Path
) -> None:
    def version(folder: Path) -> str:
        own = ("stage=data", "data=files", f"data.path={file}", "data.max_length=100")
        return planned(*own, f"data.tokenizer={folder}")["data"].version

    one, same, other = (model(tmp_path / name) for name in ("one", "same", "other"))
    said = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps({**said, "truncation": None, "changed": True}))
    (same / "model.safetensors").unlink()
    assert version(one) == version(same) != version(other)


@pytest.mark.parametrize(
    ("length", "named"),
    [
        ("data.max_length=100", "data.max_length=100: it is about tokens"),
        ("data.min_length=9", "data.min_length=9: it is about tokens"),
        ("data.cleaning.special_tokens=drop", "data.cleaning.special_tokens=drop: it is about tokens"),
    ],
)
def test_tokens_of_no_tokenizer_are_refused_with_the_line_to_add(
    file: Path, outputs: Path, length: str, named: str
) -> None:
    with pytest.raises(RequestError, match=named) as caught:
        configured(outputs, "data=files", f"data.path={file}", length, "model=hub", "model.path=owner/model")
    assert "data.tokenizer=owner/model (a folder or a hub id)" in str(caught.value)


def test_a_folder_without_a_tokenizer_counts_nothing(file: Path, planned: Plan, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    own = ("stage=data", "data=files", f"data.path={file}")
    with pytest.raises(RequestError, match="no tokenizer in this folder"):
        planned(*own, f"data.tokenizer={tmp_path / 'empty'}")
    with pytest.raises(RequestError, match=r"data\.tokenizer=\./gone: neither a folder here nor a hub id"):
        planned(*own, "data.tokenizer=./gone")
