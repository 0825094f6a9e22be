"""Reads a model folder without torch: configuration, names and shapes of weights, and the tokenizer's ids.

Faults that are visible before a model is loaded are found here, during planning, each with a message that names the
model, the fault and the remedy. Loading compares every weight with the configuration again.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import RequestError
from pipeline.model_files.architectures import number_of_layers, policy_fault, reward_fault, text_part
from pipeline.model_files.templates import template_fault

CONFIG, ADAPTER = "config.json", "adapter_config.json"
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
TEMPLATE = "chat_template.jinja"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"),
    "tekken.json",
)
TOKENIZES = (  # all files that determine how a tokenizer encodes texts and renders conversations
    *(*TOKENIZERS, "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.json", "chat_template.jinja"),
)
EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|embeddings|embedding)\.weight$"
)
LAYER = re.compile(r"(^|\.)(layers|h|blocks|block)\.(\d+)\.")
PADDING = 0.05  # most of a vocabulary that may be unused ids, which pad it to a round number


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model, or with the small files of a hub repository."""

    path: Path
    name: str  # name in messages
    whole: bool = True  # whether the weights are here, too

    def refuse(self, why: str) -> RequestError:
        return RequestError(f"{self.name}: {why}")

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The model's configuration. Raises `RequestError` if it is missing or cannot be read."""
        return self.read_json(CONFIG, "no config.json in this folder, so it is not a saved model.")

    def read_json(self, name: str, absent: str) -> Mapping[str, Any]:
        """Read a JSON file. Raises `RequestError` if it holds no mapping, or with `absent` if it is missing."""
        if not (self.path / name).is_file():
            raise self.refuse(absent)
        try:
            said = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.refuse(f"its {name} cannot be read ({error}). Save or download it again.") from None
        if not isinstance(said, Mapping):
            raise self.refuse(f"its {name} holds no mapping. Save or download it again.")
        return said

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every weight, by name.

        Raises `RequestError` if files are missing, truncated or pickled.
        """
        from safetensors import SafetensorError, safe_open

        found: dict[str, tuple[int, ...]] = {}
        for file in self._weight_files():
            try:
                with safe_open(file, framework="np") as weights:
                    found |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
            except (OSError, SafetensorError) as error:
                raise self.refuse(
                    f"{file.name} is damaged or cut off ({error}). Save or download the model again."
                ) from None
        return found

    def _weight_files(self) -> list[Path]:
        if (self.path / INDEX).is_file():
            places = self.read_json(INDEX, "").get("weight_map", {})
            files = [self.path / name for name in sorted(set(places.values()))]
            gone = [file.name for file in files if not file.is_file()]
            if gone:
                raise self.refuse(
                    f"its index names {len(gone)} files of weights that are not there ({gone[0]}, …). Save or download "
                    "the model again, whole."
                )
            return files
        if (self.path / SINGLE).is_file():
            return [self.path / SINGLE]
        if any(file for pattern in PICKLED for file in self.path.glob(pattern)):
            raise self.refuse(pickle_fault(str(self.path)))
        raise self.refuse("no weights in this folder (model.safetensors). Save or download the model again, whole.")

    @property
    def tokenizer_files(self) -> list[Path]:
        """The tokenizer's files. Raises `RequestError` if there is no tokenizer."""
        self._check_tokenizer()
        return [self.path / name for name in TOKENIZES if (self.path / name).is_file()]

    # -- checks for stages -----------------------------------------------------------------------------------------

    def check_policy(self, chat_template: str | None = None) -> None:
        """Raise `RequestError` unless this is a complete causal language model with its tokenizer.

        `chat_template` replaces the tokenizer's template.
        """
        if not (self.path / CONFIG).is_file() and (self.path / ADAPTER).is_file():
            raise self.refuse(
                "an adapter (adapter_config.json), not a whole model. Name the model under it as model.path, and the "
                "adapter where a policy is wanted: sft.inputs.base=FOLDER."
            )
        self._check(policy_fault(self.config))
        template = chat_template or self.chat_template
        fault = template_fault(template, self._special_tokens()) if template else None
        if fault:
            raise self.refuse(
                f"its chat template cannot render a question and its answer ({fault}). Give another: "
                "model.chat_template=FILE."
            )

    def check_reward(self) -> None:
        """Raise `RequestError` unless this is a complete model that outputs one number for a text."""
        self._check(reward_fault(self.config))

    def _check(self, fault: str | None) -> None:
        if fault:
            raise self.refuse(fault)
        self._check_tokenizer()
        if self.whole:
            self._check_weights()
            self._check_vocabulary()

    def _check_weights(self) -> None:
        """Compare layers and embeddings with the configuration, if their names are the usual ones.

        Raises `RequestError` if they do not match.
        """
        rows, said = self.rows, text_part(self.config).get("vocab_size")
        if rows is not None and isinstance(said, int) and rows != said:
            raise self.refuse(
                f"its embeddings have {rows:,} rows, and its config.json has vocab_size={said:,}. Save the model and "
                "its configuration again, together."
            )
        numbers = {int(found[3]) for name in self.shapes if (found := LAYER.search(name))}
        layers = number_of_layers(self.config)
        gone = [str(number) for number in range(layers or 0) if number not in numbers]
        if numbers and gone:
            raise self.refuse(
                f"its config.json has {layers} layers, and weights of layer {', '.join(gone[:3])} are missing: they "
                "would be random. Save or download the model again, whole."
            )

    @property
    def rows(self) -> int | None:
        """The number of rows of the embeddings; None if no weight has a usual name."""
        tables = [shape[0] for name, shape in self.shapes.items() if EMBEDDING.search(name) and len(shape) == 2]
        return max(tables, default=None)

    def _check_tokenizer(self) -> None:
        if not any((self.path / name).is_file() for name in TOKENIZERS):
            raise self.refuse(
                "no tokenizer in this folder (tokenizer.json, tokenizer.model or vocab.json). Save the model's own "
                f"into it: AutoTokenizer.from_pretrained(…).save_pretrained('{self.path}')"
            )
        if self._tokenizer_config.get("auto_map") and not (self.path / "tokenizer.json").is_file():
            raise self.refuse("its tokenizer is code of its own (trust_remote_code), which is never run here.")

    def _check_vocabulary(self) -> None:
        """Compare the tokenizer's ids with the rows of the embeddings, if both can be read here.

        Raises `RequestError` if they do not match.
        """
        rows, words = self.rows, self.vocabulary
        if rows is None or not words:
            return
        beyond = {token for token, number in words.items() if number >= rows}
        beyond -= self._unused() if beyond else set()
        if beyond:
            raise self.refuse(
                f"its tokenizer has {len(words):,} tokens, and its embeddings have {rows:,} rows only: "
                f"{min(beyond)!r} has none. Bring the model's own tokenizer, or resize the model's embeddings."
            )
        if rows - len(words) > PADDING * rows:
            raise self.refuse(vocabulary_fault(rows, len(words)))

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its id, from tokenizer.json; empty without this file."""
        if not (self.path / "tokenizer.json").is_file():
            return {}
        said = self.read_json("tokenizer.json", "")
        words = said.get("model", {}).get("vocab") or {}
        if not isinstance(words, Mapping):  # Unigram: a list of pieces with their scores
            words = {str(piece[0]): number for number, piece in enumerate(words)}
        return {**words, **{one["content"]: one["id"] for one in said.get("added_tokens") or []}}

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's template; None if it has none, or several named ones (loading chooses among these)."""
        if (self.path / TEMPLATE).is_file():
            return (self.path / TEMPLATE).read_text(encoding="utf-8")
        own = self._tokenizer_config.get("chat_template")
        return own if isinstance(own, str) else None

    def _special_tokens(self) -> dict[str, str]:
        """Return the special tokens that a template may use, as text. Some are saved as objects with a `content`."""
        named = {name: said for name, said in self._tokenizer_config.items() if name.endswith("_token")}
        texts = {name: said.get("content") if isinstance(said, Mapping) else said for name, said in named.items()}
        return {name: text for name, text in texts.items() if isinstance(text, str)}

    @property
    def _tokenizer_config(self) -> Mapping[str, Any]:
        file = "tokenizer_config.json"
        return self.read_json(file, "") if (self.path / file).is_file() else {}

    def _unused(self) -> set[str]:
        """Return special tokens that no file of the model uses, so no text leads to them (Gemma 3's image tokens)."""
        added = self.read_json("tokenizer.json", "").get("added_tokens") or []
        named = "".join(
            (self.path / name).read_text(encoding="utf-8")
            for name in (TEMPLATE, "special_tokens_map.json")
            if (self.path / name).is_file()
        )
        said = self._tokenizer_config
        named += json.dumps([value for key, value in said.items() if key != "added_tokens_decoder"], ensure_ascii=False)
        return {one["content"] for one in added if one.get("special") and one["content"] not in named}


def pickle_fault(path: str) -> str:
    """Return why pickled weights are not loaded, and how to convert them."""
    here = f"{Path(path).name}-safetensors"
    return (
        "its weights are pickled (.bin, .pt), and pickles from outside are not loaded. Convert it once: python -c "
        '"from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
        f"M.from_pretrained('{path}', dtype='auto').save_pretrained('{here}'); "
        f"T.from_pretrained('{path}').save_pretrained('{here}')\""
    )


def vocabulary_fault(rows: int, words: int) -> str:
    """Return why a model and a tokenizer do not match: the model has more unused ids than padding explains."""
    return (
        f"its vocabulary has {rows:,} ids, but its tokenizer knows {words:,} tokens only, so the two do not belong "
        "together. Bring the model's own tokenizer."
    )
