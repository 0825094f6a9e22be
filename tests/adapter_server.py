"""A real server of a base model and its adapters, by vLLM's protocol: it draws rightly, or with one fault.

It is written on transformers and peft alone, and draws with a loop of its own, so that nothing of ours draws twice.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.completions import Reply, Server
from tests.lazily import lazily

with lazily():
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM


@dataclass(frozen=True)
class Ways:
    """How a server differs from one that draws from the named adapter as it is asked to."""

    loads: int | None = None  # adapters that it really loads; further ones get the name, and the last weights
    adapters: bool = True  # False: it has no addresses for them
    uses_adapter: bool = True  # False: the base model draws, under every name
    scale: float = 1.0  # of the adapter's effect
    shift: int = 0  # added to each token id
    most: int | None = None  # tokens of an answer, however many are asked for
    temperature: float = 1.0  # times the requested one
    top_k: int | None = None
    reports_before_temperature: bool = False  # log-probabilities of the distribution before temperature and top_k
    takes_ids: bool = True
    returns_ids: bool = True
    returns_logprobs: bool = True
    goes_on: bool = False  # after the token that ends an answer
    numbers: Mapping[int, Sequence[float]] | None = (
        None  # by a request's seed: places in the distributions of its tokens
    )
    noise: float = 0.0  # standard deviation of each logit, as of another precision; the same for the same state
    half: bool = False  # it computes in bfloat16
    loses_answers: bool = False  # it is away when it has loaded an adapter
    answers: int | None = None  # before it is away; None: it stays


class AdapterServer(Server):
    """One request at a time, with a random generator of each request's seed."""

    def __init__(self, base: Path, **ways: Any) -> None:
        self.base, self.ways = base, Ways(**ways)
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        self.names: dict[str, Any] = {}  # name at the server -> the model that draws for it
        self.loaded: list[Any] = []  # models of all adapters so far
        super().__init__(lambda question, before: (500, {}))

    def listed(self) -> Reply:
        return 200, {"object": "list", "data": [{"id": name} for name in (str(self.base), *self.names)]}

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        with self.lock:
            if "lora_name" in body:
                return self._change(body)
            self.seen.append((body, headers))
            if self.ways.answers is not None and len(self.seen) > self.ways.answers:
                return 503, {}
            return self._complete(body)

    def change(self, **ways: Any) -> None:
        self.ways = replace(self.ways, **ways)

    def _change(self, body: dict[str, Any]) -> Reply:
        name = body["lora_name"]
        if not self.ways.adapters:
            return 404, {"detail": "Not Found"}
        if "lora_path" not in body:
            self.names.pop(name)
            return 200, f"Success: LoRA adapter '{name}' removed successfully.".encode()
        if not (Path(body["lora_path"]) / "adapter_config.json").is_file():
            return 404, {"error": {"message": f"Loading lora {name} failed: No adapter found for {body['lora_path']}"}}
        if name in self.names:
            return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
        self.names[name] = self._loaded(body["lora_path"])
        if self.ways.loses_answers:
            return 503, {}
        return 200, f"Success: LoRA adapter '{name}' added successfully.".encode()

    def _loaded(self, path: str) -> Any:
        """Return the base model with the adapter in a folder merged into it."""
        ways = self.ways
        if ways.loads is not None and len(self.loaded) >= ways.loads:
            return self.loaded[-1]
        if ways.uses_adapter:
            model = PeftModel.from_pretrained(copy.deepcopy(self.model), path)
            for layer in model.modules():
                if isinstance(layer, LoraLayer):
                    layer.scaling["default"] *= ways.scale
            self.loaded.append(model.merge_and_unload().eval().to(torch.bfloat16 if ways.half else torch.float32))
        else:
            self.loaded.append(self.model)
        return self.loaded[-1]

    @torch.no_grad()
    def _complete(self, body: dict[str, Any]) -> Reply:
        prompt, ways = body["prompt"], self.ways
        if not isinstance(prompt, list) or not ways.takes_ids:
            return 400, {"error": {"message": "prompt must be a string."}}
        if body["model"] not in self.names:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        ids, logprobs = self._drawn(self.names[body["model"]], body)
        stopped = ids[-1] in body["stop_token_ids"]
        usage = {"prompt_tokens": len(prompt), "total_tokens": len(prompt) + len(ids)}
        choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": "stop" if stopped else "length"}
        if ways.returns_ids and body.get("return_token_ids"):
            choice["token_ids"] = [token + ways.shift for token in ids]
        if ways.returns_logprobs and body.get("logprobs") is not None:
            choice["logprobs"] = {"token_logprobs": logprobs}
        return 200, {"choices": [choice], "usage": usage}

    def _drawn(self, model: Any, body: dict[str, Any]) -> tuple[list[int], list[float]]:
        """Return tokens and their log-probabilities, drawn one by one."""
        generator = torch.Generator().manual_seed(body["seed"])
        most = min(body["max_tokens"], self.ways.most or body["max_tokens"])
        tokens, cache, ids, logprobs = torch.tensor([body["prompt"]]), None, [], []
        while len(ids) < most and (self.ways.goes_on or not {*ids[-1:]} & {*body["stop_token_ids"]}):
            output = model(input_ids=tokens, past_key_values=cache, use_cache=True)
            cache, logits = output.past_key_values, output.logits[0, -1].float()
            logits = logits + self.ways.noise * torch.randn(logits.shape, generator=generator)
            drawn_from = self._distribution(logits, body)
            if self.ways.numbers is None:
                tokens = torch.multinomial(drawn_from.exp(), 1, generator=generator)[None]
            else:
                below = drawn_from.double().exp().cumsum(0)
                tokens = (below <= self.ways.numbers[body["seed"]][len(ids)] * below[-1]).sum()[None, None]
            told = logits.log_softmax(-1) if self.ways.reports_before_temperature else drawn_from
            ids.append(int(tokens))
            logprobs.append(float(told[tokens[0, 0]]))
        return ids, logprobs

    def _distribution(self, logits: torch.Tensor, body: dict[str, Any]) -> torch.Tensor:
        logits = logits / (body["temperature"] * self.ways.temperature)
        if self.ways.top_k is not None:
            logits = logits.masked_fill(logits < logits.topk(self.ways.top_k).values[-1], -math.inf)
        return logits.log_softmax(-1)
