"""Language models as judges of two answers: the question, its reading, and how far a judge can be believed.

Each comparison is asked in both orders. A judge that changes its mind with the order has a tie. Pure functions.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from labeling.records import Message
from labeling.sequential import tally
from pipeline.evaluation.abtest import ERROR, at_the_end
from pipeline.evaluation.winrates import Estimate

REQUEST = """\
Here are two answers to the same question. Which one is better: correct, helpful and clear? Length alone is no merit.

[Question]
{question}

[Answer A]
{first}

[Answer B]
{second}

[End]
Answer with one last line: "Verdict: A", "Verdict: B" or "Verdict: tie"."""

VERDICT = re.compile(r"verdict\W*\b(A|B|tie)\b", re.IGNORECASE)
ALONE = re.compile(r"\W*(A|B|tie)\W*", re.IGNORECASE)
MEANINGS = {"a": 1.0, "b": 0.0, "tie": 0.5}


class Contest(NamedTuple):
    """Two answers to one prompt. The first one's wins are counted."""

    prompt: Sequence[Message]
    first: str
    second: str


class Reply(NamedTuple):
    """A judge's reading of one contest in both orders: 1, 0.5 or 0 for the answer shown as A; None if unreadable."""

    shown_first: float | None  # with the first answer as A
    shown_second: float | None  # with the first answer as B

    @property
    def outcome(self) -> float:
        """1 if the first answer wins in both orders, 0 if it loses in both, else 0.5."""
        orders = (self.shown_first, self.shown_second)
        return 1.0 if orders == (1.0, 0.0) else 0.0 if orders == (0.0, 1.0) else 0.5


def requests(contests: Sequence[Contest]) -> list[list[Message]]:
    """Return two requests per contest, [2 x contests], the second in the other order."""
    return [
        [Message(role="user", content=REQUEST.format(question=_text(one.prompt), first=a, second=b))]
        for one in contests
        for a, b in ((one.first, one.second), (one.second, one.first))
    ]


def _text(prompt: Sequence[Message]) -> str:
    """Return a single turn as its text, and several turns with their roles."""
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def replies(texts: Sequence[str]) -> list[Reply]:
    """Return the replies to `requests`."""
    read = [choice_in(text) for text in texts]
    return [Reply(*orders) for orders in zip(read[::2], read[1::2], strict=True)]


def choice_in(text: str) -> float | None:
    """Return 1 for A, 0 for B, 0.5 for a tie: the last verdict, or an answer that is only a letter; else None."""
    found = VERDICT.findall(text)
    alone = ALONE.fullmatch(text)
    return MEANINGS[found[-1].lower()] if found else MEANINGS[alone[1].lower()] if alone else None


def rate(given: Sequence[Reply]) -> Estimate:
    """Return the win rate of the first answers, with the interval for one look."""
    return at_the_end(tally([reply.outcome for reply in given]), ERROR)


class Habits(NamedTuple):
    """Shares that show how a judge decides, apart from the answers' quality; 0.5 without an observation."""

    readable: float  # of single verdicts
    first_shown: float  # of decided single verdicts, for the answer shown as A
    same_in_both_orders: float  # of contests
    longer: float  # of decided contests with unequal lengths, for the longer answer


def habits(contests: Sequence[Contest], given: Sequence[Reply]) -> Habits:
    verdicts = [verdict for reply in given for verdict in reply]
    decided = [verdict for verdict in verdicts if verdict in (0.0, 1.0)]
    same = [None not in reply and reply.shown_first == 1 - (reply.shown_second or 0.0) for reply in given]
    longer = [
        (reply.outcome == 1) == (len(one.first) > len(one.second))
        for one, reply in zip(contests, given, strict=True)
        if reply.outcome != 0.5 and len(one.first) != len(one.second)
    ]
    return Habits(_share([verdict is not None for verdict in verdicts]), _share(decided), _share(same), _share(longer))


def longer_wins(contests: Sequence[Contest]) -> float:
    """Return the share of contests with unequal lengths in which the first answer is the longer one."""
    lengths = [(len(one.first), len(one.second)) for one in contests]
    return _share([first > second for first, second in lengths if first != second])


def _share(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.5
