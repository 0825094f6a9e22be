"""Published shapes of judgements: each is read by content, and every change of meaning changes what is read.

Each shape is made here, as (rows that say "the first answer is better", rows that say the opposite, rows that say that
both are equal or None where the shape has no ties).
"""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.formats.detection import detect
from pipeline.data.formats.table import JUDGEMENTS
from pipeline.data.judgements.loading import LoadingOptions, load_judgements
from pipeline.data.judgements.pooling import preferences_from_pairs, preferences_from_rankings
from pipeline.errors import RequestError
from tests.unit.data.raw_rows import A, U, said

Rows = list[dict[str, Any]]
Judged = Callable[[str], Rows]
"""first, second or tie -> the rows of one prompt."""

FIRST, SECOND = "mend it", "kick it"


def ordered(verdict: str) -> tuple[str, str]:
    return (FIRST, SECOND) if verdict == "first" else (SECOND, FIRST)


def scores(verdict: str) -> tuple[float, float]:
    return {"first": (4.0, 1.0), "second": (1.0, 4.0), "tie": (3.0, 3.0)}[verdict]


def nectar(verdict: str) -> Rows:
    ranks = {"first": (1.0, 2.0), "second": (2.0, 1.0), "tie": (1.0, 1.0)}[verdict]
    answers = [{"answer": text, "model": "m", "rank": rank} for text, rank in zip((FIRST, SECOND), ranks, strict=True)]
    return [{"prompt": "\n\nHuman: q\n\nAssistant: ", "answers": answers, "turns": 1, "good_natured": True}]


def ultrafeedback(key: str) -> Judged:
    def rows(verdict: str) -> Rows:
        several = [
            {"model": "m", "response": text, key: one}
            for text, one in zip((FIRST, SECOND), scores(verdict), strict=True)
        ]
        return [{"source": "s", "instruction": "q", "models": ["m", "n"], "completions": several}]

    return rows


def annotated(verdict: str) -> Rows:
    def aspects(score: float) -> dict[str, Any]:
        return {"helpfulness": {"Rating": str(int(score)), "Rationale": "r"}, "honesty": {"Rating": "N/A"}}

    several = [
        {"response": text, "annotations": aspects(one)}
        for text, one in zip((FIRST, SECOND), scores(verdict), strict=True)
    ]
    return [{"instruction": "q", "completions": several}]


def distilabel(verdict: str) -> Rows:
    return [{"instruction": "q", "generations": [FIRST, SECOND], "ratings": [*scores(verdict)], "model_name": "m"}]


def distilabel_single(verdict: str) -> Rows:
    return [
        {"input": "q", "generations": [FIRST, SECOND], "rating": [*scores(verdict)], "generation_models": ["m", "n"]}
    ]


def arena(verdict: str) -> Rows:
    winner = {"first": "model_a", "second": "model_b", "tie": "tie (bothbad)"}[verdict]
    sides = {
        f"conversation_{side}": said((U, "q"), (A, text)) for side, text in zip("ab", (FIRST, SECOND), strict=True)
    }
    return [{"question_id": "x", "model_a": "m", "model_b": "n", "winner": winner, "judge": "ann", **sides, "turn": 1}]


def arena_turns(verdict: str) -> Rows:
    hot = {f"winner_{name}": int(verdict == choice) for name, choice in HOT.items()}
    texts = {"response_a": json.dumps([FIRST]), "response_b": json.dumps([SECOND])}
    return [{"id": 1, "model_a": "m", "model_b": "n", "prompt": json.dumps(["q"]), **texts, **hot}]


HOT = {"model_a": "first", "model_b": "second", "tie": "tie"}


def openai(verdict: str) -> Rows:
    better, worse = (said((A, text)) for text in ordered(verdict))
    return [
        {"input": {"messages": said((U, "q")), "tools": []}, "preferred_output": better, "non_preferred_output": worse}
    ]


def swift(verdict: str) -> Rows:
    better, worse = ordered(verdict)
    return [{"messages": said((U, "q"), (A, better)), "rejected_response": worse}]


