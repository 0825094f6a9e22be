"""A project's answers are found by the names of their queues, quickly, whatever else lies in its folder."""

import json
from pathlib import Path

import pytest

from labeling import projects
from labeling.argilla.page import checksum
from labeling.backend import LabelingError
from labeling.projects import is_blind_test, read_json, read_project, read_rows
from labeling.server.snapshots import keep
from tests.labeling_projects import task, write_blind, write_round


def test_each_task_is_hashed_once_and_not_for_every_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task(f"t{number}", "?", ["a", "b"]) for number in range(50)]
    given = {f"p{number}": {one["id"]: [1, 2] for one in tasks} for number in range(6)}
    write_round(tmp_path / "support", tasks, given)
    hashed: list[str] = []
    monkeypatch.setattr(projects, "checksum", lambda one: hashed.append(one["id"]) or checksum(one))
    (found,) = read_project(tmp_path / "support").rounds
    assert len(found.answers) == 300
    assert len(hashed) <= 2 * len(tasks)


def test_a_blind_test_that_has_grown_is_one_round_with_all_its_pairs(tmp_path: Path) -> None:
    project, evaluation = tmp_path / "support", "eee111eee111"
    first, more = [task("a", "?", ["x", "y"])], [task("a", "?", ["x", "y"]), task("b", "?", ["x", "y"])]
    write_blind(project, first, ("ppo", "dpo"), "bbb111bbb111", evaluation)
    write_blind(project, more, ("ppo", "dpo"), "bbb222bbb222", evaluation)
    write_blind(project, more, ("ppo", "dpo"), "bbb333bbb333", "fff000fff000")
    when = "2026-11-05T10:00:00"
    copies = [
        {
            **{"task": one["id"], "checksum": checksum(one), "annotator": "ann", "status": "submitted"},
            **{"values": {"pairwise": {"value": "first"}}, "inserted": when, "updated": when},
        }
        for one in more
    ]
    keep(project / ".answers", f"support-abtest-{evaluation[:6]}", copies)  # type: ignore[arg-type]
    (found,) = read_project(project).of_kind("blind")
    assert [one["id"] for one in found.tasks] == ["a", "b"]
    assert [one["ranks"] for one in found.answers] == [[1, 2], [1, 2]]
    assert len(found.folders) == 2


def test_reviews_of_drafts_are_read_with_their_drafts(tmp_path: Path) -> None:
    project, folder = tmp_path / "support", tmp_path / "support" / "draft" / "ddd111ddd111"
    folder.mkdir(parents=True)
    prompt = [{"role": "user", "content": "?"}]
    (folder / "drafts.jsonl").write_text(json.dumps({"id": "d", "prompt": prompt, "draft": "old"}) + "\n")
    (folder / "manifest.json").write_text(json.dumps({"created": "2026-11-01", "config": {}, "inputs": {}}))
    values = {"review": {"value": "correct"}, "correction": {"value": "new"}}
    about = checksum({"id": "d", "prompt": prompt, "responses": ["old"]})  # type: ignore[typeddict-item]
    when = "2026-11-05T10:00:00"
    copy = {"task": "d", "checksum": about, "annotator": "ann", "status": "submitted", "values": values}
    keep(project / ".answers", "support-drafts-ddd111", [{**copy, "inserted": when, "updated": when}])  # type: ignore[list-item]
    (found,) = read_project(project).rounds
    (answer,) = found.answers
    assert (found.kind, found.question) == ("draft", "review")
    assert (answer["verdict"], answer["text"], answer["ranks"]) == ("correct", "new", None)


@pytest.mark.parametrize(
    ("queue", "blind"),
    [("a-abtest-abc123", True), ("a-abc123", False), ("a-drafts-abc123", False), ("abtest-abc123", False)],
)
def test_a_blind_test_is_told_by_its_queue(queue: str, blind: bool) -> None:
    assert is_blind_test(queue) == blind


@pytest.mark.parametrize("content", [b'{"id": "a"', b"\xff\xfe", None])
def test_a_damaged_or_missing_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    if content is not None:
        file.write_bytes(content)
    for read in (read_rows, read_json):
        with pytest.raises(LabelingError) as refused:
            read(file)
        assert str(file) in str(refused.value)
        assert refused.value.fault == "request"
