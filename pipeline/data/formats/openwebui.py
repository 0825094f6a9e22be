"""Open WebUI's feedback export: a thumb on one message of a chat, with the chat's history."""

from typing import Any

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.coded import Coded, mark_in
from pipeline.data.formats.conversations import Row, in_order, turn_in
from pipeline.data.formats.fields import object_in
from pipeline.data.formats.judgement import Marked
from pipeline.data.formats.watching import note
from pipeline.data.rows import Message

COLUMNS = (("data", "meta", "snapshot"),)


def feedback(row: Row) -> list[Marked]:
    """The rated message as a marked answer, with the turns before it. Raises BadRow, or LeftOut without a rating."""
    rating = mark_in(object_in(row.get("data"), "data"), "rating")
    if rating is None:
        raise LeftOut("data.rating", None, "the answer was neither corrected nor marked as good or bad")
    meta, messages = object_in(row.get("meta"), "meta"), _messages(row)
    note(row, "prompt", "snapshot")
    note(row, "judgement", "data")
    *asked, answer = in_order(_path(messages, meta.get("message_id")), "snapshot", "assistant")
    user = row.get("user_id")
    when = row.get("updated_at") or row.get("created_at") or ""
    annotator = str(user) if isinstance(user, str | int) and user != "" else None
    return [Marked(asked, answer["content"], rating, annotator, str(when))]


def codes_of(row: Row) -> list[Coded]:
    """The rating: 1 and -1 are thumbs."""
    data = row.get("data")
    if not isinstance(data, dict) or "rating" not in data:
        return []
    known = (("1", "good"), ("-1", "bad"))
    return [Coded(("data", "rating"), data["rating"], "thumb", "data.rating", known)]


def is_feedback(row: Row) -> bool:
    return all(isinstance(row.get(key), dict) for key in ("data", "meta", "snapshot")) and "rating" in row["data"]


def _messages(row: Row) -> dict[str, Any]:
    """Message id -> message of the chat at the time of the rating."""
    inside = object_in(row.get("snapshot"), "snapshot")
    for key in ("chat", "chat", "history"):
        inside = object_in(inside.get(key), f"snapshot.{key}")
    return object_in(inside.get("messages"), "snapshot.chat.chat.history.messages")


def _path(messages: dict[str, Any], last: object) -> list[Message]:
    """The turns from the first one to the rated message, by their parents."""
    turns: list[Message] = []
    seen = set[str]()
    while isinstance(last, str) and last and last not in seen:
        seen.add(last)
        message = object_in(messages.get(last), f"messages.{last}")
        turns.insert(0, turn_in(message, f"messages.{last}", "role", "content"))
        last = message.get("parentId")
    if not turns:
        raise BadRow("meta.message_id", None, "the rated message is not in the chat")
    return turns