def swift_messages(verdict: str) -> Rows:
    better, worse = ordered(verdict)
    return [{"messages": said((U, "q"), (A, better)), "rejected_messages": said((U, "q"), (A, worse))}]


def one_message(verdict: str) -> Rows:
    better, worse = (said((A, text))[0] for text in ordered(verdict))
    return [{"prompt": "q", "chosen": better, "rejected": worse}]


def named(one: str, other: str, messages: bool = False) -> Judged:
    def rows(verdict: str) -> Rows:
        texts = [said((U, "q"), (A, text)) if messages else text for text in ordered(verdict)]
        return [{"prompt": "q", one: texts[0], other: texts[1]}]

    return rows


def binarized(one: str, other: str) -> Judged:
    def rows(verdict: str) -> Rows:
        better, worse = (said((U, "q"), (A, text)) for text in ordered(verdict))
        low = 7.0 if verdict == "tie" else 3.0
        return [{"prompt": "q", "chosen": better, "rejected": worse, "messages": better, one: 7.0, other: low}]

    return rows


def with_status(verdict: str) -> Rows:
    better, worse = ordered(verdict)
    return [
        {
            "system": "",
            "question": "q",
            "chosen": better,
            "rejected": worse,
            "status": "tie" if verdict == "tie" else "unchanged",
        }
    ]


def helpsteer2(verdict: str) -> Rows:
    pairs = zip((FIRST, SECOND), scores(verdict), strict=True)
    return [{"prompt": "q", "response": text, "helpfulness": int(one), "verbosity": 1} for text, one in pairs]


def helpsteer3(verdict: str) -> Rows:
    strength = {"first": -2, "second": 1, "tie": 0}[verdict]
    return [{"context": said((U, "q")), "response1": FIRST, "response2": SECOND, "overall_preference": strength}]


def safe_rlhf(verdict: str) -> Rows:
    better = {"first": 0, "second": 1}[verdict]
    return [
        {"prompt": "q", "response_0": FIRST, "response_1": SECOND, "better_response_id": better, "safer_response_id": 0}
    ]


def shp(verdict: str) -> Rows:
    first, second = scores(verdict)
    label = {"labels": int(verdict == "first"), "score_A": first, "score_B": second, "domain": "d"}
    return [{"history": "q", "human_ref_A": FIRST, "human_ref_B": SECOND, **label}]


def alpaca_eval(verdict: str) -> Rows:
    row = {"instruction": "q", "output_1": FIRST, "output_2": SECOND, "annotator": "x"}
    both = [{**row, "instruction": f"other {number}", "preference": number} for number in (1, 2)]  # settle the codes
    return [{**row, "preference": {"first": 1.0, "second": 2.0}[verdict]}, *both]


def kto(verdict: str) -> Rows:
    marks = [score > 2 for score in scores(verdict)]
    pairs = zip((FIRST, SECOND), marks, strict=True)
    return [{"prompt": said((U, "q")), "completion": said((A, text)), "label": mark} for text, mark in pairs]


def kto_messages(verdict: str) -> Rows:
    marks = [score > 2 for score in scores(verdict)]
    pairs = zip((FIRST, SECOND), marks, strict=True)
    return [{"messages": said((U, "q"), (A, text)), "kto_tag": mark} for text, mark in pairs]


def stars(verdict: str) -> Rows:
    pairs = zip((FIRST, SECOND), scores(verdict), strict=True)
    return [{"prompt": "q", "response": text, "rating": int(one), "user": "ann"} for text, one in pairs]


def prodigy(verdict: str) -> Rows:
    accepted = {"first": ["a"], "second": ["b"], "tie": ["a", "b"]}[verdict]
    options = [{"id": name, "text": text} for name, text in zip("ab", (FIRST, SECOND), strict=True)]
    return [{"text": "q", "options": options, "accept": accepted, "answer": "accept", "_annotator_id": "x-ann"}]


