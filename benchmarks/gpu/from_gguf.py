"""A model that lies in one GGUF file, as a folder of safetensors in bfloat16: FROM TO."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def main() -> None:
    source, target = sys.argv[1], Path(sys.argv[2])
    (file,) = (path.name for path in Path(source).glob("*.gguf"))
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(target)
    model.save_pretrained(target)


if __name__ == "__main__":
    main()
