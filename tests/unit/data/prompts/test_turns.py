"""Which turns of a conversation become prompts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.formats.conversations import in_order
from pipeline.data.prompts.turns import prompts_of
from pipeline.data.rows import Message
from tests.unit.data.raw_rows import A, S, T, U, conversations, said

TALK = said((S, "s"), (U, "q"), (A, "a"), (U, "r"), (A, "f()"), (T, "1"), (A, "b"), (U, "t"), (A, "c"))


def test_every_answer_to_the_user_has_a_prompt() -> None:
    assert prompts_of(TALK, "every", 0) == [(TALK[:2], "a"), (TALK[:4], "f()"), (TALK[:8], "c")]
    assert prompts_of(TALK, "last", 0) == [(TALK[:8], "c")]
    assert prompts_of(said((S, "s"), (U, "q")), "random", 0) == []


@settings(deadline=None)
@given(messages=conversations(tools=True), seed=st.integers(0, 99))
def test_prompts_end_with_the_user_and_go_on_with_their_answer(messages: list[Message], seed: int) -> None:
    every = prompts_of(messages, "every", seed)
    assert len(every) == sum(turn["role"] == U for turn in messages)
    for prompt, answer in every:
        assert in_order(prompt, "prompt", last="user") == prompt
        assert [*prompt, *said((A, answer))] == messages[: len(prompt) + 1]
    assert prompts_of(messages, "last", seed) == every[-1:]
    (chosen,) = prompts_of(messages, "random", seed)
    assert chosen in every
    assert prompts_of([turn.copy() for turn in messages], "random", seed) == [chosen]


def test_random_prompts_are_spread_over_the_turns() -> None:
    depths = {len(prompts_of(TALK, "random", seed)[0][0]) for seed in range(50)}
    assert depths == {2, 4, 8}
