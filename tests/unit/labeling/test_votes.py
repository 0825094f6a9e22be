"""Votes on one prompt are one record: however a pooled file is cut up, shuffled and misspelled, it comes back."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.agreement import agreement_metrics
from labeling.records import Ranking, Ranks, compare
from labeling.votes import UNNAMED, Vote, is_unnamed, normalized_text, pool, prompt_key

PEOPLE = ("ann", "ben", "cem")
words = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8)


def towers(prompts: int = 30) -> list[Ranking]:
    """Prompts with four responses and three people, who agree on most of them."""
    draw = random.Random(5)
    rankings = []
    for number in range(prompts):
        rows = []
        for person in PEOPLE:
            ranks = [1, 2, 3, 4]
            for _ in range(draw.randrange(3)):
                first, second = draw.sample(range(4), 2)
                ranks[first], ranks[second] = ranks[second], ranks[first]
            rows.append(Ranks(annotator=person, ranks=ranks))
        responses = [f"Tower {number} is {number}{slot} metres tall." for slot in range(4)]
        rankings.append(Ranking(id=f"t{number}", prompt=f"How tall is {number}?", responses=responses, rankings=rows))
    return rankings


def votes_of(rankings: list[Ranking]) -> list[Vote]:
    return [
        Vote(f"row {number}", ranking["prompt"], ranking["responses"], row["ranks"], row["annotator"], ranking["id"])
        for number, (ranking, row) in enumerate((one, row) for one in rankings for row in one["rankings"])
    ]


def meaning(rankings: list[Ranking]) -> dict:
    """What rankings say, without the order of rows, of slots and of people: prompt -> person -> response -> rank."""
    found: dict = {}
    for ranking in rankings:
        responses = [normalized_text(text) for text in ranking["responses"]]
        key = (prompt_key(ranking["prompt"]), frozenset(responses))
        assert key not in found, "one prompt and one set of responses are two records"
        found[key] = {
            normalized_text(row["annotator"]): dict(zip(responses, row["ranks"], strict=True))
            for row in ranking["rankings"]
        }
    return found


def shuffled_slots(vote: Vote, draw: random.Random) -> Vote:
    order = draw.sample(range(len(vote.responses)), len(vote.responses))
    ranks = [vote.ranks[slot] for slot in order] if vote.ranks else None
    return replace(vote, responses=[vote.responses[slot] for slot in order], ranks=ranks)


def noisy(text: str, draw: random.Random) -> str:
    """The same text with other whitespace and other letter case."""
    text = draw.choice([str.upper, str.lower, str.title, str])(text)
    return (
        draw.choice(["", " ", "\n", "\t "]) + text.replace(" ", draw.choice([" ", "  ", "\n"])) + draw.choice(["", " "])
    )


def spoiled(vote: Vote, draw: random.Random) -> Vote:
    responses = [noisy(text, draw) for text in vote.responses]
    return replace(
        vote, prompt=noisy(str(vote.prompt), draw), responses=responses, annotator=noisy(vote.annotator or "", draw)
    )


@given(st.randoms(use_true_random=False))
def test_any_split_in_any_order_with_any_whitespace_and_case_gives_the_same_rankings(draw):
    rankings = towers(4)
    votes = [spoiled(shuffled_slots(vote, draw), draw) for vote in votes_of(rankings)]
    draw.shuffle(votes)
    assert meaning(pool(votes).rankings) == meaning(rankings)
    assert pool(votes).left_out == []


@given(st.randoms(use_true_random=False))
def test_ids_that_count_from_0_in_each_file_do_not_join_prompts(draw):
    rankings = towers(6)
    files = [rankings[:3], rankings[3:]]
    votes = [replace(vote, id=str(int(vote.id[1:]) % 3)) for file in files for vote in votes_of(file)]
    draw.shuffle(votes)
    pooled = pool(votes)
    assert meaning(pooled.rankings) == meaning(rankings)
    assert len({ranking["id"] for ranking in pooled.rankings}) == 6
    assert pooled.remarks == [
        "3 ids stand for several prompts ('0', '1', '2'): these prompts are identified by their texts"
    ]


@given(st.randoms(use_true_random=False))
def test_ids_that_differ_for_each_row_do_not_part_votes(draw):
    votes = [replace(vote, id=str(number)) for number, vote in enumerate(votes_of(towers(4)))]
    draw.shuffle(votes)
    assert meaning(pool(votes).rankings) == meaning(towers(4))


def test_without_ids_records_are_named_by_their_content():
    votes = [replace(vote, id=None) for vote in votes_of(towers(3))]
    names = [ranking["id"] for ranking in pool(votes).rankings]
    assert len(set(names)) == 3
    assert names == [ranking["id"] for ranking in pool(votes).rankings]


def vote(person: str | None, *ranks: int | None, when: str = "", prompt: str = "Why?", texts=("x", "y", "z")) -> Vote:
    return Vote(f"{person} {when}", prompt, list(texts), list(ranks), person, when=when)


@given(st.permutations([("2026-01-01", (1, 2, 3)), ("2026-01-02", (2, 1, 3)), ("2026-01-03", (3, 2, 1))]))
def test_of_several_votes_by_one_annotator_the_latest_counts_in_any_order(times):
    pooled = pool(vote("ann", *ranks, when=when) for when, ranks in times)
    assert pooled.rankings[0]["rankings"] == [{"annotator": "ann", "ranks": [3, 2, 1]}]
    assert [out.cause for out in pooled.left_out] == ["superseded", "superseded"]
    assert pooled.remarks == ["Votes that the same annotator changed later: the later vote counts: 2"]


def test_without_times_the_last_vote_of_a_person_counts():
    pooled = pool([vote("ann", 1, 2, 3), vote("ben", 1, 2, 3), vote("Ann ", 3, 2, 1)])
    rows = {row["annotator"]: row["ranks"] for row in pooled.rankings[0]["rankings"]}
    assert rows == {"ann": [3, 2, 1], "ben": [1, 2, 3]}


def test_the_same_vote_twice_is_a_duplicate_only_by_the_same_person():
    pooled = pool([vote("ann", 1, 2, 2), vote("ann", 1, 3, 3), vote("ben", 1, 2, 2)])
    assert [out.cause for out in pooled.left_out] == ["duplicate"]
    assert [row["annotator"] for row in pooled.rankings[0]["rankings"]] == ["ann", "ben"]


@pytest.mark.parametrize("name", [None, "", "  ", f"{UNNAMED} 1", "Unnamed 7 "])
def test_votes_without_a_name_are_votes_of_their_own(name):
    pooled = pool([vote(name, 1, 2, 3), vote(name, 1, 2, 3), vote(name, 3, 2, 1)])
    rows = pooled.rankings[0]["rankings"]
    assert [row["ranks"] for row in rows] == [[1, 2, 3], [1, 2, 3], [3, 2, 1]]
    assert [row["annotator"] for row in rows] == [f"{UNNAMED} 1", f"{UNNAMED} 2", f"{UNNAMED} 3"]
    assert all(is_unnamed(row["annotator"]) for row in rows)
    assert pooled.remarks == ["Votes without an annotator, each counted separately: 3"]


def test_unnamed_votes_of_two_pooled_files_stay_as_many():
    first, second = (pool([vote(None, 1, 2, 3), vote(None, *ranks)]).rankings for ranks in ((1, 2, 3), (2, 1, 3)))
    assert len(pool(votes_of([*first, *second])).rankings[0]["rankings"]) == 4


def test_unranked_responses_leave_a_vote_on_the_others():
    first, second = pool([vote("ann", 1, 2, 3), vote("ben", 2, None, 1)]).rankings
    assert (first["responses"], second["responses"]) == (["x", "y", "z"], ["x", "z"])
    assert second["rankings"] == [{"annotator": "ben", "ranks": [2, 1]}]


@given(st.randoms(use_true_random=False), st.integers(2, 4))
def test_subsets_of_the_responses_are_records_of_their_own_with_the_same_order(draw, size):
    whole = votes_of(towers(3))
    parts = []
    for one in whole:
        kept = draw.sample(range(4), size)
        parts.append(replace(one, responses=[one.responses[k] for k in kept], ranks=[one.ranks[k] for k in kept]))
    pooled = pool(parts)
    assert sum(len(ranking["rankings"]) for ranking in pooled.rankings) == len(whole)
    true = {(str(one.prompt), one.annotator): dict(zip(one.responses, one.ranks, strict=True)) for one in whole}
    for ranking in pooled.rankings:
        for row in ranking["rankings"]:
            ranks = [true[str(ranking["prompt"]), row["annotator"]][text] for text in ranking["responses"]]
            assert compare(row["ranks"], 0, 1) == compare(ranks, 0, 1)


@pytest.mark.parametrize(
    ("texts", "ranks", "reason"),
    [
        (("x",), (1,), "two responses or more"),
        (("x", "y"), (1,), "1 ranks for 2"),
        (("x", "y"), (0, 1), "whole number from 1"),
        (("x", "y"), (1.5, 1), "whole number from 1"),
        (("x", "y"), (True, 2), "whole number from 1"),
        (("x", "y"), (1, None), "fewer than two"),
    ],
)
def test_a_vote_that_cannot_be_used_is_left_out_with_its_reason(texts, ranks, reason):
    pooled = pool([vote("ann", *ranks, texts=texts), vote("ben", 1, 2, 3)])
    assert len(pooled.rankings) == 1
    assert [(out.cause, reason in out.reason) for out in pooled.left_out] == [("unusable", True)]


@given(st.permutations([("Yes", 1), ("YES", 2), ("yes ", 3), ("No", 4)]))
def test_responses_of_one_vote_that_differ_in_case_alone_stay_apart(slots):
    first = Vote(1, "Why?", ["Yes", "YES", "yes ", "No"], [1, 2, 3, 4], "ann")
    second = Vote(2, "Why?", [text for text, _ in slots], [rank for _, rank in slots], "ben")
    (ranking,) = pool([first, second]).rankings
    assert [row["ranks"] for row in ranking["rankings"]] == [[1, 2, 3, 4], [1, 2, 3, 4]]


def test_equal_responses_are_two_responses():
    (ranking,) = pool([Vote(1, "Why?", ["x", "x", "y"], [1, 1, 2], "ann")]).rankings
    assert ranking["responses"] == ["x", "x", "y"]


def test_a_text_and_one_turn_of_the_user_are_one_prompt():
    turn = [{"role": "user", "content": "Why? "}]
    (ranking,) = pool([vote("ann", 1, 2, 3), replace(vote("ben", 1, 2, 3), prompt=turn)]).rankings
    assert len(ranking["rankings"]) == 2
    system = [{"role": "system", "content": "Be brief."}, *turn]
    assert len(pool([vote("ann", 1, 2, 3), replace(vote("ben", 1, 2, 3), prompt=system)]).rankings) == 2


def test_unranked_prompts_are_kept_and_join_their_votes():
    listed = Vote(0, "Why?", ["x", "y", "z"], None, id="a")
    (ranking,) = pool([listed, vote("ann", 1, 2, 3)]).rankings
    assert (ranking["id"], len(ranking["rankings"])) == ("a", 1)


@given(st.lists(words, min_size=2, max_size=4, unique_by=normalized_text), st.data())
def test_a_changed_rank_name_or_response_changes_what_is_pooled(texts, data):
    """A mutation of any meaning is seen in the rankings."""
    ranks = data.draw(st.lists(st.integers(1, 4), min_size=len(texts), max_size=len(texts)))
    kept = Vote(1, "Why?", texts, ranks, "ann")
    changed = [
        replace(kept, ranks=[5 - rank for rank in ranks]),
        replace(kept, annotator="ben"),
        replace(kept, responses=[*texts[:-1], texts[-1] + "!"]),
        replace(kept, prompt="Why not?"),
    ]
    before = meaning(pool([kept]).rankings)
    mutants = [meaning(pool([one]).rankings) for one in changed]
    assert all(mutant != before for mutant in mutants[1:])
    assert (mutants[0] != before) == (ranks != [5 - rank for rank in ranks])


def test_a_pooled_file_in_rows_has_the_agreement_of_the_whole():
    """The figures of a file with 30 prompts, three people and four responses do not depend on how it is cut."""
    rankings = towers()
    votes = votes_of(rankings)
    random.Random(1).shuffle(votes)
    pooled = pool(votes).rankings
    assert agreement_metrics(pooled) == pytest.approx(agreement_metrics(rankings))
    assert sum(len(ranking["responses"]) * (len(ranking["responses"]) - 1) // 2 for ranking in pooled) == 180


def test_an_address_is_no_name_to_keep() -> None:
    """Annotators are pseudonyms: an address does not reach a ranking, and is one person however it is spelled."""
    spellings = ("Ann@Example.org", "ann@example.org ")
    votes = [Vote(None, prompt, ["a", "b"], [1, 2], who) for prompt in "pq" for who in spellings]
    pooled = pool([*votes, Vote(None, "p", ["a", "b"], [2, 1], "ben @ work")])
    names = {row["annotator"] for ranking in pooled.rankings for row in ranking["rankings"]}
    assert len(names) == 2
    assert "ben @ work" in names
    assert "example" not in str(pooled.rankings).lower()