def open_webui(verdict: str) -> Rows:
    def row(text: str, rating: int) -> dict[str, Any]:
        messages = {
            "m1": {"id": "m1", "parentId": None, "role": "user", "content": "q"},
            "m2": {"id": "m2", "parentId": "m1", "role": "assistant", "content": text},
        }
        chat = {"chat": {"chat": {"history": {"messages": messages, "currentId": "m2"}}}}
        return {"user_id": "u", "data": {"rating": rating}, "meta": {"message_id": "m2"}, "snapshot": chat}

    return [row(text, 1 if score > 2 else -1) for text, score in zip((FIRST, SECOND), scores(verdict), strict=True)]


def ranked_list(verdict: str) -> Rows:
    ranks = {"first": [1, 2], "second": [2, 1], "tie": [1, 1]}[verdict]
    return [{"prompt": "q", "responses": [FIRST, SECOND], "ranks": ranks, "annotator": "ann"}]


def llama_factory(verdict: str) -> Rows:
    better, worse = ({"from": "gpt", "value": text} for text in ordered(verdict))
    return [{"conversations": [{"from": "human", "value": "q"}], "chosen": better, "rejected": worse}]


def upper(verdict: str) -> Rows:
    better, worse = ordered(verdict)
    return [{"Prompt": "q", "Chosen": better, "Rejected": worse}]


def margins(verdict: str) -> Rows:
    better, worse = ordered(verdict)
    return [{"prompt": "q", "chosen": better, "rejected": worse, "margin": "0" if verdict == "tie" else "0.5"}]


def mt_bench(verdict: str) -> Rows:
    (row,) = arena(verdict)
    for side in "ab":
        row[f"conversation_{side}"] += said((U, "more"), (A, f"of {side}"))
    return [row]


STRICT: dict[str, tuple[str, Judged]] = {
    "openai": ("openai", openai),
    "ms-swift, one answer": ("swift", swift),
    "ms-swift, whole messages": ("swift", swift_messages),
    "chosen as one message": ("preferences", one_message),
    "chosen_messages": ("preferences", named("chosen_messages", "rejected_messages", messages=True)),
    "chosen_response": ("preferences", named("chosen_response", "rejected_response")),
    "LLaMA-Factory": ("preferences", llama_factory),
    "other case": ("preferences", upper),
    "PKU-SafeRLHF": ("pandalm", safe_rlhf),
    "AlpacaEval": ("pandalm", alpaca_eval),
}
TIED: dict[str, tuple[str, Judged]] = {
    "Nectar": ("answers", nectar),
    "UltraFeedback, overall": ("answers", ultrafeedback("overall_score")),
    "UltraFeedback, fine-grained": ("answers", ultrafeedback("fine-grained_score")),
    "UltraFeedback, annotations": ("answers", annotated),
    "distilabel": ("answers", distilabel),
    "distilabel, rating": ("answers", distilabel_single),
    "ranks in a list": ("lists", ranked_list),
    "Chatbot Arena, 33k": ("arena", arena),
    "Chatbot Arena, 55k": ("arena_turns", arena_turns),
    "MT-bench": ("arena", mt_bench),
    "margins as text": ("preferences", margins),
    "UltraFeedback-binarized": ("preferences", binarized("score_chosen", "score_rejected")),
    "UltraFeedback-binarized, ratings": ("preferences", binarized("chosen-rating", "rejected-rating")),
    "Orca pairs with a status": ("preferences", with_status),
    "HelpSteer 2": ("scores", helpsteer2),
    "HelpSteer 3": ("pandalm", helpsteer3),
    "KTO": ("kto", kto),
    "KTO, whole messages": ("kto", kto_messages),
    "stars": ("log", stars),
    "Prodigy": ("prodigy", prodigy),
    "Open WebUI": ("openwebui", open_webui),
}
ALL = {**STRICT, **TIED}


def write(folder: Path, rows: Rows) -> Path:
    file = folder / "rows.json"
    file.write_text(json.dumps(rows))
    return file


def outcome(file: Path, **options: Any) -> tuple[set[tuple[str, str]], int]:
    """(chosen, rejected) of the pairs about "q", and the number of ties."""
    loaded = load_judgements(file, LoadingOptions(**options))
    several = loaded.rankings or loaded.pairs
    found = preferences_from_rankings(several) if loaded.rankings else preferences_from_pairs(several)  # type: ignore[arg-type]
    rows = [row for row in found.rows if row["prompt"] == said((U, "q"))]
    return {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows}, found.counts["ties"]


