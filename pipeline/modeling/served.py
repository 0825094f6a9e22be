"""A policy whose answers a server draws, after a comparison of the server with the policy's own weights.

The server gets rendered prompts, so its template has no part in them, and its count of their tokens has to be ours.
`generation.json` beside the answers records who drew them, what was compared, and what was not.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config.nodes.machine import ServerConfig
from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.synthetic.drafts import Generated
from pipeline.errors import RequestError
from pipeline.files import write_atomically
from pipeline.modeling.answering import Answer, Answerer, answerers_on_bases, within_context
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.chat.templates import Messages
from pipeline.modeling.processes import on_main
from pipeline.modeling.served_answers import answer_of, other_tokens, text_read_as
from pipeline.modeling.served_check import (
    ANSWERS,
    DRAWS,
    LENGTH,
    MAX_Z,
    MIN_AGREED,
    MIN_VARIANCE,
    Measured,
    agreement,
    names_of,
    ranks,
    shares_of,
)
from pipeline.modeling.sources import context_length_in_config, source_of, tokenizer_of
from pipeline.services.completions import Completions
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import CHECKPOINTS

RECORD = "generation.json"
INSTEAD = "Serve the policy itself, or draw here: generation=hf"


def answerer_of(
    policy: str, artifact: Artifact, context: StageContext, seed: int, drawn_by: str
) -> "Answerer | ServedAnswerer":
    """Return what draws a policy's answers: this machine, or the server that the request names for this policy."""
    return Answerer(artifact, context, seed) if drawn_by == "hf" else _served(policy, artifact, context, seed)


def load_answerers(
    artifacts: Mapping[str, Artifact], context: StageContext, seed: int, *, last: str, drawn_by: str
) -> "Iterator[tuple[str, Answerer | ServedAnswerer]]":
    """Yield what draws the policies' answers, with their names; `last` comes last.

    One base model is in memory at a time. An answerer can be used until the next one is asked for.
    """
    if drawn_by == "hf":
        yield from answerers_on_bases(artifacts, context, seed, last=last)
        return
    for name in (name for name in artifacts if name != last):
        served = _served(name, artifacts[name], context, seed)
        yield name, served
        served.unload()
    yield last, _served(last, artifacts[last], context, seed)


def _served(policy: str, artifact: Artifact, context: StageContext, seed: int) -> "ServedAnswerer":
    server = next(one for one in context.runtime.generation.servers or () if one.policy == policy)
    return ServedAnswerer(artifact, context, seed, server)


