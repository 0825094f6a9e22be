"""The built-in tiny base model: its own tokenizer and a LlamaForCausalLM, trained from scratch on a made-up corpus."""

import random
from collections.abc import Iterable, Sequence

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TrainingArguments,
    default_data_collator,
)

from pipeline.config.nodes.models import BaseConfig
from pipeline.modeling.exact_checkpoints import ExactCheckpoints
from pipeline.modeling.training import trainer_arguments
from pipeline.stage import StageContext

PAD, BOS, EOS, USER, ASSISTANT, SYSTEM = "<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"
# With a space before a text, its first word is the same token as elsewhere.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|> {{ message['content'] }}{{ eos_token }}"
    "{% else %}<|{{ message['role'] }}|> {{ message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str], config: BaseConfig) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with distinct pad, bos and eos tokens and a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[PAD, BOS, EOS, USER, ASSISTANT, SYSTEM],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=config.context,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def untrained_model(tokenizer: PreTrainedTokenizerFast, config: BaseConfig) -> LlamaForCausalLM:
    """Return an untrained model of the configured size, with weights drawn from the seed."""
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def pack_blocks(documents: Sequence[Sequence[int]], length: int, seed: int) -> list[list[int]]:
    """Shuffle the documents, concatenate them and cut blocks of `length` tokens; leave out an incomplete last block."""
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    stream = [token for i in order for token in documents[i]]
    return [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]


def base_trainer(
    model: LlamaForCausalLM,
    blocks: Sequence[list[int]],
    config: BaseConfig,
    context: StageContext,
    device: torch.device,
) -> ExactCheckpoints:
    """Return a trainer on packed blocks for a fixed number of steps."""
    common = trainer_arguments(
        context,
        seed=config.seed,
        steps=config.steps,
        batch_size=config.batch_size,
        warmup=config.warmup,
        device=device,
        half=context.runtime.launch.mixed_precision == "bf16",
    )
    own = {
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "cosine",
        "weight_decay": config.weight_decay,
        "adam_beta2": 0.95,
        "eval_strategy": "no",
        "dataloader_drop_last": True,
        "include_num_input_tokens_seen": "all",  # blocks have no padding
    }
    rows = Dataset.from_dict({"input_ids": blocks, "labels": blocks})
    args = TrainingArguments(**{**common, **own})
    return ExactCheckpoints(model=model, args=args, train_dataset=rows, data_collator=default_data_collator)


def tokenize_documents(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Return the token ids of each text, with bos and eos."""
    return [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in tokenizer(list(texts))["input_ids"]]
