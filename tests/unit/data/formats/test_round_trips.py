"""Generated conversations, written in each format, are told from their content and come back as they were."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.votes import Vote
from pipeline.data.formats.detection import detect
from pipeline.data.formats.judgement import Marked
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS, demonstrations_in
from pipeline.data.rows import Message, conversation_hash
from tests.unit.data.raw_rows import A, U, conversations, demonstration, judged, said, texts


@settings(deadline=None)
@given(messages=conversations(tools=True), mend=st.booleans())
def test_messages_and_sharegpt_come_back(messages: list[Message], mend: bool) -> None:
    speakers = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
    turns = [{"from": speakers[turn["role"]], "value": turn["content"]} for turn in messages]
    for row in ({"messages": messages}, {"conversations": turns}, {"conversations": messages}):
        ((found, mended),) = demonstrations_in(row, detect([row], DEMONSTRATIONS, Path("f")), mend)
        assert (found["messages"], mended) == (messages, False)


def in_parts(messages: list[Message]) -> tuple[str, list[Message], str]:
    """The system text, the turns before the last answer, and that answer."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    return system, [turn for turn in messages[:-1] if turn["role"] != "system"], messages[-1]["content"]


@settings(deadline=None)
@given(messages=conversations())
def test_prompts_and_answers_come_back(messages: list[Message]) -> None:
    system, asked, answer = in_parts(messages)
    pairs = [(asked[index]["content"], asked[index + 1]["content"]) for index in range(0, len(asked) - 1, 2)]
    alpaca = {"system": system, "history": pairs and [list(pair) for pair in pairs], "output": answer}
    rows: dict[str, list[dict[str, Any]]] = {
        "alpaca": [{**alpaca, "instruction": asked[-1]["content"]}],
        "prompt_completion": [
            {"system": system, "prompt": asked, "completion": answer},
            {"prompt": messages[:-1], "chosen": messages, "rejected": [*messages[:-1], *said((A, "no"))]},
            {"system_prompt": system, "Prompt": asked, "response": said((A, answer))},
        ],
        "kto": [{"system": system, "prompt": asked, "completion": said((A, answer)), "label": True}],
        "log": [
            {"messages": messages, "thumb": "👍"},
            {"system": system, "messages": asked, "model_output": "bad", "human_edit": answer},
        ],
    }
    for name, row in ((name, row) for name, several in rows.items() for row in several):
        assert detect([row], DEMONSTRATIONS, Path("f")).name == name
        assert demonstration(name, row)["messages"] == messages


@settings(deadline=None)
@given(messages=conversations(turns=1), contexts=st.lists(texts, min_size=1, max_size=3))
def test_questions_and_answers_come_back(messages: list[Message], contexts: list[str]) -> None:
    system, asked, answer = in_parts(messages)
    question = asked[0]["content"]
    orca = {"system_prompt": system, "question": question, "response": answer}
    assert detect([orca], DEMONSTRATIONS, Path("f")).name == "openorca"
    assert demonstration("openorca", orca)["messages"] == messages
    about = said((U, "\n\n".join([question, *contexts])), (A, answer))
    for row in (
        {"QUESTION": question, "CONTEXTS": contexts, "LONG_ANSWER": answer, "YEAR": None, "MESHES": ["x"]},
        {"question": question, "context": {"contexts": contexts}, "long_answer": answer},
    ):
        assert detect([row], DEMONSTRATIONS, Path("f")).name == "pubmedqa"
        assert demonstration("pubmedqa", row)["messages"] == about


@settings(deadline=None)
@given(
    messages=conversations(system=False), asker=st.sampled_from(("Human", "User")), gap=st.sampled_from(("\n", "\n\n"))
)
def test_transcripts_come_back(messages: list[Message], asker: str, gap: str) -> None:
    names = {"user": asker, "assistant": "Assistant"}
    text = gap.join(f"{names[turn['role']]}: {turn['content']}" for turn in messages)
    for row in ({"text": text}, {"text": f"{gap}{text}"}):
        assert detect([row], DEMONSTRATIONS, Path("f")).name == "hh"
        assert demonstration("hh", row)["messages"] == messages


@settings(deadline=None)
@given(messages=conversations(), other=texts, label=st.booleans())
def test_judged_answers_come_back(messages: list[Message], other: str, label: bool) -> None:
    system, asked, answer = in_parts(messages)
    other = f"{answer} {other}"
    sides = {"system": system, "prompt": asked, "response_a": answer, "response_b": other, "winner": "model_b"}
    edited = {"system": system, "prompt": asked, "response": other, "edited_response": answer, "user": "ann"}
    for name, row, ranks in (("pandalm", sides, [2, 1]), ("log", edited, [1, 2])):
        assert detect([row], JUDGEMENTS, Path("f")).name == name
        (vote,) = judged(name, row)
        assert isinstance(vote, Vote)
        plain = vote.prompt if isinstance(vote.prompt, list) else said((U, vote.prompt))
        assert conversation_hash(plain) == conversation_hash(messages[:-1])
        assert (vote.responses, list(vote.ranks or ())) == ([answer, other], ranks)
    marked = {"system": system, "prompt": asked, "completion": answer, "label": label}
    whole = {"messages": messages, "label": label}
    for row in (marked, whole):
        assert detect([row], JUDGEMENTS, Path("f")).name == "kto"
        assert judged("kto", row) == [Marked(messages[:-1], answer, float(label))]
