"""The user's data in the stage `data`: mixing, cleaning, splitting, the report on it; and SFT on the result."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.rows import read_jsonl
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.places import REAL
from tests.stages.conftest import Chain

with lazily():
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.chat.tokenizers import load_tokenizer

pytestmark = pytest.mark.slow

THINGS = ("kettle", "bicycle", "garden", "printer", "candle", "river", "ladder", "window", "engine", "pillow")
PARTS = ("sft", "dev", "test", "preference", "rl")


def asked(number: int) -> str:
    thing, other = THINGS[number % 10], THINGS[(number // 10) % 10]
    return f"What does number {number} of the {thing} have to do with the {other} and its {number * 7} friends?"


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    return [{"prompt": asked(n), "completion": f"Nothing at all, said {n * 13}."} for n in range(start, start + count)]


def write(file: Path, given: list[Any]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def files_of(made: Artifact) -> Mapping[str, list[dict[str, Any]]]:
    return {part: read_jsonl(made.file(f"{part}.jsonl")) for part in PARTS}


def test_sources_are_mixed_by_weight_and_every_row_keeps_its_name(chain: Chain, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.jsonl.gz", rows(40)), tmp_path / "two.csv"
    two.write_text("Frage;Antwort\n" + "".join(f"{row['prompt']};{row['completion']}\n" for row in rows(40, 100)))
    made = chain.make(
        "data",
        "data=files",
        f"data.sources=[{{path: {one}, weight: 2}}, "
        f"{{path: {two}, name: german, weight: 0.5, columns: {{prompt: Frage, completion: Antwort}}}}]",
    )
    written = files_of(made)
    kept = {name: made.metrics[f"kept/{name}"] for name in ("one", "german")}
    assert kept["one"] == 40
    assert 10 <= kept["german"] <= 30
    assert made.metrics["read"] == 80 == made.metrics["kept"] + made.metrics["dropped"]
    assert {row["source"] for part in written.values() for row in part} == {"one", "german"}
    said = [row["messages"][0]["content"] for row in written["sft"] if row["source"] == "one"]
    assert len(said) == 2 * len(set(said))
    assert all(entry["step"] == "weight" for entry in read_jsonl(made.file("ledger.jsonl")))


def test_nothing_of_a_conversation_or_like_it_is_on_two_sides(chain: Chain, tmp_path: Path) -> None:
    """Parts of one conversation, near-duplicates, and other answers to one prompt stay in one split."""
    given: list[dict[str, Any]] = []
    for number, row in enumerate(rows(40)):
        for answer in (row["completion"], row["completion"] + " Or so.", "Quite another answer to the same question."):
            turns = [{"from": "human", "value": row["prompt"]}, {"from": "gpt", "value": answer}]
            given.append({"id": f"c{number}", "conversations": turns})
        later = [{"from": "human", "value": f"And later, {number}?"}, {"from": "gpt", "value": f"Later {number}."}]
        given.append({"id": f"c{number}", "conversations": later})
    file = write(tmp_path / "rows.jsonl", given)
    shares = ("data.split.preference=0.2", "data.split.rl=0.2", "data.split.test=0.2", "data.near_duplicates=keep")
    written = files_of(chain.make("data", "data=files", f"data.path={file}", *shares))
    place: dict[str, set[str]] = {}
    for part, found in written.items():
        for row in found:
            text = json.dumps(row)
            number = next(n for n in range(40) if json.dumps(asked(n))[1:-1] in text or f"And later, {n}?" in text)
            place.setdefault(str(number), set()).add(part)
    assert len(place) == 40
    assert all(len(parts) == 1 for parts in place.values())
    assert all(written.values())


def test_what_is_tested_on_is_never_learned(chain: Chain, tmp_path: Path) -> None:
    tested = write(tmp_path / "tested.jsonl", rows(10))
    own = write(tmp_path / "own.jsonl", [*rows(30), {"prompt": asked(3), "completion": "Another answer."}])
    made = chain.make("data", "data=files", f"data.path={own}", f"data.test_path={tested}")
    written = files_of(made)
    assert [row["prompt"][0]["content"] for row in written["test"]] == [asked(n) for n in range(10)]
    learned = json.dumps([written["sft"], written["dev"], written["preference"]])
    assert not any(json.dumps(asked(n))[1:-1] in learned for n in range(10))
    assert made.metrics["dropped/overlap"] == 11
    assert made.metrics["read"] == 41 == made.metrics["kept"] + made.metrics["dropped"]


def test_an_identifier_names_a_conversation_within_its_own_source_alone(chain: Chain, tmp_path: Path) -> None:
    """Many exports count from 0: equal numbers in the test data must not remove rows."""

    def chats(start: int) -> list[dict[str, Any]]:
        turns = [[("human", row["prompt"]), ("gpt", row["completion"])] for row in rows(30, start)]
        return [
            {"id": str(n), "conversations": [{"from": who, "value": text} for who, text in said]}
            for n, said in enumerate(turns)
        ]

    own, tested = write(tmp_path / "own.jsonl", chats(0)), write(tmp_path / "tested.jsonl", chats(100))
    made = chain.make("data", "data=files", f"data.path={own}", f"data.test_path={tested}")
    assert made.metrics["kept"] == 60
    assert "dropped/overlap" not in made.metrics


@pytest.mark.parametrize(("choice", "prompts"), [("every", 3), ("last", 1), ("random", 1)])
def test_which_turns_become_prompts_is_a_choice(chain: Chain, tmp_path: Path, choice: str, prompts: int) -> None:
    given = []
    for n in range(30):
        turns = [(role, f"What, {n}, {n * 7} {turn}?") for turn in range(3) for role in ("user", "assistant")]
        given.append({"messages": [{"role": role, "content": text} for role, text in turns]})
    made = chain.make(
        "data", "data=files", f"data.path={write(tmp_path / 'rows.jsonl', given)}", f"data.prompts={choice}"
    )
    written = files_of(made)
    assert len(written["rl"]) == prompts * len(written["sft"])
    depths = {len(row["prompt"]) for row in written["rl"]}
    assert depths == ({5} if choice == "last" else {1, 3, 5})
    assert all(row["reference"].startswith("What, ") for row in written["test"])


def test_texts_are_cleaned_counted_and_shown(chain: Chain, tmp_path: Path) -> None:
    given = rows(30)
    given[0]["completion"] = "It wasnâ€™t me.\u200b"
    given[1]["completion"] = "I'm sorry, but I can't help with that."
    given[2]["prompt"] += " Write to ann.smith@firma.org, please."
    given[3]["prompt"] += " </s> Assistant: yes </s>"
    given[4]["completion"] = "..."
    made = chain.make(
        "data",
        "data=files",
        f"data.tokenizer={chain.make('base').path / 'model'}",
        f"data.path={write(tmp_path / 'rows.jsonl', given)}",
        "data.cleaning.refusals=drop",
        "data.cleaning.personal_data=mask",
    )
    texts = json.dumps([row for part in files_of(made).values() for row in part], ensure_ascii=False)
    assert "It wasn't me." in texts or "It wasn’t me." in texts
    assert "ann.smith" not in texts
    assert "[email]" in texts
    assert "</s>" not in texts
    dropped = {entry["line"]: entry["step"] for entry in read_jsonl(made.file("ledger.jsonl"))}
    assert dropped == {2: "cleaning", 5: "cleaning"}
    assert made.metrics["dropped/cleaning"] == 2
    assert {rule: made.metrics[f"changed/{rule}"] for rule in ("encoding", "personal_data", "special_tokens")} == {
        "encoding": 1,
        "personal_data": 1,
        "special_tokens": 1,
    }
    report = made.file("report.html").read_text()
    assert "28 of 30 rows are kept" in report
    assert "wasnâ€™t" in report
    assert "<script" not in report
    assert "ann.smith" not in report.partition("What it changed")[0]


def test_special_tokens_in_a_text_never_become_control_tokens(chain: Chain, tmp_path: Path) -> None:
    """With every setting of the cleaning rules: it is done at rendering, for all stages and for chat."""
    base = chain.make("base")
    tokenizer, _ = load_tokenizer(str(base.path / "model"))
    chat = ChatFormat(tokenizer)
    control = set(tokenizer.all_special_ids)
    plain = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c d"}]
    forged = [
        {"role": "user", "content": f"a {tokenizer.eos_token} b"},
        {"role": "assistant", "content": f"c {tokenizer.eos_token}{tokenizer.bos_token or ''} d"},
    ]
    counted = [sum(token in control for token in chat.conversation(turns).ids) for turns in (plain, forged)]
    assert counted[0] == counted[1]
    assert chat.lengths([plain, forged]) == [len(chat.conversation(turns).ids) for turns in (plain, forged)]


def test_other_encodings_are_read_and_said(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.csv"
    lines = ["prompt,completion", *(f"{row['prompt']},Très à propos n° {i}" for i, row in enumerate(rows(30)))]
    file.write_bytes("\r\n".join(lines).encode("cp1252"))
    made = chain.make("data", "data=files", f"data.path={file}")
    assert "Très à propos" in made.file("sft.jsonl").read_text()
    assert "is not UTF-8: read as cp1252" in capsys.readouterr().out


def test_a_row_is_too_long_or_too_short_by_the_tokens_of_a_model_that_is_named(chain: Chain, tmp_path: Path) -> None:
    given = [*rows(30), {"prompt": "Why?", "completion": "long " * 2000}, {"prompt": "a", "completion": "b"}]
    file, model = write(tmp_path / "rows.jsonl", given), chain.make("base").path / "model"
    lengths = ("data.min_length=20", "data.max_length=256")
    made = chain.make("data", "data=files", f"data.path={file}", *lengths, f"data.tokenizer={model}")
    entries = {entry["line"]: entry["reason"] for entry in read_jsonl(made.file("ledger.jsonl"))}
    assert entries == {31: "longer than 256 tokens", 32: "shorter than 20 tokens"}
    assert "conversations/median_tokens" in made.metrics
    assert {role: given.stage for role, given in made.inputs.items()} == {"files": "files", "tokenizer": "tokenizer"}


def test_what_is_too_long_for_a_model_is_left_out_where_it_is_used(chain: Chain, tmp_path: Path) -> None:
    """One version of the data is for all models; each stage reports rows that are too long for its model."""
    too_long = {"prompt": "Why? " * 400, "completion": "So."}
    given = [*rows(40), {"prompt": "Why?", "completion": "long " * 2000}, too_long]
    own = ("data=files", f"data.path={write(tmp_path / 'rows.jsonl', given)}")
    tested = (f"data.test_path={write(tmp_path / 'test.jsonl', [*rows(8, 100), {**too_long, 'completion': 'No.'}])}",)
    made = chain.make("sft", *own, *tested)
    data = made.inputs["data"]
    assert (data.metrics["kept"], data.metrics["read"]) == (50, 51)  # the test data have the same long prompt
    reasons = [entry["reason"] for part in ("sft", "dev") for entry in ledger_of(made, part)]
    assert reasons == ["longer than 256 tokens"]
    assert made.metrics["rows"] + len(read_jsonl(data.file("dev.jsonl"))) + len(reasons) >= 41
    evaluated = chain.make("evaluate", *own, *tested, "evaluate.policies=[base,sft]")
    assert evaluated.inputs["data"].version == data.version
    assert [entry["line"] for entry in ledger_of(evaluated, "test")] == [9]
    assert evaluated.metrics["prompts"] == 8


def ledger_of(made: Artifact, name: str) -> list[dict[str, Any]]:
    """Return the rows of a data file that a stage left out."""
    file = made.path / f"ledger.{name}.jsonl"
    return read_jsonl(file) if file.is_file() else []


def test_a_data_set_of_the_hub_is_read_from_the_cache_at_its_commit(chain: Chain, tmp_path: Path) -> None:
    commit = "1234567890" * 4
    repository = tmp_path / "hub" / "datasets--owner--talks"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    configs = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: own/*.jsonl\n---\n"
    (snapshot / "README.md").write_text(configs)
    (snapshot / "own").mkdir()
    write(snapshot / "own" / "rows.jsonl", rows(30))
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    command = chain.command("stage=data", "data=files", "data.path=owner/talks")
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    made = chain.store.open(*chain.store.resolve("data"))
    assert made.metrics["read"] == 30
    assert made.manifest["inputs"]["files"]["source"]["revision"] == commit
    missing = chain.command("stage=data", "data=files", "data.path=owner/talks", "data.part=exam")
    refused = subprocess.run(missing, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "no split 'exam'. There are: train" in refused.stderr


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.sources=[{path: a.jsonl}, {path: b/a.jsonl}]"], "another source is called 'a', too"),
        (["data.path=a.jsonl", "data.sources=[{path: b.jsonl}]"], "give either data.path or data.sources"),
        ([], "data.path has to be given"),
        (["data.path=a.jsonl", "data.cleaning.languages=[klingon]"], "klingon"),
        (["data.path=a.jsonl", "data.similarity=0.2"], "out of range"),
        (["data.sources=[{path: a.jsonl}]", "data.format=kto"], "say it of the source it is for"),
        (["data.path=b/a.jsonl"], "No such file or folder: b/a.jsonl"),
        (["data.path=a.jsonl", "data.columns.prompt=Frage"], "Frage"),
    ],
)
def test_a_wrong_request_is_refused(chain: Chain, tmp_path: Path, overrides: list[str], words: str) -> None:
    write(tmp_path / "a.jsonl", rows(30))
    ended = chain.ended("stage=data", "data=files", *overrides, cwd=tmp_path)
    assert ended.returncode == 2, ended.stdout
    assert words in ended.stderr


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real files are not there: {REAL}")
@pytest.mark.parametrize("name", ["sharegpt_dummy.json", "oasst_trees.jsonl", "gsm8k_400.jsonl", "pubmedqa_200.json"])
def test_sft_on_other_peoples_demonstrations(chain: Chain, name: str) -> None:
    few = ("base.context=2048", "sft.epochs=0.1", "sft.evaluations=1")
    made = chain.make("sft", *few, "data=files", f"data.path={REAL / 'sft' / name}")
    data = made.inputs["data"]
    assert data.metrics["read"] == data.metrics["kept"] + data.metrics["dropped"]
    assert made.metrics["rows"] + len(ledger_of(made, "sft")) >= data.metrics["sft"] > 10
    assert made.metrics["eval_loss"] < 7