class ServedAnswerer:
    """One policy: a server draws its answers, and its weights are loaded here only if they are needed."""

    def __init__(self, artifact: Artifact, context: StageContext, seed: int, server: ServerConfig) -> None:
        source = source_of(artifact)
        tokenizer, _ = tokenizer_of(source)
        self.name = artifact.name
        self.chat = ChatFormat(tokenizer)
        self.artifact, self.context, self.seed, self.server = artifact, context, seed, server
        self._context_length = context_length_in_config(source)
        self._found: dict[str, Any] = {"policy": server.policy, "reference": artifact.reference}

    @cached_property
    def local(self) -> Answerer:
        """The policy on this machine."""
        return Answerer(self.artifact, self.context, self.seed)

    def unload(self) -> None:
        """Free the memory of the policy on this machine. It is loaded again if it is needed."""
        self.__dict__.pop("local", None)

    def logprobs(self, prompts: Sequence[Messages], answers: Sequence[list[int]]) -> list[float]:
        """Return log p(answer | prompt) of each answer, summed over its tokens, by the policy's own weights."""
        return self.local.logprobs(prompts, answers)

    def draw(self, prompts: Sequence[Messages], decoding: DecodingConfig, what: str) -> list[Answer]:
        """Have the server draw one answer to each prompt.

        Raises `RequestError` if the server refuses a prompt, reads other tokens, or does not serve this policy.
        """
        rendered = [self.chat.prompt(prompt) for prompt in prompts]
        decoding = within_context(decoding, rendered, self._context_length, self.name)
        self._connect()
        self._check(prompts, decoding)
        with self.context.progress(what, len(prompts)) as advance:
            file = what.replace("/", "_")
            drawn = on_main(lambda: self._written(rendered, decoding, self._checkpoints, file, advance))
        answers = [answer_of(self.chat, *one) for one in zip(prompts, rendered, drawn, strict=True)]
        self._record(what, drawn, answers)
        return answers

    @cached_property
    def _checkpoints(self) -> Path:
        return self.context.output_dir / CHECKPOINTS

    def _connect(self) -> None:
        """Find out the policy's name at the server, and whether it takes token ids."""
        if "url" not in self._found:
            self._server, self._sends_ids, listed = on_main(self._connected)
            self._found |= {"url": self._server.url, "model": self._server.model, "listed": listed}

    def _connected(self) -> tuple[Completions, bool, bool | None]:
        """Return the server, whether it takes token ids, and whether it lists the policy; None if it lists nothing."""
        generation, seed = self.context.runtime.generation, self.seed
        one_token = DecodingConfig(max_new_tokens=1)
        place = (one_token, seed, generation.concurrency, self._checkpoints)
        server = Completions(self.server.url, self.server.model or "", *place, request=generation.request)
        listed = server.models()
        if not server.model:
            if listed is None or len(listed) != 1:
                named = f"lists {', '.join(listed)}" if listed else "lists no models"
                raise RequestError(
                    f"{server.url} {named}. Name the one that is {self.server.policy}: "
                    f"'generation.servers=[{{policy: {self.server.policy}, url: {server.url}, model: NAME}}]'."
                )
            server = replace(server, model=listed[0])
        return server, server.takes_ids([self.chat.stop_id]), None if listed is None else server.model in listed

    def _written(
        self,
        rendered: Sequence[list[int]],
        decoding: DecodingConfig,
        folder: Path,
        what: str,
        advance: Callable[[int], None] = lambda done: None,
    ) -> list[Generated]:
        """Return the server's answers. Raises `RequestError` if it refuses one, or reads other tokens than ours."""
        server = replace(self._server, decoding=decoding, folder=folder)
        sent = rendered if self._sends_ids else [self._text_of(ids) for ids in rendered]
        written = server.write(sent, what, advance)
        if refused := sum(one.refused for one in written):
            raise RequestError(f"{server.url} refused {refused:,} of {len(written):,} prompts of {self.name}.")
        for ids, one in zip(rendered, written, strict=True):
            if one.read not in (None, len(ids)):
                raise RequestError(
                    f"{server.url} reads {one.read} tokens where a prompt of {self.name} has {len(ids)}: it adds or "
                    f"leaves out tokens, or has another tokenizer. {INSTEAD}."
                )
            if self.chat.stop in one.text or self.chat.stop_id in (one.ids or [])[:-1]:
                raise RequestError(
                    f"{server.url} goes on after {self.chat.stop}, with which {self.name} ends an answer. Tell it to "
                    f"stop there; for vLLM: 'generation.request.stop_token_ids=[{self.chat.stop_id}]'."
                )
        return written

    def _can_be_sent(self, ids: list[int]) -> bool:
        return self._sends_ids or text_read_as(self.chat, ids) is not None

    def _text_of(self, ids: list[int]) -> str:
        text = text_read_as(self.chat, ids)
        if text is None:
            raise RequestError(
                f"{self._server.url} takes no token ids, and the text of a prompt of {self.name} has other tokens: "
                f"{self.chat.text(ids)[:80]!r}. Use a server that takes ids, such as vLLM, or draw here: generation=hf."
            )
        return text

    # the comparison

    def _check(self, prompts: Sequence[Messages], decoding: DecodingConfig) -> None:
        """Compare the server with the policy's weights, once. Raises `RequestError` if they differ."""
        if "weights" in self._found:
            return
        if not self.context.runtime.generation.check:
            self._found |= {"weights": "not compared (generation.check=false)", "draws": "not compared"}
            return
        prompts = list({str(prompt): prompt for prompt in prompts}.values())[:ANSWERS]
        greedy = DecodingConfig(0.0, 1.0, min(LENGTH, decoding.max_new_tokens or LENGTH))
        own = self.local.draw(prompts, greedy, f"most probable answers of {self.server.policy}")
        rendered = [self.chat.prompt(prompt) for prompt in prompts]
        measured = Measured.of(self.local, rendered, own, decoding, self._can_be_sent)
        with tempfile.TemporaryDirectory() as folder:  # a server is asked again when a run resumes
            place = Path(folder)
            theirs = on_main(lambda: self._written(rendered, greedy, place, "greedy"))
            self._compare_weights(measured, theirs, greedy.max_new_tokens or LENGTH)
            if decoding.temperature:
                drawn = on_main(lambda: self._written(*self._places(rendered, measured, decoding), place, "draws"))
                self._compare_draws(measured, drawn)
        self.context.say(self._verdict())

    def _places(
        self, rendered: Sequence[list[int]], measured: Measured, decoding: DecodingConfig
    ) -> tuple[list[list[int]], DecodingConfig]:
        """Return prompts that end where much is open, several times each, and decoding of one token."""
        starts = [
            [*prompt, *answer.ids[:place]]
            for prompt, answer, place in zip(rendered, measured.answers, measured.places, strict=True)
        ]
        times = -(-DRAWS // len(starts))
        return [ids for ids in starts for _ in range(times)], replace(decoding, max_new_tokens=1)

    def _compare_weights(self, measured: Measured, theirs: Sequence[Generated], most: int) -> None:
        found = agreement(measured, theirs, self.chat.text, most)
        if found.parted:
            raise RequestError(
                f"{self._found['url']} does not serve {self.name}: of {len(theirs)} most probable answers, "
                f"{found.parted} differ where the policy leaves no doubt ('{self._found['model']}'). {INSTEAD}, or "
                "compare nothing: generation.check=false."
            )
        settled = "equal" if found.agreed >= MIN_AGREED else "too little to tell"
        self._found["weights"] = {"result": settled, **found._asdict()}

    def _compare_draws(self, measured: Measured, drawn: Sequence[Generated]) -> None:
        names, own = names_of(len(measured.chances[0]), drawn, self.chat)
        found = ranks([shares_of(row, names) for row in measured.chances], own)
        told = found.variance >= MIN_VARIANCE
        if told and abs(found.z) > MAX_Z:
            kind = "more probable" if found.z < 0 else "less probable"
            raise RequestError(
                f"{self._found['url']} draws {kind} tokens than {self.name} would at this temperature and top_p (z = "
                f"{found.z:.1f}): it has sampling settings of its own, such as a top_k. Set them in "
                "generation.request, as conf/generation/vllm.yaml does."
            )
        self._found["draws"] = {"result": "equal" if told else "too little to tell", **found._asdict()}

    def _verdict(self) -> str:
        weights, draws = self._found["weights"], self._found.get("draws", {"result": "not drawn at temperature 0"})
        return (
            f"{self.server.policy} is drawn by {self._found['url']} ('{self._found['model']}'): most probable answers "
            f"{weights['result']} ({weights['agreed']} tokens), draws {draws['result']}"
        )

    def _record(self, what: str, drawn: Sequence[Generated], answers: Sequence[Answer]) -> None:
        """Add this policy to the record of who drew the answers."""
        own_ids = all(one.ids is not None for one in drawn)
        other = None if own_ids else other_tokens(drawn, answers)
        if other:
            self.context.say(
                f"{self._found['url']} returns texts: {other:,} of {len(drawn):,} answers of {self.server.policy} were "
                "drawn as other tokens than the tokenizer makes of them, which their log-probabilities and KL are of"
            )
        own: Mapping[str, Any] = {
            "drawing": what,
            **self._found,
            "by": self.context.runtime.generation.by,
            "prompts_sent_as": "token ids" if self._sends_ids else "texts",
            "prompt_tokens": "equal" if any(one.read is not None for one in drawn) else "not told by the server",
            "answers": len(drawn),
            "answer_ids": "the server's" if own_ids else "read from the texts",
            "answers_with_other_ids": 0 if own_ids else "not told by the server" if other is None else other,
            "seeds": "sent with each request; whether a server keeps to them is its own matter",
        }
        if self.context.is_main:
            file = self.context.output_dir / RECORD
            before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
            kept = [one for one in before if one["drawing"] != what]  # of a run that was stopped and resumed
            write_atomically(file, json.dumps([*kept, own], indent=2, ensure_ascii=False))
