"""Models of random weights in the shapes of known ones, and a tokenizer in which every id is a word."""

import torch
from cases import Shape
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from pipeline.modeling.chat.tokenizers import PLAIN_TEMPLATE

PAD, BOS, EOS = 0, 1, 2


def random_model(shape: Shape, device: str) -> PreTrainedModel:
    """In bfloat16, made on the device."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=4096,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def tokenizer_of(vocabulary: int) -> PreTrainedTokenizerFast:
    """Every id below `vocabulary` is a word, so that ids and texts are the same rows to everybody."""
    words = {"<pad>": PAD, "<s>": BOS, "</s>": EOS, **{f"w{i}": i for i in range(3, vocabulary)}}
    plain = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    wrapped.chat_template = PLAIN_TEMPLATE
    return wrapped
