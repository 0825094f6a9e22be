"""Which answers of a snapshot count: those that the server has, and those of a server that has lost the task, too."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labeling.server.copied import Copy, answers_in, counts, merged

TIMES = ("inserted_at", "updated_at")
NAMES = {"u1": "ann", "u2": "ben"}


def record(task: str, *responses: tuple[str, str, int], checksum: str = "c") -> dict[str, Any]:
    """A record with responses: (account, status, number of its version and time)."""
    return {
        "external_id": task,
        "metadata": {"task": checksum},
        "responses": [
            {"user_id": user, "status": status, "values": {"v": time}, **dict.fromkeys(TIMES, f"{time:06}")}
            for user, status, time in responses
        ],
    }


def looked(before: list[Copy], *records: dict[str, Any]) -> list[Copy]:
    return merged(before, answers_in(records, NAMES, before))


def counted(copies: list[Copy]) -> set[tuple[str, str]]:
    return {(copy["task"], copy["annotator"]) for copy in copies if counts(copy)}


def test_an_answer_counts_until_the_server_has_its_task_without_it() -> None:
    both = looked([], record("t", ("u1", "submitted", 1), ("u2", "discarded", 2)))
    assert counted(both) == {("t", "ann"), ("t", "ben")}
    assert counted(looked(both)) == counted(both)  # the server lost its data
    assert counted(looked(both, record("other"))) == counted(both)  # and has part of it again
    assert counted(looked(both, record("t", checksum="another text"))) == counted(both)
    one = looked(both, record("t", ("u2", "discarded", 2)))
    assert counted(one) == {("t", "ben")}
    assert len(one) == 2  # kept all the same
    assert looked(one, record("t", ("u1", "submitted", 9), ("u2", "discarded", 2)))[0]["values"] == {"v": 9}
    assert looked(one, record("t", ("u1", "submitted", 0), ("u2", "discarded", 2)))[0]["values"] == {"v": 0}  # a backup
    assert counted(looked(one, record("t", ("u1", "draft", 3), ("u2", "submitted", 4)))) == {("t", "ben")}


def test_an_answer_that_was_put_back_counts_again_with_its_first_times() -> None:
    first = looked([], record("t", ("u1", "submitted", 1)))
    back = record("t", ("u1", "submitted", 1))
    back["responses"][0].update(dict.fromkeys(TIMES, "000008"))
    assert looked(looked(first, record("t")), back) == first


def test_an_answer_that_another_process_copies_during_the_look_is_not_gone() -> None:
    slow = answers_in([record("t")], NAMES, before=[])  # read before the answer was given
    other = looked([], record("t", ("u1", "submitted", 1)))
    assert counted(merged(other, slow)) == {("t", "ann")}


looks = st.lists(
    st.lists(st.tuples(st.sampled_from(["u1", "u2"]), st.sampled_from(["submitted", "discarded", "draft"])), max_size=2)
)


@given(looks)
def test_after_any_looks_the_answers_that_count_are_those_of_the_last_one(given: list[list[tuple[str, str]]]) -> None:
    copies: list[Copy] = []
    for time, responses in enumerate(given):
        shown = {user: (user, status, time) for user, status in responses}
        copies = looked(copies, record("t", *shown.values()))
        expected = {("t", NAMES[user]) for user, status, _ in shown.values() if status != "draft"}
        assert counted(copies) == expected
