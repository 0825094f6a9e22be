"""Polls: the votes on two answers to one prompt, and what follows from them. Pure functions."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, NamedTuple

from labeling.records import Ranking, compare
from labeling.votes import is_unnamed, normalized_text, prompt_key
from pipeline.data.judgements.choosing import PollKey
from pipeline.data.rows import Message, Preference, as_messages

UnweightedPool = Literal["majority", "net"]
"""Whether the chosen answer needs more than half of all votes, or only more votes than the other one."""


@dataclass
class Poll:
    """Two different answers to one prompt and each annotator's votes: 1 for the first, -1 for the second, 0 a tie."""

    prompt: str | list[Message]
    texts: tuple[str, str]
    group: str
    votes: dict[str, list[int]] = field(default_factory=dict)

    def row(self, lead: float) -> Preference:
        """The pair by a lead in [-1, 1] that is not 0; its size is the margin."""
        chosen, rejected = self.texts if lead > 0 else self.texts[::-1]
        return pair_row(as_messages(self.prompt), answer_turns(chosen), answer_turns(rejected), abs(lead), self.group)


class Outcome(NamedTuple):
    """What a poll comes to: the row, None for a tie, and (votes for the first - votes for the second) / votes."""

    row: Preference | None
    lead: float


def outcome_of(poll: Poll, pool: UnweightedPool) -> Outcome:
    """The outcome of a poll if all votes count alike."""
    votes = [vote for own in poll.votes.values() for vote in own]
    lead = sum(votes) / len(votes) if votes else 0.0
    kept = decides(votes, pool)
    return Outcome({**poll.row(lead), "label_noise": label_noise(votes)} if kept else None, lead)


def label_noise(votes: Sequence[int]) -> float:
    """The probability that one more vote is against the answer that signed votes prefer, in (0, 0.5).

    It is (votes against + 1) / (votes + 2), a tie being half a vote for either side: Laplace's rule of succession. A
    single vote leaves 1/3, three that agree leave 1/5. The plain share would be 0 for both.
    """
    against = sum(vote * sum(votes) < 0 for vote in votes) + votes.count(0) / 2
    return (against + 1) / (len(votes) + 2)


def decides(votes: Sequence[float], pool: UnweightedPool) -> bool:
    """Whether signed votes prefer one side: more than half of all votes, or with `net` more than the other side."""
    lead = sum(votes)
    return lead != 0 and (pool == "net" or 2 * sum(vote * lead > 0 for vote in votes) > len(votes))


def add_votes(ranking: Ranking, polls: dict[PollKey, Poll], spelled: dict[str, str | list[Message]]) -> list[PollKey]:
    """Add the votes on all pairs of different responses in the ranking, in alphabetical order; returns their keys.

    `spelled` maps each prompt to its first spelling, so that its rows stay on one side of every split.
    """
    responses, prompt = ranking["responses"], prompt_key(ranking["prompt"])
    keys = text_keys(responses)
    slots: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for one, other in combinations(range(len(responses)), 2):
        if responses[one].strip() != responses[other].strip():
            first, second = (one, other) if keys[one] < keys[other] else (other, one)
            slots[keys[first], keys[second]].append((first, second))
    for (one_key, other_key), several in sorted(slots.items()):
        first, second = several[0]
        new = Poll(spelled.setdefault(prompt, ranking["prompt"]), (responses[first], responses[second]), ranking["id"])
        poll = polls.setdefault((prompt, one_key, other_key), new)
        for row in ranking["rankings"]:
            poll.votes[person_of(row["annotator"], ranking)] = [compare(row["ranks"], *pair) for pair in several]
    return [(prompt, *pair) for pair in sorted(slots)]


def person_of(name: str, ranking: Ranking) -> str:
    """Whose vote it is, in any spelling. Unnamed votes are of one person within a ranking only."""
    return f"{name}\n{ranking['id']}" if is_unnamed(name) else normalized_text(name)


def text_keys(responses: Sequence[str]) -> list[str]:
    """The key of each response across rankings: its text without differences in whitespace and case.

    Within this ranking such differences count if two responses differ in nothing else.
    """
    spellings = Counter(normalized_text(text) for text in set(responses))
    return [key if spellings[key := normalized_text(text)] == 1 else text for text in responses]


def pair_row(
    prompt: list[Message], chosen: list[Message], rejected: list[Message], margin: float, group: str
) -> Preference:
    """A row of the contract."""
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": margin, "group": group}


def answer_turns(content: str | list[Message]) -> list[Message]:
    """An answer as messages; text becomes one turn of the assistant."""
    return [{"role": "assistant", "content": content}] if isinstance(content, str) else content
