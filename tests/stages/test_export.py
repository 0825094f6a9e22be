"""An exported folder, loaded with transformers and peft alone, answers exactly like the policy in the store."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from pipeline.config.nodes.models import DecodingConfig
from pipeline.store.artifact import Artifact
from tests.lazily import lazily
from tests.stages.conftest import Chain
from tests.tokenizing import save_tokenizer, trl_templates

with lazily():
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.generation import draw
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.sources import source_of, tokenizer_of

pytestmark = pytest.mark.slow

IDS = [[1, 20, 30, 40, 50]]


def own_logits(policy: Artifact) -> torch.Tensor:
    source = source_of(policy)
    with torch.no_grad():
        return load_policy(source, tokenizer_of(source)[0], torch.device("cpu"), quantized=False)(
            torch.tensor(IDS)
        ).logits


@pytest.mark.parametrize(("sft", "dpo"), [("full", "full"), ("lora", "lora"), ("full", "lora"), ("qlora", "qlora")])
def test_a_merged_export_is_the_policy(chain: Chain, sft: str, dpo: str) -> None:
    made = chain.make("export", f"peft@sft.peft={sft}", f"peft@dpo.peft={dpo}", "dpo.learning_rate=1e-2")
    folder = made.path / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert not isinstance(model, PeftModel)
    with torch.no_grad():
        assert torch.allclose(model(torch.tensor(IDS)).logits, own_logits(made.inputs["policy"]), atol=2e-3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    generation = GenerationConfig.from_pretrained(folder)
    assert tokenizer.eos_token_id in generation.eos_token_id
    assert generation.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id


@pytest.mark.parametrize("peft", ["full", "lora"])
def test_an_export_is_a_folder_of_its_own_that_others_can_read(chain: Chain, peft: str) -> None:
    made = chain.make("export", f"peft={peft}", f"export.merge={str(peft == 'full').lower()}", "export.policy=sft")
    files = [path for path in (made.path / "model").rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}
    assert all(path.stat().st_nlink == 1 for path in files)
    assert (made.path / "model").stat().st_mode & 0o777 == 0o755


def test_merged_adapters_are_no_parameters_of_their_own(chain: Chain) -> None:
    lora = ("peft=lora", "sft.peft.rank=4", "export.policy=sft")
    merged, base = chain.make("export", *lora), chain.make("base")
    assert merged.metrics["parameters"] == base.metrics["parameters"]
    apart = chain.make("export", *lora, "export.merge=false")
    assert apart.metrics["parameters"] == base.metrics["parameters"] + chain.make("sft", *lora).metrics["trainable"]


def test_adapters_on_adapters_are_exported_as_one(chain: Chain) -> None:
    """Two stacked adapters of ranks 4 and 2 become one of rank 6 with the same answers."""
    lora = ("peft=lora", "sft.peft.rank=4", "dpo.peft.rank=2", "dpo.learning_rate=1e-2")
    made = chain.make("export", *lora, "export.merge=false")
    base = AutoModelForCausalLM.from_pretrained(chain.make("base").path / "model")
    model = PeftModel.from_pretrained(base, made.path / "model")
    assert model.peft_config["default"].r == 6
    with torch.no_grad():
        assert torch.allclose(model(torch.tensor(IDS)).logits, own_logits(made.inputs["policy"]), atol=1e-4)


def test_the_card_says_what_it_was_made_from(chain: Chain) -> None:
    made = chain.make("export")
    card = (made.path / "model" / "README.md").read_text()
    policy = made.inputs["policy"]
    assert policy.reference in card
    assert policy.inputs["policy"].reference in card
    assert "simulated" in card


def test_a_full_model_has_no_adapter_to_export(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    assert chain.run("stage=export", "export.merge=false", "peft=full") == 2
    assert "export.merge=true" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["qwen3", "deepseek_r1_distill", "llama3_2"])
def test_a_server_of_others_answers_as_we_do(name: str, chain: Chain, tmp_path: Path, served_by_others: str) -> None:
    """Greedy answers from messages alone: the exported template contains all decisions on reasoning and dates."""
    path = save_tokenizer(tmp_path / "model", trl_templates()[name], eos_token="<eos>", bos_token="<bos>")
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    words = len(AutoTokenizer.from_pretrained(path))
    config = LlamaConfig(vocab_size=words, initializer_range=0.3, tie_word_embeddings=True, **shape)
    LlamaForCausalLM(config).save_pretrained(path)
    made = chain.make("export", "export.policy=base", "model=hub", f"model.path={path}", "model.dtype=float32")
    source = source_of(made.inputs["policy"])
    chat = ChatFormat(tokenizer_of(source)[0])
    history = [
        {"role": "user", "content": "My kettle hums."},
        {"role": "assistant", "content": "Wrap it in wool."},
        {"role": "user", "content": "And now?"},
    ]
    policy = load_policy(source, chat.tokenizer, torch.device("cpu"))
    given = (policy, chat, [chat.prompt(history)], DecodingConfig(0.0, 1.0, 24))
    [own] = draw(*given, 0, batch_tokens=999, own_cache=True, partial=tmp_path / "partial")
    asked = {"model": str(made.path / "model"), "messages": history, "max_tokens": 24}
    reply = httpx.post(f"{served_by_others}/chat/completions", json=asked, timeout=120).json()
    assert reply["choices"][0]["message"]["content"].strip() == chat.text(own.ids)
