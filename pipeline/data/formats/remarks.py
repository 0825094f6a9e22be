"""Remarks on how a row was read, as phrases that many rows share, so that they can be counted."""

from typing import Any

from labeling.exchange.columns import PROMPT_NAMES
from pipeline.data.formats.columns import is_blank
from pipeline.data.formats.contents import TOOLS
from pipeline.data.formats.conversations import ROLE_KEYS, ROLES, SYSTEM, TEXT_KEYS
from pipeline.data.formats.fields import is_plain
from pipeline.data.formats.flags import learns
from pipeline.data.formats.thoughts import REASONING
from pipeline.data.formats.transcripts import is_waiting
from pipeline.data.formats.verdicts import is_verdict
from pipeline.data.formats.watching import WatchedRow, peek

_SPEAKS = {*ROLE_KEYS, "user", "human", "assistant", "gpt", "bot"}
_UNDERSTOOD = {*ROLE_KEYS, *TEXT_KEYS, "tool_calls", "function_call", "function_calls", "channel"}
_DETAILS = {  # metadata of a turn
    *("id", "message_id", "parent_id", "turn_id", "index", "turn", "name", "tool_call_id", "conversation_id"),
    *("timestamp", "created_at", "updated_at", "create_time", "date", "time", "lang", "language", "country", "state"),
    *("model", "source", "usage", "tokens", "token_count", "num_tokens", "type", "stop"),
    *("cache_control", "hashed_ip", "header", "logprobs", "openai_moderation"),
}
_PLAIN = {("role", "content"), ("content", "role"), ("from", "value")}  # keys of turns that hold nothing else
_TREES = ("mapping",)  # whose keys are names
_HELD = {*("messages", "choices", *PROMPT_NAMES, "input", *TOOLS)} | {
    *("output", "answer", "response", "completion"),
}  # keys of an object with a prompt or an answer
_ENDED = ("status", "finish_reason", "stop_reason")
_WELL_ENDED = {
    *("stop", "end_turn", "stop_sequence", "eos", "tool_calls", "tool_use", "function_call"),
    *("finished_successfully", "finished", "complete", "completed", "done", "success", "ok", "sent"),
}
_WARNINGS = {"toxic", "redacted", "deleted", "hidden", "error", "is_error", "refusal"}  # worth a remark if true


def remarks_on(row: WatchedRow) -> list[str]:
    """Remarks on a row that was read: unknown keys of turns, values other than text, transcripts."""
    found: list[str] = []
    for column in row:
        value = peek(row, column)
        if isinstance(value, list) and column in row.read:
            found += [f"`{column}[].{key}` is unknown and ignored" for key in dict.fromkeys(ignored_keys(value))]
        elif isinstance(value, dict) and row.roles.get(column) in ("prompt", "answer") and column not in _TREES:
            unread = [key for key, inner in value.items() if key not in _HELD and _is_ignored(value, key, inner)]
            found += [f"`{column}.{key}` is unknown and ignored" for key in unread]
        elif is_plain(value) and row.roles.get(column) in ("prompt", "answer"):
            found.append(f"`{column}` is a number, or true or false: read as text")
        elif isinstance(value, str) and _is_whole_prompt(row, column) and is_waiting(value):
            found.append(f"`{column}` is a transcript: read as turns")
        elif column.lower() in SYSTEM and not is_blank(value) and _opens_with_another(row, value):
            found.append(f"`{column}` is not used: the conversation has its own system turn")
    return found


def _opens_with_another(row: WatchedRow, system: object) -> bool:
    """Whether a conversation of the row opens with a different system turn."""
    firsts = [value[0] for key in row.read if isinstance(value := peek(row, key), list) and value]
    turns = [turn for turn in firsts if isinstance(turn, dict) and ROLES.get(_speaker(turn)) == "system"]
    return any(system not in turn.values() for turn in turns)


def _is_whole_prompt(row: WatchedRow, column: str) -> bool:
    """Whether the prompt is in that column alone; joined with others it is plain text."""
    return [name for name, role in row.roles.items() if role == "prompt"] == [column]


def ignored_keys(turns: list[Any]) -> list[str]:
    """Unread keys of turns that have a value, once per turn."""
    odd = (turn for turn in turns if isinstance(turn, dict) and tuple(turn) not in _PLAIN)  # most are plain
    spoken = (turn for turn in odd if not turn.keys().isdisjoint(_SPEAKS))
    return [key for turn in spoken for key, value in turn.items() if _is_ignored(turn, key, value)]


def _speaker(turn: dict[str, Any]) -> str:
    return next((turn[name] for name in ROLE_KEYS if isinstance(turn.get(name), str)), "").strip().lower()


def _is_ignored(turn: dict[str, Any], name: str, value: object) -> bool:
    key = name.lower()
    if value in (None, "", [], {}) or key in _DETAILS or (key in _WARNINGS and not value):
        return False
    exchange = turn.keys().isdisjoint(ROLE_KEYS)  # keyed by speaker, the assistant included
    role = "assistant" if exchange else ROLES.get(_speaker(turn))
    if exchange and key in ROLES:
        return False
    if key in _ENDED:
        return str(value).lower() not in _WELL_ENDED
    if key in ("meta", "metadata"):
        return isinstance(value, dict) and any(learns(inner) is not None or is_verdict(inner) for inner in value)
    if key in REASONING:
        return role != "assistant" or not isinstance(value, str)
    if key in TOOLS:
        return role != "system"
    if (learned := learns(name)) is not None:  # flags count on assistant turns only
        return learned and role != "assistant" and value not in (0, "0", "false", "False")
    return key not in _UNDERSTOOD