@pytest.mark.parametrize(("name", "shape"), ALL.values(), ids=ALL)
def test_a_published_shape_is_known_by_its_content(name: str, shape: Judged) -> None:
    rows = shape("first")
    assert detect(rows, JUDGEMENTS, Path("f")).name == name


@pytest.mark.parametrize("shape", [shape for _, shape in ALL.values()], ids=ALL)
def test_turning_the_judgement_turns_the_pair(shape: Judged, tmp_path: Path) -> None:
    assert outcome(write(tmp_path, shape("first"))) == ({(FIRST, SECOND)}, 0)
    assert outcome(write(tmp_path, shape("second"))) == ({(SECOND, FIRST)}, 0)


@pytest.mark.parametrize("shape", [shape for _, shape in TIED.values()], ids=TIED)
def test_a_tie_never_becomes_a_strict_pair(shape: Judged, tmp_path: Path) -> None:
    assert outcome(write(tmp_path, shape("tie"))) == (set(), 1)


@pytest.mark.parametrize("shape", [shape for _, shape in ALL.values()], ids=ALL)
def test_the_order_of_rows_changes_nothing(shape: Judged, tmp_path: Path) -> None:
    assert outcome(write(tmp_path, shape("first")[::-1])) == ({(FIRST, SECOND)}, 0)


@pytest.mark.parametrize("shape", [shape for _, shape in TIED.values()], ids=TIED)
def test_opposite_judgements_without_names_are_a_tie(shape: Judged, tmp_path: Path) -> None:
    """Two rows that contradict each other: no majority, unless one person changed their mind."""
    rows = [*deepcopy(shape("first")), *deepcopy(shape("second"))]
    for row in rows:
        for key in ("annotator", "judge", "user", "user_id", "_annotator_id", "question_id", "id"):
            row.pop(key, None)
    assert outcome(write(tmp_path, rows)) == (set(), 1)


def test_scores_that_contradict_the_pair_cost_the_row(tmp_path: Path) -> None:
    (row,) = binarized("score_chosen", "score_rejected")("first")
    with pytest.raises(RequestError, match="the rejected answer has the higher score"):
        load_judgements(write(tmp_path, [{**row, "score_rejected": 9.0}]))


def test_battles_of_several_turns_stay_whole(tmp_path: Path) -> None:
    turns = said((U, "q"), (A, "1"), (U, "more"), (A, "2"))
    other = said((U, "q"), (A, "x"), (U, "more"), (A, "y"))
    row = {"conversation_a": turns, "conversation_b": other, "model_a": "m", "model_b": "n", "judge": "ann"}
    loaded = load_judgements(write(tmp_path, [{**row, "winner": "model_b"}, {**row, "winner": "tie", "judge": "ben"}]))
    assert loaded.kind == "preferences"
    assert (loaded.pairs[0]["chosen"], loaded.pairs[0]["margin"]) == (other[1:], 1.0)
    assert preferences_from_pairs(loaded.pairs).counts == {"pairs": 0, "ties": 1}
    twice = load_judgements(write(tmp_path, [{**row, "winner": "model_b"}, {**row, "winner": "model_a"}]))
    assert [pair["chosen"] for pair in twice.pairs] == [turns[1:]]
    assert twice.ledger.reasons() == {"the same person answered again later": 1}


def test_rows_without_a_judgement_are_left_out(tmp_path: Path) -> None:
    (row,) = prodigy("first")
    rows = [row, *({**row, "text": answer, "answer": answer} for answer in ("reject", "ignore"))]
    loaded = load_judgements(write(tmp_path, rows))
    assert loaded.ledger.reasons("cleaning") == {"the task was rejected or ignored": 2}


def test_an_answer_without_a_score_is_not_compared(tmp_path: Path) -> None:
    (row,) = ultrafeedback("overall_score")("first")
    row["completions"].append({"response": "third", "overall_score": None})
    assert outcome(write(tmp_path, [row])) == ({(FIRST, SECOND)}, 0)
