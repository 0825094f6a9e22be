"""Speed and memory of SFT, DPO, reward and PPO at real sizes, on random weights, beside bare TRL on the same rows.

    python benchmarks/gpu/sizes.py --weights FOLDER [--device cuda] [--to FILE] [--only sft-8b]

Every row of a table is a stage's own trainer, as the stage builds it, for a few steps; TRL's is the bare trainer with
the same model, rows, adapter and arguments. Given are the median step after the first two, tokens a second, the share
of the card's bf16 peak that this is, and the most memory. Operations per token: 6 per weight, 4 where the base is
frozen (no gradients of its weights), without attention's own products and without what is recomputed.
"""

import argparse
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cases import SHAPES, Case
from datasets import Dataset
from peft import LoraConfig, prepare_model_for_kbit_training
from random_models import tokenizer_of
from trainers import Bench, Measured, forget, ours, peak_in, trained
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from trl import DPOConfig, DPOTrainer, RewardTrainer, SFTConfig, SFTTrainer
from trl import RewardConfig as TrlRewardConfig

from pipeline.modeling.policy import nf4_config

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16 operations a second, by the vendor's data sheets

ON_GPU = [
    Case("sft", "0.5b", "lora", 1024, 8),
    Case("sft", "8b", "lora", 2048, 2),
    Case("sft", "8b", "qlora", 512, 1, recompute=True, trl=False),
    Case("dpo", "8b", "qlora", 512, 1, recompute=True, trl=False),
    Case("ppo", "8b", "qlora", 512, 8, recompute=True),
    Case("reward", "8b", "qlora", 512, 1, recompute=True, trl=False),
    Case("ppo", "1.3b", "full", 512, 16),
    Case("sft", "0.5b", "full", 1024, 8),
    Case("sft", "0.5b", "qlora", 1024, 8),
    Case("dpo", "0.5b", "lora", 512, 8),
    Case("reward", "0.5b", "lora", 512, 8),
    Case("ppo", "0.5b", "lora", 512, 16),
    Case("sft", "1.5b", "lora", 1024, 8),
    Case("dpo", "8b", "lora", 1024, 1),
    Case("ppo", "8b", "lora", 512, 8),
]
ON_CPU = [
    Case(stage, "tiny", how, 64, 2) for stage in ("sft", "dpo", "reward", "ppo") for how in ("full", "lora", "qlora")
]


# -- bare TRL ----------------------------------------------------------------------------------------------------------


def bare(case: Case, bench: Bench, folder: Path) -> Measured:
    """TRL's own trainer with the same model, rows, adapter and arguments."""
    measured, path = Measured(), bench.model(case.shape)
    vocabulary, count = SHAPES[case.shape].vocabulary, case.steps * case.micro
    options = {
        "output_dir": str(folder), "per_device_train_batch_size": case.micro, "max_steps": case.steps,
        "logging_steps": 1, "save_strategy": "no", "report_to": [], "disable_tqdm": True, "learning_rate": 1e-5,
        "max_length": None, "gradient_checkpointing": case.recompute, "bf16": False, "use_cpu": bench.device == "cpu",
    }  # fmt: skip
    tokenizer = tokenizer_of(vocabulary)
    quantization = nf4_config(torch.bfloat16) if case.method == "qlora" else None
    loading = {"dtype": torch.bfloat16, "quantization_config": quantization, "device_map": {"": bench.device}}
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", lora_dropout=0.0)
    given = {"processing_class": tokenizer, "peft_config": None if case.method == "full" else lora}
    with peak_in(measured, bench.device):
        if case.stage == "reward":
            lora.task_type, lora.modules_to_save = "SEQ_CLS", ["score"]
            model: Any = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, **loading)
        else:
            lora.task_type = "CAUSAL_LM"
            model = AutoModelForCausalLM.from_pretrained(path, **loading)
        if quantization:
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=case.recompute)
        if case.stage == "sft":
            rows = bench.ids(count, case.length, vocabulary)
            data = Dataset.from_dict({"input_ids": rows, "labels": rows})
            args: Any = SFTConfig(**options, dataset_kwargs={"skip_prepare_dataset": True})
            trainer: Any = SFTTrainer(model=model, args=args, train_dataset=data, **given)
            measured.tokens = case.micro * case.length
        else:
            texts = [" ".join(f"w{i}" for i in ids) for ids in bench.ids(3 * count, case.length // 2, vocabulary)]
            columns = zip(("prompt", "chosen", "rejected"), (texts[::3], texts[1::3], texts[2::3]), strict=True)
            data = Dataset.from_dict(dict(columns))
            measured.tokens = 2 * case.micro * case.length
            if case.stage == "dpo":
                trainer = DPOTrainer(model=model, args=DPOConfig(**options), train_dataset=data, **given)
            else:
                trainer = RewardTrainer(model=model, args=TrlRewardConfig(**options), train_dataset=data, **given)
        return trained(trainer, measured)


# -- the table ---------------------------------------------------------------------------------------------------------


def attempted(run: Callable[[Case, Bench, Path], Measured], case: Case, bench: Bench) -> Measured:
    """A case that fails says so in its row, and the others go on."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return run(case, bench, Path(folder))
        except Exception as error:
            traceback.print_exc()
            words = str(error).strip().splitlines() or [""]
            return Measured(note=f"FAILED {type(error).__name__}: {words[0][:160]}")
        finally:
            forget()


def share_of_peak(case: Case, measured: Measured, parameters: int) -> str:
    if case.stage == "ppo" or not torch.cuda.is_available():
        return ""
    peak = next((peak for name, peak in PEAKS.items() if name in torch.cuda.get_device_name()), None)
    per_token = (6 if case.method == "full" else 4) * parameters
    return f"{measured.rate * per_token / peak:.0%}" if peak else ""


def line(case: Case, who: str, measured: Measured, bench: Bench) -> str:
    cells = (
        case.stage, case.shape, case.method, who, f"{case.micro} × {case.length}", "yes" if case.recompute else "",
        f"{measured.step:.3f}", f"{measured.rate:,.0f}", share_of_peak(case, measured, bench.parameters[case.shape]),
        f"{measured.peak:.2f}", f"{measured.loss:.3f}", measured.note,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| stage | shape | method | whose | rows × tokens | recomputed | s a step | tokens/s | of peak | peak GiB "
    "| first loss | |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="where random weights lie while they are needed")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--to", type=Path, help="where the table goes")
    parser.add_argument("--only", nargs="*", help="cases by the beginning of stage-shape-method")
    parser.add_argument("--seconds", type=float, default=300.0, help="no further case begins after these")
    given = parser.parse_args()
    bench, began = Bench(given.weights, given.device), time.monotonic()
    lines = list(HEAD)
    print(*lines, sep="\n")
    for case in ON_CPU if given.device == "cpu" else ON_GPU:
        if given.only and not any(case.name.startswith(one) for one in given.only):
            continue
        if time.monotonic() - began > given.seconds:
            print(f"{case.name}: no time left")
            continue
        bench.model(case.shape)
        for who, run in (("ours", ours), ("TRL", bare)):
            if who == "TRL" and (not case.trl or case.stage == "ppo"):
                continue
            lines.append(line(case, who, attempted(run, case, bench), bench))
            print(lines[-1], f"({time.monotonic() - began:.0f} s so far)")
            if given.to:
                given.to.parent.mkdir(parents=True, exist_ok=True)
                given.to.write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.rmtree(given.weights, ignore_errors=True)


if __name__ == "__main__":
    main()
