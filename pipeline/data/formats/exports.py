"""Conversations exported by services: Gemini's contents and ChatGPT's export."""

from collections.abc import Iterator
from typing import Any

from pipeline.data.faults import BadRow
from pipeline.data.formats.contents import as_text, call_of
from pipeline.data.formats.conversations import Row, Turns, turns_in, turns_of_row
from pipeline.data.formats.fields import list_in, object_in, text_in
from pipeline.data.formats.flags import marked_turns
from pipeline.data.formats.thoughts import joined_answers
from pipeline.data.formats.watching import note
from pipeline.data.rows import Message

_INSTRUCTIONS = ("systemInstruction", "system_instruction")
_HIDDEN_KINDS = ("model_editable_context", "user_editable_context", "reasoning_recap", "system_error")
"""Kinds of ChatGPT contents that the page hides."""


def gemini(row: Row) -> list[Turns]:
    """contents with role and parts, which may hold function calls, and a system instruction beside them."""
    note(row, "turns", "contents")
    messages: list[Message] = []
    for key in _INSTRUCTIONS:
        if row.get(key):
            messages += _gemini_turn({"role": "system", "parts": _parts_of(row[key], key)}, key)
    for index, turn in enumerate(list_in(marked_turns(row, "contents"), "contents")):
        messages += _gemini_turn(object_in(turn, f"contents[{index}]"), f"contents[{index}]")
    return [turns_of_row(row, "contents", messages)]


def chatgpt(row: Row) -> list[Turns]:
    """A conversation of a ChatGPT export: the branch of its tree that the page shows, up to its last answer."""
    note(row, "turns", "mapping")
    nodes = object_in(row.get("mapping"), "mapping")
    turns: list[Message] = []
    for identity, node in _branch(nodes, row.get("current_node")):
        for message in _chatgpt_turn(node, f"mapping.{identity}"):
            if turns and turns[-1]["role"] == message["role"] == "assistant":
                turns[-1] = joined_answers(turns[-1], message)
            else:
                turns.append(message)
    answers = [index for index, turn in enumerate(turns) if turn["role"] == "assistant" and turn["content"].strip()]
    if not answers:
        raise BadRow("mapping", None, "a turn of the assistant is missing")
    return [turns_of_row(row, "mapping", turns[: answers[-1] + 1], "id")]


def has_contents(row: Row) -> bool:
    contents = row.get("contents")
    return isinstance(contents, list) and any(isinstance(turn, dict) and "parts" in turn for turn in contents)


def has_mapping(row: Row) -> bool:
    mapping = row.get("mapping")
    nodes = list(mapping.values()) if isinstance(mapping, dict) else []
    return any(isinstance(node, dict) and {"message", "parent"} <= node.keys() for node in nodes)


def _parts_of(value: object, field: str) -> object:
    """The parts of an instruction, which may be an object with parts, one part, or text."""
    if isinstance(value, str):
        return [{"text": value}]
    given = object_in(value, field)
    return given.get("parts", [given])


def _gemini_turn(turn: dict[str, Any], field: str) -> list[Message]:
    """The messages of a turn: one per function result, and one for everything else."""
    written = text_in(turn.get("role"), f"{field}.role")
    parts = turn.get("parts")
    content: list[dict[str, Any]] = []
    for index, part in enumerate(list_in([parts] if isinstance(parts, dict) else parts, f"{field}.parts")):
        place = f"{field}.parts[{index}]"
        content.append(
            _gemini_part({"text": part} if isinstance(part, str) else object_in(part, place), place, written)
        )
    role = "user" if written == "function" else written
    rest = {key: value for key, value in turn.items() if key not in ("role", "parts")}  # for example flags
    return turns_in([{**rest, "role": role, "content": content}], field)


def _gemini_part(part: dict[str, Any], field: str, written: str) -> dict[str, Any]:
    """The part as a block of the kinds that `contents.turn_parts_in` knows."""
    plain = {key.replace("_", "").lower(): value for key, value in part.items() if value is not None}
    if "functioncall" in plain:
        call = object_in(plain["functioncall"], f"{field}.functionCall")
        return {"type": "tool_use", "name": call.get("name"), "input": call.get("args")}
    if "functionresponse" in plain:
        returned = object_in(plain["functionresponse"], f"{field}.functionResponse").get("response")
        return {"type": "tool_result", "content": as_text(returned, f"{field}.functionResponse.response", written)}
    if "text" not in plain:
        raise BadRow(field, written, "only parts that are text can be used")
    return {"type": "thinking" if plain.get("thought") else "text", "text": plain["text"], "thinking": plain["text"]}


def _branch(nodes: dict[str, Any], last: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nodes from the root to the last shown one. Raises BadRow if a node is missing or its own ancestor."""
    path: list[tuple[str, dict[str, Any]]] = []
    at: object = last if isinstance(last, str) else _leaf(nodes)
    while at is not None:
        if not isinstance(at, str) or at not in nodes or len(path) > len(nodes):
            raise BadRow("mapping", None, "the tree is damaged: a node is missing or is its own ancestor")
        node = object_in(nodes[at], f"mapping.{at}")
        path.append((at, node))
        at = node.get("parent", "")
    return iter(path[::-1])


def _leaf(nodes: dict[str, Any]) -> str:
    """The only node without children, if the export does not name the last one. Raises BadRow for several."""
    leaves = [name for name, node in nodes.items() if isinstance(node, dict) and not node.get("children")]
    if len(leaves) != 1:
        raise BadRow("current_node", None, "the conversation has several branches, and the last node is not named")
    return leaves[0]


def _chatgpt_turn(node: dict[str, Any], field: str) -> list[Message]:
    """The messages of a node; empty without a message, or if the page hides it."""
    if node.get("message") is None:
        return []
    message = object_in(node["message"], f"{field}.message")
    content = object_in(message.get("content"), f"{field}.message.content")
    role = object_in(message.get("author"), f"{field}.message.author").get("role")
    metadata = message.get("metadata")
    hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation")
    if hidden or content.get("content_type") in _HIDDEN_KINDS or (message.get("weight") == 0 and role == "system"):
        return []
    return _chatgpt_message(message, content, role, f"{field}.message")


def _chatgpt_message(message: dict[str, Any], content: dict[str, Any], role: object, field: str) -> list[Message]:
    written, kind = text_in(role, f"{field}.author.role"), content.get("content_type")
    if kind == "thoughts":
        thoughts = [text_in(object_in(one, field).get("content"), field) for one in content.get("thoughts") or []]
        return [Message(role="assistant", content="", reasoning_content="\n\n".join(thoughts))] if thoughts else []
    if kind in ("code", "execution_output"):
        text = text_in(content.get("text"), f"{field}.content.text", written)
    elif kind in ("text", "multimodal_text"):
        parts = list_in(content.get("parts"), f"{field}.content.parts")
        if not all(isinstance(part, str) for part in parts):
            raise BadRow(f"{field}.content.parts", written, "only parts that are text can be used")
        text = "\n\n".join(part for part in parts if part.strip())
    else:
        raise BadRow(f"{field}.content.content_type", written, "only contents that are text can be used")
    recipient = message.get("recipient")
    if written == "assistant" and isinstance(recipient, str) and recipient != "all":
        text = call_of(recipient, text, field, written)
    return turns_in([{"role": written, "content": text}], field) if text.strip() else []
