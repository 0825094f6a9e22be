"""The files of a hub data set: from a cache with no network, and over the hub's own protocol from a server here."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from pipeline.data.reading.files import RawRow, read_rows
from pipeline.errors import PipelineError, RequestError
from pipeline.services.hub import dataset_files, hub_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIGS = """---
license: mit
configs:
- config_name: chat
  default: true
  data_files:
  - {split: train, path: "chat/train-*"}
  - {split: test, path: "chat/test.jsonl"}
- config_name: pairs
  data_dir: other
  data_files:
  - {split: train, path: "**/*.jsonl"}
- config_name: absent
  data_files: absent/*.parquet
---
# A data set
"""


def fill(folder: Path, readme: str | None) -> Path:
    """A repository's files."""
    (folder / "chat").mkdir(parents=True)
    (folder / "other" / "deep").mkdir(parents=True)
    for part in range(2):
        pq.write_table(pa.table({"text": [f"{part}"]}), folder / "chat" / f"train-{part:05d}-of-00002.parquet")
    (folder / "chat" / "test.jsonl").write_text('{"text": "t"}\n')
    (folder / "other" / "pairs.jsonl").write_text('{"text": "p"}\n')
    (folder / "other" / "deep" / "more.jsonl").write_text('{"text": "q"}\n')
    if readme is not None:
        (folder / "README.md").write_text(readme)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one data set in a hub cache, with no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "datasets--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return folder


def texts(subset: str | None, split: str) -> list[object]:
    files = dataset_files("owner/name", COMMIT, subset, split)
    return [row.fields["text"] for file in files for row in read_rows(file) if isinstance(row, RawRow)]


def test_the_commit_of_a_cached_data_set(cache: Path) -> None:
    assert hub_commit("owner/name", None, "dataset") == COMMIT
    with pytest.raises(PipelineError, match=r"data\.path=owner/name: .*the hub cannot be asked") as caught:
        hub_commit("owner/name", "v2", "dataset")
    assert caught.value.status == 1


@pytest.mark.parametrize(
    ("subset", "split", "expected"),
    [(None, "train", ["0", "1"]), ("chat", "test", ["t"]), ("pairs", "train", ["q", "p"])],
)
def test_the_readme_says_which_files_a_split_is_in(
    cache: Path, subset: str | None, split: str, expected: list[object]
) -> None:
    fill(cache / "snapshots" / COMMIT, CONFIGS)
    assert texts(subset, split) == expected


def test_without_a_readme_names_tell_the_splits(cache: Path) -> None:
    fill(cache / "snapshots" / COMMIT, None)
    assert texts(None, "train") == ["0", "1"]
    assert texts(None, "test") == ["t"]


def test_what_is_not_there_is_refused_with_what_is(cache: Path) -> None:
    fill(cache / "snapshots" / COMMIT, CONFIGS)
    with pytest.raises(RequestError, match=r"owner/name has no subset 'chta'. There are: chat, pairs, absent"):
        dataset_files("owner/name", COMMIT, "chta", "train")
    with pytest.raises(RequestError, match=r"owner/name has no split 'dev'. There are: train, test"):
        dataset_files("owner/name", COMMIT, None, "dev")
    with pytest.raises(PipelineError, match=r"no file for split 'train'.*absent") as caught:
        dataset_files("owner/name", COMMIT, "absent", "train")
    assert caught.value.status == 1


def test_several_subsets_and_none_named(cache: Path) -> None:
    fill(cache / "snapshots" / COMMIT, CONFIGS.replace("  default: true\n", ""))
    with pytest.raises(RequestError, match=r"several subsets: name one. There are: chat, pairs, absent"):
        dataset_files("owner/name", COMMIT, None, "train")


@pytest.mark.parametrize("readme", ["---\nconfigs: [\n---\n", "---\nconfigs: 7\n---\n"])
def test_a_readme_that_cannot_be_understood(cache: Path, readme: str) -> None:
    fill(cache / "snapshots" / COMMIT, readme)
    with pytest.raises(RequestError, match="README of data set owner/name cannot be understood"):
        dataset_files("owner/name", COMMIT, None, "train")


def test_a_data_set_that_is_nowhere(cache: Path) -> None:
    with pytest.raises(PipelineError, match=r"data\.path=owner/name: .*the hub cannot be asked.*run once") as caught:
        dataset_files("owner/name", COMMIT, None, "train")
    assert caught.value.status == 1


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as its client needs for one repository."""

    folder: ClassVar[Path]
    sent: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        file = self.folder / path.partition(f"/resolve/{COMMIT}/")[2]
        if path.startswith(f"/api/datasets/owner/name/tree/{COMMIT}"):
            self.answer(json.dumps([entry(self.folder, one) for one in files_in(self.folder)]).encode())
        elif path.startswith("/api/datasets/owner/name/revision/"):
            self.answer(json.dumps({"id": "owner/name", "sha": COMMIT}).encode())
        elif "/resolve/" in path and file.is_file():
            self.sent += [file.name] * (self.command == "GET")
            self.answer(file.read_bytes())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def entry(folder: Path, file: Path) -> dict[str, object]:
    name = str(file.relative_to(folder))
    return {"type": "file", "path": name, "size": file.stat().st_size, "oid": hashlib.sha1(name.encode()).hexdigest()}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    Hub.folder, Hub.sent = fill(tmp_path / "repository", CONFIGS), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def asked(endpoint: str, cache: Path, repository: str, **more: str) -> list[str]:
    """The file names of the default subset's train split, or the error, as another process finds them."""
    code = (
        "import sys\nfrom pipeline.errors import PipelineError\n"
        "from pipeline.services.hub import dataset_files, hub_commit\n"
        "try: files = dataset_files(sys.argv[1], hub_commit(sys.argv[1], None, 'dataset'), None, 'train')\n"
        "except PipelineError as error: print(error.status, error)\n"
        "else: print(*[file.name for file in files], sep='\\n')"
    )
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0", **more}
    command = [sys.executable, "-c", code, repository]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()


def test_only_the_files_of_the_split_are_downloaded(hub: str, tmp_path: Path) -> None:
    names = [f"train-{part:05d}-of-00002.parquet" for part in range(2)]
    assert asked(hub, tmp_path / "cache", "owner/name") == names
    assert sorted(Hub.sent) == ["README.md", *names]
    assert asked(hub, tmp_path / "cache", "owner/name", HF_HUB_OFFLINE="1") == names
    (tmp_path / "cache/datasets--owner--name/snapshots" / COMMIT / "chat" / names[1]).unlink()
    (refusal,) = asked(hub, tmp_path / "cache", "owner/name", HF_HUB_OFFLINE="1")
    assert refusal.startswith("1 data.path=owner/name: ")
    assert "run once with a connection" in refusal


def test_a_repository_that_the_hub_does_not_know(hub: str, tmp_path: Path) -> None:
    (refusal,) = asked(hub, tmp_path / "cache", "owner/other")
    assert refusal.startswith("2 data.path=owner/other: ")
    assert "no such dataset" in refusal
