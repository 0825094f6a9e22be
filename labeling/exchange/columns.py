"""What the fields of a foreign file or dataset are called."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Columns:
    """Field mapping; where nothing is said, each format's own names hold.

    responses, ranks: one name per response, in one order. buckets: of Label Studio's Ranker, best first. tie: the
    choice in Label Studio that says that both responses are equal. comment: in Argilla the name of a question.
    """

    id: str | None = None
    prompt: str | None = None
    responses: tuple[str, ...] = ()
    ranks: tuple[str, ...] = ()
    annotator: str | None = None
    comment: str | None = None
    buckets: tuple[str, ...] = ()
    tie: str | None = None


AS_THEY_ARE = Columns()
