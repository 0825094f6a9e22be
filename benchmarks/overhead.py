"""What training costs beside the bare TRL trainer, and what packing saves: the same rows and settings, in turn.

    python benchmarks/overhead.py [--shapes 1m 25m] [--stages sft dpo reward] [--repeats 5] [--steps 8] [--to FILE]

A Llama of random weights trains whole in float32 on the CPU, on random rows of uneven length; weights and text do not
matter to speed. Each run is a process of its own: time is its CPU time, which other work on the machine changes little,
and memory the peak of its resident set less what was there before. Both sides load the same weights, and time counts
from the loaded model to the end of training (for DPO with the reference's log-probabilities). Given are the median and
the quartiles of the ratio to TRL over the repeats; "packed" is SFT with sft.packing=true.
"""

import argparse
import contextlib
import io
import multiprocessing
import random
import resource
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig
from trl import DPOConfig, DPOTrainer, RewardTrainer, SFTConfig, SFTTrainer
from trl import RewardConfig as TrlRewardConfig

sys.path.insert(0, str(Path(__file__).parent / "gpu"))
from random_models import BOS, EOS, PAD, tokenizer_of

from pipeline.config.nodes.learning import DpoConfig, RewardConfig
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import SftConfig
from pipeline.modeling import tuning
from pipeline.modeling.architecture import measure_footprint
from pipeline.modeling.chat.rendering import ChatFormat, Rendered
from pipeline.modeling.in_training import ModelInTraining
from pipeline.modeling.memory import peak_memory_mb, reset_peak_memory
from pipeline.modeling.passes import IGNORED_LABEL
from pipeline.modeling.preferences.pairs import RenderedPair
from pipeline.modeling.rewards.training import Pair, reward_trainer
from pipeline.modeling.scoring import AnsweredPrompt
from pipeline.modeling.sources import PolicySource
from pipeline.progress import progress
from pipeline.stage import Runtime, StageContext

warnings.simplefilter("ignore", FutureWarning)  # the libraries about each other
CPU = torch.device("cpu")
RATE = 1e-5
WITHOUT_FILES = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False, "warmup_steps": 0}


class Shape(NamedTuple):
    """A model's shape and its rows."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    longest: int  # tokens of a prompt, and of an answer
    batch: int  # rows per step; for dpo and reward, pairs


SHAPES = {
    "1m": Shape(1024, 192, 512, 2, 6, 40, 16),  # the embedded base and its rows
    "25m": Shape(49_152, 384, 1024, 4, 6, 128, 8),
    "135m": Shape(49_152, 576, 1536, 30, 9, 256, 2),  # SmolLM2-135M's
}


class Cost(NamedTuple):
    """CPU seconds, and MiB of memory above the start's."""

    seconds: float
    memory: float


