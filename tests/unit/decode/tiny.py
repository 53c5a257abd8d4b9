"""Tiny models of every family, random in all that they have, and Hugging Face's own cache copied into ours.

Sizes are odd where the family allows it. Keywords go to the configuration; weights are fp32, seeded, and large enough that a wrong
window, norm, bias or position moves every logit.
"""

import torch
from torch import Tensor, nn
from transformers import (
    Cache,
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from shapewright.decode.buffers import Buffers
from shapewright.decode.layers import Decoder

TOKENS = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
GATED = {
    "vocab_size": 101,
    "hidden_size": 60,
    "intermediate_size": 77,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    **TOKENS,
}


def tiny_llama(seed: int = 0, **fields: object) -> PreTrainedModel:
    """Grouped queries: 6 heads of 10 over 2."""
    return _random(LlamaForCausalLM(LlamaConfig(**{**GATED, **fields})), seed)


def tiny_mistral(seed: int = 0, **fields: object) -> PreTrainedModel:
    """Every layer looks through a window, of 7 tokens unless told."""
    return _random(MistralForCausalLM(MistralConfig(**{**GATED, "sliding_window": 7, **fields})), seed)


def tiny_qwen2(seed: int = 0, **fields: object) -> PreTrainedModel:
    """Biases on queries, keys and values, none on the output."""
    return _random(Qwen2ForCausalLM(Qwen2Config(**{**GATED, **fields})), seed)


def tiny_qwen3(seed: int = 0, **fields: object) -> PreTrainedModel:
    """Norms on queries and keys; heads of 14, which is not hidden_size over num_attention_heads."""
    return _random(Qwen3ForCausalLM(Qwen3Config(**{**GATED, "head_dim": 14, **fields})), seed)


def tiny_opt(seed: int = 0, **fields: object) -> PreTrainedModel:
    """Learned positions from row 2 on; a tied head; heads of 13."""
    sizes = {"vocab_size": 101, "hidden_size": 52, "ffn_dim": 91, "num_hidden_layers": 2, "num_attention_heads": 4}
    return _random(OPTForCausalLM(OPTConfig(**{**sizes, "max_position_embeddings": 64, "dropout": 0.0, **TOKENS, **fields})), seed)


def tiny_neox(seed: int = 0, **fields: object) -> PreTrainedModel:
    """Heads of 24 of which 6 dimensions turn; parallel blocks."""
    sizes = {"vocab_size": 101, "hidden_size": 72, "intermediate_size": 91, "num_hidden_layers": 2, "num_attention_heads": 3}
    return _random(GPTNeoXForCausalLM(GPTNeoXConfig(**{**sizes, "max_position_embeddings": 128, **TOKENS, **fields})), seed)


def tiny_gpt2(seed: int = 0, **fields: object) -> PreTrainedModel:
    """Transposed weights; learned positions; a tied head; heads of 15."""
    sizes = {"vocab_size": 101, "n_embd": 45, "n_inner": 91, "n_layer": 2, "n_head": 3, "n_positions": 64}
    return _random(GPT2LMHeadModel(GPT2Config(**{**sizes, **TOKENS, **fields})), seed)


TINY = {
    "llama": tiny_llama,
    "mistral": tiny_mistral,
    "qwen2": tiny_qwen2,
    "qwen3": tiny_qwen3,
    "opt": tiny_opt,
    "gpt_neox": tiny_neox,
    "gpt2": tiny_gpt2,
}


@torch.no_grad()
def _random(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            drawn = torch.randn(value.shape, generator=generator)
            if name == "bias":
                value.copy_(0.5 * drawn)
            elif value.dim() == 1:
                value.copy_(1 + 0.4 * drawn)
            elif isinstance(module, nn.Embedding):
                value.copy_(drawn)
            else:
                value.copy_(drawn * 1.5 / module.weight.shape[0 if type(module).__name__ == "Conv1D" else 1] ** 0.5)
    return model.eval()


def prompt(model: PreTrainedModel, batch: int = 3, length: int = 9, seed: int = 1) -> Tensor:
    """Random tokens `[batch, length]`, none of them the padding token 0."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, model.config.vocab_size, (batch, length), generator=generator)


def left_padded(model: PreTrainedModel, lengths: list[int], seed: int = 1) -> tuple[Tensor, Tensor]:
    """Tokens and attention mask `[batch, max(lengths)]`: each row is padded on its left with token 0."""
    ids = prompt(model, len(lengths), max(lengths), seed)
    mask = torch.stack([torch.arange(ids.shape[1]) >= ids.shape[1] - length for length in lengths]).long()
    return ids * mask, mask


@torch.no_grad()
def prefill(model: PreTrainedModel, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Cache]:
    """Logits of the last position `[batch, vocab_size]` and the cache, as Hugging Face's own forward makes them."""
    mask = torch.ones_like(ids) if mask is None else mask
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    # No configuration: layers with a window keep all slots, so that slots are counted alike in every layer.
    cache = DynamicCache()
    output = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
    return output.logits[:, -1], output.past_key_values


@torch.no_grad()
def next_logits(model: PreTrainedModel, cache: Cache, tokens: Tensor, mask: Tensor) -> Tensor:
    """Hugging Face's own logits `[batch, vocab_size]` after one more token a row; `mask` `[batch, length]` has that token in it."""
    positions = mask.sum(-1, keepdim=True) - 1
    output = model(input_ids=tokens[:, None], attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
    return output.logits[:, -1]


def buffers_after(decoder: Decoder, cache: Cache, tokens: Tensor, *, mask: Tensor | None = None, capacity: int = 32) -> Buffers:
    """Buffers that hold `cache`, about to be fed `tokens` `[batch]`. Every slot that holds nothing is NaN."""
    length = cache.get_seq_length()
    mask = torch.ones(len(tokens), length, dtype=torch.int64) if mask is None else mask
    buffers = Buffers(decoder, len(tokens), capacity)
    buffers.cache.fill_(float("nan"))
    for index, layer in enumerate(cache.layers):
        buffers.keys(index)[:, :, :length] = layer.keys
        buffers.values(index)[:, :, :length] = layer.values
    buffers.tokens.copy_(tokens)
    buffers.positions.copy_(mask.sum(-1))
    buffers.starts.copy_(length - mask.sum(-1))
    buffers.length.fill_(length)
    return buffers
