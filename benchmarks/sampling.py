"""How fast answers are drawn beside transformers' `generate`: the same model, prompts and distribution, in turn.

    python benchmarks/sampling.py [--shapes 1m 25m] [--rows 128] [--repeats 5] [--to FILE]

A Llama of random weights on the CPU in float32, one thread. Prompts have uneven lengths. Answers end by themselves,
after half of their limit on average (a bias on the stop token), or run to the limit. Speed is tokens of the answers per
CPU second, which other work on the machine changes little; given are the medians, and the median and quartiles of the
ratio to `generate` over the repeats.

- generate: batches of 32 prompts in the order of the file, as transformers' documentation shows it.
- sorted: `generate` on the batches that ours has.
- ours: what `sample` and `evaluate` call.
"""

import argparse
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.box import MARKDOWN
from rich.table import Table
from transformers import GenerationConfig

sys.path.insert(0, str(Path(__file__).parent / "gpu"))
from overhead import SHAPES, Shape, model_of, rendered, spread
from random_models import EOS, PAD, tokenizer_of

from pipeline.batches import batches_by_length
from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import DecodingConfig
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.generation import draw
from pipeline.modeling.passes import pad_rows

BATCH = 32
BUDGET = LaunchConfig().batch_tokens
Way = Callable[[Any, ChatFormat, Sequence[list[int]], int, int], int]  # returns the number of tokens in the answers


def prompts_of(shape: Shape, count: int) -> list[list[int]]:
    """Most prompts are short, a few are long."""
    rng = random.Random(0)
    lengths = [min(shape.longest, 4 + int(rng.expovariate(3 / shape.longest))) for _ in range(count)]
    return [[rng.randrange(3, shape.vocabulary) for _ in range(length)] for length in lengths]


def stopping(model: Any, mean: float) -> Any:
    """Give a model's head a bias with which an answer ends after `mean` tokens on average."""
    head = model.get_output_embeddings()
    model.lm_head = torch.nn.Linear(head.in_features, head.out_features)
    with torch.no_grad():
        model.lm_head.weight.copy_(head.weight).mul_(0.02)  # nearly uniform but for the bias
        model.lm_head.bias.zero_()[EOS] = math.log(head.out_features / mean) if mean else -1e9
    return model.eval()


def ours(model: Any, chat: ChatFormat, prompts: Sequence[list[int]], new: int, seed: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        decoding = DecodingConfig(1.0, 1.0, new)
        partial = Path(folder) / "rows"
        drawn = draw(model, chat, prompts, decoding, seed, batch_tokens=BUDGET, own_cache=True, partial=partial)
    return sum(len(answer.ids) for answer in drawn)


def in_order(model: Any, chat: ChatFormat, prompts: Sequence[list[int]], new: int, seed: int) -> int:
    return generated(model, [prompts[i : i + BATCH] for i in range(0, len(prompts), BATCH)], new, seed)


def sorted_batches(model: Any, chat: ChatFormat, prompts: Sequence[list[int]], new: int, seed: int) -> int:
    places = batches_by_length([len(prompt) + new for prompt in prompts], len(prompts), tokens=BUDGET)
    return generated(model, [[prompts[i] for i in batch] for batch in places], new, seed)


def generated(model: Any, batches: Sequence[Sequence[list[int]]], new: int, seed: int) -> int:
    torch.manual_seed(seed)
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=new, pad_token_id=PAD, eos_token_id=EOS)
    count = 0
    for batch in batches:
        ids, attention = pad_rows(batch, PAD, left=True)
        output = model.generate(input_ids=ids, attention_mask=attention, generation_config=config)
        answers = output[:, ids.shape[1] :].tolist()
        count += sum(answer.index(EOS) + 1 if EOS in answer else len(answer) for answer in answers)
    return count


WAYS: dict[str, Way] = {"generate": in_order, "sorted": sorted_batches, "ours": ours}


def speeds(shape: Shape, rows: int, repeats: int, *, stop: bool) -> dict[str, list[float]]:
    """Return tokens per CPU second of each way, one value per repeat; the first round only warms up."""
    new = shape.longest
    model = stopping(model_of("sft", shape), new / 2 if stop else 0)
    chat, prompts = ChatFormat(tokenizer_of(shape.vocabulary)), prompts_of(shape, rows)
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(-1, repeats):
        for name, way in WAYS.items():
            began = time.process_time()
            count = way(model, chat, prompts if number >= 0 else prompts[:4], new, number)
            if number >= 0:
                found[name].append(count / (time.process_time() - began))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=["1m", "25m"], choices=SHAPES)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--to", type=Path, help="where the table goes")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(*("shape", "answers", "way", "tokens / CPU s", "to generate"), box=MARKDOWN)
    for name in given.shapes:
        for stop in (True, False):
            found = speeds(SHAPES[name], given.rows, given.repeats, stop=stop)
            for way, values in found.items():
                ratios = [a / b for a, b in zip(values, found["generate"], strict=True)]
                ends = f"{'half of' if stop else 'all of'} {SHAPES[name].longest}"
                ratio = "" if way == "generate" else spread(ratios)
                table.add_row(name, ends, way, f"{statistics.median(values):,.0f}", ratio)
            print(rendered(table), flush=True)
            if given.to:
                given.to.write_text(rendered(table), encoding="utf-8")


if __name__ == "__main__":
    main()
