"""What PPO's savings save: each against the straightforward way, side by side in one run.

    python benchmarks/ppo.py [--repeats 7] [--width 192] [--layers 2] [--vocabulary 1024] [--threads 1] [--device auto]

A Llama of random weights answers, is scored and learns; lengths of prompts and answers vary as people's do. Each pair
of ways does the same work on the same rows, in turn; given are the median and the spread (quartiles) of the ratio of
their times, and on a GPU of their peak memory. Weights and text matter to neither, so nothing is downloaded.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from pipeline.modeling.heads import LanguageHead
from pipeline.modeling.passes import answer_states, batch_of, pass_cost, token_logprobs
from pipeline.modeling.sampling import sample
from pipeline.ppo.rollouts import batches

PAD, STOP = 0, 2


class Rows(NamedTuple):
    """Prompts and answers of uneven length, as token ids."""

    prompts: list[list[int]]
    answers: list[list[int]]


def uneven(count: int, longest: int, words: int, rng: random.Random) -> Rows:
    """Most rows are short and a few are long, as with people's questions and models' answers."""

    def lengths() -> list[int]:
        return [min(longest, 4 + int(rng.expovariate(4 / longest))) for _ in range(count)]

    def ids(length: int) -> list[int]:
        return [rng.randrange(3, words) for _ in range(length)]

    return Rows([ids(n) for n in lengths()], [[*ids(n - 1), STOP] for n in lengths()])


class Timed(NamedTuple):
    seconds: float
    peak: float  # MiB, on a GPU


def timed(run: Callable[[], Any], device: torch.device) -> Timed:
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
        return Timed(time.perf_counter() - began, torch.cuda.max_memory_allocated() / 2**20)
    return Timed(time.perf_counter() - began, 0.0)


class Bench:
    """The two ways of each part of an iteration."""

    def __init__(self, given: argparse.Namespace) -> None:
        name = given.device if given.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self.device, self.given = torch.device(name), given
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=given.vocabulary,
            hidden_size=given.width,
            intermediate_size=given.width * 8 // 3,
            num_hidden_layers=given.layers,
            num_attention_heads=max(1, given.width // 32),
            max_position_embeddings=4 * given.longest,
        )
        self.model = LlamaForCausalLM(config).to(self.device).eval()
        self.head = LanguageHead(self.model)
        self.rows = uneven(given.rows, given.longest, given.vocabulary, random.Random(0))

    # -- sampling ----------------------------------------------------------------------------------------------------

    def sampled(self, drop_finished: bool) -> None:
        """Answers end at random, by a stop token made likely enough to give lengths like the rows'."""
        sample(
            self.model.model,
            self._eager_to_stop(),
            self.rows.prompts,
            valid_ids=torch.ones(self.given.vocabulary, dtype=torch.bool),
            pad_id=PAD,
            stop_id=STOP,
            max_new_tokens=self.given.longest,
            temperature=1.0,
            seed=0,
            batch_size=self.given.rows,
            drop_finished=drop_finished,
        )

    def generated(self) -> None:
        """transformers' own generation, with the same odds of stopping."""
        width = max(map(len, self.rows.prompts))
        ids = torch.tensor([[PAD] * (width - len(p)) + p for p in self.rows.prompts], device=self.device)
        config = GenerationConfig(
            do_sample=True, top_k=0, max_new_tokens=self.given.longest, pad_token_id=PAD, eos_token_id=STOP
        )
        odds = self._odds()

        def eager(_: Any, logits: torch.Tensor) -> torch.Tensor:
            return logits.index_fill(1, torch.tensor([STOP], device=self.device), odds)

        with torch.no_grad():
            self.model.generate(
                input_ids=ids, attention_mask=(ids != PAD).long(), generation_config=config, logits_processor=[eager]
            )

    def _odds(self) -> float:
        mean = sum(map(len, self.rows.answers)) / len(self.rows.answers)
        return float(torch.tensor(self.given.vocabulary / mean).log())

    def _eager_to_stop(self) -> Any:
        odds, head, device = self._odds(), self.head, self.device

        class Eager(LanguageHead):
            def __call__(self, states: torch.Tensor) -> torch.Tensor:
                return head(states).index_fill(-1, torch.tensor([STOP], device=device), odds)

        return Eager(head.causal)

    # -- scoring and learning ----------------------------------------------------------------------------------------

    def passed(self, parts: Sequence[Sequence[int]], *, whole: bool, learn: bool) -> None:
        """Log-probabilities of all answers, batch by batch, and gradients if learned from."""
        with torch.set_grad_enabled(learn):
            for rows in parts:
                prompts, answers = ([side[i] for i in rows] for side in self.rows)
                batch = batch_of(prompts, answers, PAD, self.device)
                if whole:
                    output = self.model(input_ids=batch.ids, attention_mask=batch.attention)
                    logs = output.logits[:, :-1].float().log_softmax(-1)
                    values = logs.gather(2, batch.ids[:, 1:, None])[..., 0][batch.before[:, :-1]]
                else:
                    values = token_logprobs(answer_states(self.model.model, batch), batch.tokens, self.head).logprobs
                if learn:
                    torch.autograd.backward(values.mean())
        self.model.zero_grad()

    def sorted_parts(self) -> list[list[int]]:
        lengths = [len(p) + len(a) for p, a in zip(*self.rows, strict=True)]
        size = self.given.batch_size
        return [
            rows
            for batch in batches(len(lengths), len(lengths), lengths, size, "0", pass_cost=pass_cost(self.model))
            for rows in batch
        ]

    def shuffled_parts(self) -> list[list[int]]:
        order = list(range(len(self.rows.prompts)))
        random.Random(0).shuffle(order)
        return [order[i : i + self.given.batch_size] for i in range(0, len(order), self.given.batch_size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        *(("repeats", 7), ("width", 192), ("layers", 2), ("vocabulary", 1024), ("rows", 64), ("longest", 64)),
        *(("batch-size", 16), ("threads", 1)),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    in_order, shuffled = bench.sorted_parts(), bench.shuffled_parts()
    ways: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "sampling: finished rows leave / transformers' generate": (lambda: bench.sampled(True), bench.generated),
        "sampling: finished rows leave / stay": (lambda: bench.sampled(True), lambda: bench.sampled(False)),
        "scoring: answer positions, by length / whole logits, shuffled": (
            lambda: bench.passed(in_order, whole=False, learn=False),
            lambda: bench.passed(shuffled, whole=True, learn=False),
        ),
        "learning: answer positions, by length / whole logits, shuffled": (
            lambda: bench.passed(in_order, whole=False, learn=True),
            lambda: bench.passed(shuffled, whole=True, learn=True),
        ),
        "learning: by length / shuffled (answer positions in both)": (
            lambda: bench.passed(in_order, whole=False, learn=True),
            lambda: bench.passed(shuffled, whole=False, learn=True),
        ),
    }
    table = Table("ours / the other way", "ours, s", "other, s", "ratio of times (quartiles)", "ratio of peaks")
    for title, pair in ways.items():
        for run in pair:
            run()  # warm-up
        found = [[timed(run, bench.device) for run in pair] for _ in range(given.repeats)]
        ratios = sorted(ours.seconds / other.seconds for ours, other in found)
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        peaks = statistics.median(o.peak / p.peak for o, p in found) if bench.device.type == "cuda" else None
        medians = [statistics.median(pair[i].seconds for pair in found) for i in range(2)]
        times = (f"{medians[0]:.3f}", f"{medians[1]:.3f}", f"{middle:.2f} [{low:.2f}, {high:.2f}]")
        table.add_row(title, *times, "—" if peaks is None else f"{peaks:.2f}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