def uneven(shape: Shape, count: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompts with two answers each: most are short and a few long, and one of a step is the longest."""
    rng = random.Random(0)

    def ids(number: int) -> list[int]:
        whole = number % shape.batch == 0
        length = shape.longest if whole else min(shape.longest, 4 + int(rng.expovariate(3 / shape.longest)))
        return [rng.randrange(3, shape.vocabulary) for _ in range(length)]

    return [(ids(n), [*ids(n)[1:], EOS], [*ids(n)[1:], EOS]) for n in range(count)]


def model_of(stage: str, shape: Shape) -> Any:
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.heads,
        tie_word_embeddings=True, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, num_labels=1,
    )  # fmt: skip
    torch.manual_seed(0)
    return (AutoModelForSequenceClassification if stage == "reward" else AutoModelForCausalLM).from_config(config)


def ours(stage: str, shape: Shape, steps: int, folder: Path, *, packing: bool = False) -> None:
    model, tokenizer = model_of(stage, shape), tokenizer_of(shape.vocabulary)
    source = PolicySource("random", "random")
    in_training = ModelInTraining(model, tokenizer, ChatFormat(tokenizer), source, CPU, measure_footprint(model))
    context = StageContext(
        {}, folder, Runtime(LaunchConfig(device="cpu"), 1), progress, lambda _: None, lambda *_: None
    )
    rows = uneven(shape, steps * shape.batch)
    given: dict[str, Any] = {
        **{"seed": 0, "batch_size": shape.batch, "learning_rate": RATE, "epochs": 1.0, "schedule": "linear"},
        "trainer": WITHOUT_FILES,
    }
    if stage == "sft":
        whole = [Rendered(prompt + answer, [0] * len(prompt) + [1] * len(answer)) for prompt, answer, _ in rows]
        trainer: Any = tuning.sft_trainer(in_training, whole, whole[:1], SftConfig(**given, packing=packing), context)
    else:
        pairs = [RenderedPair(AnsweredPrompt(p, a), AnsweredPrompt(p, b)) for p, a, b in rows]
        if stage == "dpo":
            trainer = tuning.dpo_trainer(in_training, pairs, pairs[:1], DpoConfig(**given), context)
        else:
            some = [Pair(pair.chosen, pair.rejected, 1.0, number) for number, pair in enumerate(pairs)]
            trainer = reward_trainer(in_training, some, some[:1], RewardConfig(**given), context)
    trainer.train()


def packed(stage: str, shape: Shape, steps: int, folder: Path) -> None:
    ours(stage, shape, steps, folder, packing=True)


class TokenizedDpo(DPOTrainer):  # type: ignore[misc]
    """TRL's trainer on rows of token ids, as its other two take them."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def bare(stage: str, shape: Shape, steps: int, folder: Path) -> None:
    """TRL's own trainer as its documentation shows it, in float32 without recomputed activations."""
    options = {
        "output_dir": str(folder), "per_device_train_batch_size": shape.batch, "max_steps": steps, "bf16": False,
        "save_strategy": "no", "report_to": [], "disable_tqdm": True, "learning_rate": RATE, "max_length": None,
        "gradient_checkpointing": False, "use_cpu": True, "dataloader_pin_memory": False, "weight_decay": 0.0,
        "logging_steps": 1,
    }  # fmt: skip
    tokenizer, rows = tokenizer_of(shape.vocabulary), uneven(shape, steps * shape.batch)
    given = {"model": model_of(stage, shape), "processing_class": tokenizer}
    if stage == "sft":
        labels = [[IGNORED_LABEL] * len(prompt) + answer for prompt, answer, _ in rows]
        data = Dataset.from_dict({"input_ids": [p + a for p, a, _ in rows], "labels": labels})
        args: Any = SFTConfig(**options, dataset_kwargs={"skip_prepare_dataset": True})
        trainer: Any = SFTTrainer(args=args, train_dataset=data, **given)
    elif stage == "dpo":
        columns = dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), zip(*rows, strict=True), strict=True))
        reference = model_of(stage, shape).requires_grad_(False)
        data = Dataset.from_dict(columns)
        trainer = TokenizedDpo(ref_model=reference, args=DPOConfig(**options), train_dataset=data, **given)
    else:
        data = Dataset.from_dict(
            {"chosen_ids": [p + a for p, a, _ in rows], "rejected_ids": [p + b for p, _, b in rows]}
        )
        trainer = RewardTrainer(args=TrlRewardConfig(**options), train_dataset=data, **given)
    trainer.train()


def cost_of(run: Callable[..., None], *given: Any) -> Cost:
    """Return what a run costs in a process of its own."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(send, run, *given))
    process.start()
    send.close()
    cost: Cost = receive.recv()
    process.join()
    return cost


def _measure(send: Any, run: Callable[..., None], *given: Any) -> None:
    torch.set_num_threads(1)
    reset_peak_memory()
    before, began = peak_memory_mb(CPU), _cpu_seconds()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run(*given, Path(folder))
    send.send(Cost(_cpu_seconds() - began, peak_memory_mb(CPU) - before))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=["1m", "25m"], choices=SHAPES)
    parser.add_argument("--stages", nargs="*", default=["sft", "dpo", "reward"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--to", type=Path, help="where the table goes")
    given = parser.parse_args()
    table = Table(*("stage", "shape", "rows", "whose", "CPU s", "time / TRL's", "MiB", "memory / TRL's"), box=MARKDOWN)
    for name in given.shapes:
        for stage in given.stages:
            ways = {"TRL": bare, "ours": ours, **({"packed": packed} if stage == "sft" else {})}
            costs: dict[str, list[Cost]] = {way: [] for way in ways}
            for number in range(-1, given.repeats):  # the first round warms up files and allocator
                for way, run in ways.items():
                    cost = cost_of(run, stage, SHAPES[name], given.steps)
                    costs[way] += [cost] if number >= 0 else []
            for way, found in costs.items():
                times = [a.seconds / b.seconds for a, b in zip(found, costs["TRL"], strict=True)]
                memory = [a.memory / b.memory for a, b in zip(found, costs["TRL"], strict=True)]
                size = f"{SHAPES[name].batch} × {2 * SHAPES[name].longest}"
                seconds, peak = (statistics.median(values) for values in zip(*found, strict=True))
                ratios = ("", "") if way == "TRL" else (spread(times), spread(memory))
                table.add_row(stage, name, size, way, f"{seconds:.1f}", ratios[0], f"{peak:,.0f}", ratios[1])
            text = rendered(table)
            print(text, flush=True)
            if given.to:
                given.to.write_text(text, encoding="utf-8")


def rendered(table: Table) -> str:
    text = io.StringIO()
    Console(width=120, file=text).print(table)
    return text.getvalue()


if __name__ == "__main__":
    main()
