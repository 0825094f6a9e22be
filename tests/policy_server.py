"""A server of completions that draws from a policy, rightly or with one fault."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.completions import Reply, Server
from tests.lazily import lazily

with lazily():
    from pipeline.modeling.answering import Answerer
    from pipeline.modeling.drawing import TokenSampler, numbers_of_rows
    from pipeline.modeling.generation import sampled
    from pipeline.modeling.heads import ids_with_token


@dataclass(frozen=True)
class Ways:
    """How a server differs from one that draws from its policy as it is asked to."""

    temperature: float = 1.0  # times the requested one
    added_tokens: int = 0  # before each prompt, as counted
    goes_on: bool = False  # after the token that ends an answer, which it shows
    hides_stop: bool = False  # goes on, and shows that token among the ids alone
    takes_ids: bool = True
    returns_ids: bool = True
    names: tuple[str, ...] = ("served",)
    answers: int | None = None  # before it is away; None: it stays


class PolicyServer(Server):
    """Draws from a policy on this machine, one request at a time, with the numbers of each request's seed."""

    def __init__(self, policy: Answerer, **ways: Any) -> None:
        self.policy, self.ways = policy, Ways(**ways)
        super().__init__(lambda question, before: (500, {}))

    def listed(self) -> Reply:
        return 200, {"object": "list", "data": [{"id": name} for name in self.ways.names]}

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        chat, prompt = self.policy.chat, body["prompt"]
        if isinstance(prompt, list) and not self.ways.takes_ids:
            return 400, {"error": {"message": "prompt must be a string."}}
        with self.lock:
            self.seen.append((body, headers))
            if self.ways.answers is not None and len(self.seen) > self.ways.answers:
                return 503, {}
            ids = prompt if isinstance(prompt, list) else chat.tokenizer(prompt)["input_ids"]
            temperature = body["temperature"] * self.ways.temperature
            sampler = TokenSampler(ids_with_token(chat.tokenizer), temperature, body["top_p"])
            numbers = numbers_of_rows(body["seed"], [0], body["max_tokens"])
            [(own, stopped)] = sampled(self.policy.model, chat, [ids], numbers, sampler)
        text = chat.tokenizer.decode(own, skip_special_tokens=True) + (f"{chat.stop} And" if self.ways.goes_on else "")
        choice = {"index": 0, "text": text, "finish_reason": "stop" if stopped else "length"}
        read = len(ids) + self.ways.added_tokens
        usage = {"prompt_tokens": read, "completion_tokens": len(own), "total_tokens": read + len(own)}
        ids = [*own, chat.stop_id, *own] if self.ways.hides_stop else own
        return 200, {"choices": [{**choice, **({"token_ids": ids} if self.ways.returns_ids else {})}], "usage": usage}

    def change(self, **ways: Any) -> None:
        self.ways = replace(self.ways, **ways)
