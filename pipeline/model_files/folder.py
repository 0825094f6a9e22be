"""What a model folder says, read without torch: its configuration, its weights' names and shapes, its tokenizer's ids.

All that can be known to be wrong with a model before it is loaded is refused here, when the plan is made: with one
message that names the model, the fault and the remedy. Weights are compared with the configuration once more, weight by
weight, when they are loaded.
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
TOKENIZES = (  # all files that say how a model's tokenizer reads a text, and how it renders a conversation
    *(*TOKENIZERS, "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.json", "chat_template.jinja"),
)
EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|embeddings|embedding)\.weight$"
)
LAYER = re.compile(r"(^|\.)(layers|h|blocks|block)\.(\d+)\.")
PADDING = 0.05  # share of a vocabulary that may stand for no token: what fills it up to a round number


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model in it; of a hub repository, that with its small files."""

    path: Path
    name: str  # as messages call it
    whole: bool = True  # weights are here, not only configuration and tokenizer

    def refuse(self, why: str) -> RequestError:
        return RequestError(f"{self.name}: {why}")

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The model's configuration. Raises `RequestError` where there is none that can be read."""
        return self.read_json(CONFIG, "no config.json in this folder, so it is not a saved model.")

    def read_json(self, name: str, absent: str) -> Mapping[str, Any]:
        """One of its files. Raises `RequestError` where it holds no mapping, or with `absent` where it is not there."""
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
        """The shape of every weight by its name.

        Raises `RequestError` where files are missing, cut off, or pickled.
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
            raise self.refuse(pickled(str(self.path)))
        raise self.refuse("no weights in this folder (model.safetensors). Save or download the model again, whole.")

    @property
    def tokenizer_files(self) -> list[Path]:
        """What its tokenizer is made of. Raises `RequestError` where there is none."""
        self._check_tokenizer()
        return [self.path / name for name in TOKENIZES if (self.path / name).is_file()]

    # -- what a stage asks -----------------------------------------------------------------------------------------

    def check_policy(self, chat_template: str | None = None) -> None:
        """Raise `RequestError` unless this is a whole causal language model with its own tokenizer.

        `chat_template` is the one to use instead of the tokenizer's own.
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
        """Raise `RequestError` unless this is a whole model that says one number about a text."""
        self._check(reward_fault(self.config))

    def _check(self, fault: str | None) -> None:
        if fault:
            raise self.refuse(fault)
        self._check_tokenizer()
        if self.whole:
            self._check_weights()
            self._check_vocabulary()

    def _check_weights(self) -> None:
        """Layers and embeddings against the configuration, as far as their names are usual."""
        rows, said = self.rows, text_part(self.config).get("vocab_size")
        if rows is not None and isinstance(said, int) and rows != said:
            raise self.refuse(
                f"its embeddings have {rows:,} rows, and its config.json says vocab_size={said:,}. Save the model and "
                "its configuration again, together."
            )
        numbers = {int(found[3]) for name in self.shapes if (found := LAYER.search(name))}
        layers = number_of_layers(self.config)
        gone = [str(number) for number in range(layers or 0) if number not in numbers]
        if numbers and gone:
            raise self.refuse(
                f"its config.json says {layers} layers, and weights of layer {', '.join(gone[:3])} are missing: they "
                "would be random. Save or download the model again, whole."
            )

    @property
    def rows(self) -> int | None:
        """How many ids the embeddings have; None where no weight has a usual name."""
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
        """The tokenizer's ids against the embeddings' rows; both as far as they can be read here."""
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
            raise self.refuse(mismatch(rows, len(words)))

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token with its id, as tokenizer.json says; empty where there is none."""
        if not (self.path / "tokenizer.json").is_file():
            return {}
        said = self.read_json("tokenizer.json", "")
        words = said.get("model", {}).get("vocab") or {}
        if not isinstance(words, Mapping):  # Unigram: a list of pieces with their scores
            words = {str(piece[0]): number for number, piece in enumerate(words)}
        return {**words, **{one["content"]: one["id"] for one in said.get("added_tokens") or []}}

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's own template; None where it has none, or several by names (told apart when it is loaded)."""
        if (self.path / TEMPLATE).is_file():
            return (self.path / TEMPLATE).read_text(encoding="utf-8")
        own = self._tokenizer_config.get("chat_template")
        return own if isinstance(own, str) else None

    def _special_tokens(self) -> dict[str, str]:
        """The tokens that a template may name, as text; some are saved as objects with their text in `content`."""
        named = {name: said for name, said in self._tokenizer_config.items() if name.endswith("_token")}
        texts = {name: said.get("content") if isinstance(said, Mapping) else said for name, said in named.items()}
        return {name: text for name, text in texts.items() if isinstance(text, str)}

    @property
    def _tokenizer_config(self) -> Mapping[str, Any]:
        file = "tokenizer_config.json"
        return self.read_json(file, "") if (self.path / file).is_file() else {}

    def _unused(self) -> set[str]:
        """Special tokens that no text and no template of the model can lead to (Gemma 3's for images)."""
        added = self.read_json("tokenizer.json", "").get("added_tokens") or []
        named = "".join(
            (self.path / name).read_text(encoding="utf-8")
            for name in (TEMPLATE, "special_tokens_map.json")
            if (self.path / name).is_file()
        )
        said = self._tokenizer_config
        named += json.dumps([value for key, value in said.items() if key != "added_tokens_decoder"], ensure_ascii=False)
        return {one["content"] for one in added if one.get("special") and one["content"] not in named}


def pickled(path: str) -> str:
    """Why weights that are pickled are not loaded, and how to convert them."""
    here = f"{Path(path).name}-safetensors"
    return (
        "its weights are pickled (.bin, .pt), and pickles from outside are not loaded. Convert it once: python -c "
        '"from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
        f"M.from_pretrained('{path}', dtype='auto').save_pretrained('{here}'); "
        f"T.from_pretrained('{path}').save_pretrained('{here}')\""
    )


def mismatch(rows: int, words: int) -> str:
    """Why a model and a tokenizer do not belong together: more ids than padding explains."""
    return (
        f"its vocabulary has {rows:,} ids, but its tokenizer knows {words:,} tokens only, so the two do not belong "
        "together. Bring the model's own tokenizer."
    )
