"""Reference layers against those of transformers: same weights, same logits, loss and gradients; parameters as the shape counts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from shapewright.errors import InputError
from shapewright.measure.devices import Device
from shapewright.measure.reference import build_reference, reference_shape
from shapewright.measure.reference.model import ReferenceModel
from shapewright.measure.reference.positions import alibi_slopes
from shapewright.read.hf import shape_from_hf_config_object
from shapewright.read.resolve import load_shape
from shapewright.shape import ModelShape

CPU = Device(name="cpu", gpu="cpu", l2_bytes=2**20, memory_bytes=2**34)
H, HEADS, INNER, LAYERS, VOCABULARY = 48, 6, 80, 2, 61
NEOX = {"hidden_size": H, "num_attention_heads": HEADS, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "rotary_pct": 0.5}
CONFIGS = {
    "neox-parallel": ("gpt_neox", {**NEOX, "use_parallel_residual": True, "hidden_act": "gelu"}),
    "neox-sequential": ("gpt_neox", {**NEOX, "use_parallel_residual": False, "hidden_act": "gelu"}),
    "llama-gqa": ("llama", {"hidden_size": H, "num_attention_heads": HEADS, "num_key_value_heads": 2, "intermediate_size": INNER,
                            "num_hidden_layers": LAYERS, "rms_norm_eps": 1e-5}),
    "bloom": ("bloom", {"hidden_size": H, "n_head": HEADS, "n_layer": LAYERS, "hidden_dropout": 0.0, "attention_dropout": 0.0}),
    "gpt2": ("gpt2", {"n_embd": H, "n_head": HEADS, "n_layer": LAYERS, "n_inner": INNER, "n_positions": 32, "resid_pdrop": 0.0,
                      "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
}  # fmt: skip


def theirs(name: str) -> Any:
    model_type, sizes = CONFIGS[name]
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    config = transformers.AutoConfig.for_model(model_type, **sizes, **special, vocab_size=VOCABULARY, use_cache=False)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too: their places must show
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def side_by_side(weight: torch.Tensor) -> torch.Tensor:
    """GPT-NeoX's and Bloom's rows of queries, keys and values, which alternate by head, as one block each."""
    return weight.unflatten(0, (HEADS, 3, H // HEADS)).transpose(0, 1).flatten(0, 2)


def renamed(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights (or their gradients) of transformers' model under the names of ours."""
    family = name.partition("-")[0]
    table = {
        "neox": (("gpt_neox.", ""), ("embed_in", "embedding"), ("final_layer_norm", "final_norm"), ("lm_head", "head"),
                 ("input_layernorm", "norm1"), ("post_attention_layernorm", "norm2"), ("attention.query_key_value", "attention.qkv.0"),
                 ("attention.dense", "attention.output"), ("mlp.dense_h_to_4h", "mlp.up.0"), ("mlp.dense_4h_to_h", "mlp.down")),
        "llama": (("model.norm.", "final_norm."), ("model.", ""), ("embed_tokens", "embedding"), ("lm_head", "head"),
                  ("input_layernorm", "norm1"),
                  ("post_attention_layernorm", "norm2"), ("self_attn.q_proj", "attention.qkv.0"), ("self_attn.k_proj", "attention.qkv.1"),
                  ("self_attn.v_proj", "attention.qkv.2"), ("self_attn.o_proj", "attention.output"), ("gate_proj", "up.0"),
                  ("up_proj", "up.1"), ("down_proj", "down")),
        "bloom": (("transformer.", ""), ("word_embeddings_layernorm", "embedding_norm"), ("word_embeddings", "embedding"),
                  ("h.", "layers."),
                  ("ln_f", "final_norm"), ("input_layernorm", "norm1"), ("post_attention_layernorm", "norm2"),
                  ("self_attention.query_key_value", "attention.qkv.0"), ("self_attention.dense", "attention.output"),
                  ("mlp.dense_h_to_4h", "mlp.up.0"), ("mlp.dense_4h_to_h", "mlp.down")),
        "gpt2": (("transformer.", ""), ("wte", "embedding"), ("wpe", "positions"), ("h.", "layers."), ("ln_f", "final_norm"),
                 ("ln_1", "norm1"), ("ln_2", "norm2"), ("attn.c_attn", "attention.qkv.0"), ("attn.c_proj", "attention.output"),
                 ("mlp.c_fc", "mlp.up.0"), ("mlp.c_proj", "mlp.down")),
    }[family]  # fmt: skip
    found = {}
    for key, value in tensors.items():
        for old, new in table:
            key = new + key.removeprefix(old) if old.endswith(".") and key.startswith(old) else key.replace(old, new)
        found[key] = side_by_side(value) if family in ("neox", "bloom") and "qkv" in key else value
    return found


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CONFIGS)
def test_same_weights_give_the_same_logits_loss_and_gradients(name: str, attention: str) -> None:
    model = theirs(name)
    shape = shape_from_hf_config_object(model.config).shape
    ours = build_reference(shape, CPU, dtype="fp32", attention=attention).double()
    ours.load_state_dict(renamed(name, {key: value.detach() for key, value in model.named_parameters()}))
    ids = torch.randint(0, VOCABULARY, (2, 17))

    expected, found = model(input_ids=ids, labels=ids), ours(ids, ids)
    expected.loss.backward()
    found.loss.backward()

    # transformers computes rotary tables, Llama's norm and the softmax of most families in fp32.
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.loss, expected.loss.to(found.loss.dtype), rtol=1e-5, atol=1e-5)
    gradients = renamed(name, {key: value.grad for key, value in model.named_parameters()})
    assert gradients.keys() == dict(ours.named_parameters()).keys()
    for key, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[key], rtol=1e-3, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("model", ["gpt3-125m", "pythia-70m", "llama-3.2-1b", "bloom-560m", "gpt2", "opt-125m", "phi-2",
                                   "qwen2-7b", "falcon-7b", "falcon-rw-1b", "gpt-j-6b", "mistral-7b-v0.3", "palm-540b", "olmo-1b",
                                   "gemma-2b"])  # fmt: skip
def test_parameters_are_those_of_the_shape(model: str) -> None:
    shape = load_shape(model)
    with torch.device("meta"):
        built = ReferenceModel(replace(reference_shape(shape), num_hidden_layers=2), attention="sdpa")

    assert sum(each.numel() for each in built.parameters()) == replace(shape, num_hidden_layers=2).num_params


@pytest.mark.parametrize(("model", "field"), [("gemma-2-2b", "norm_placement"), ("mixtral-8x7b", "moe"), ("bert-base-uncased", "kind"),
                                              ("deepseek-v2-lite", "moe"), ("qwen3-8b", "qk_norm")])  # fmt: skip
def test_what_is_not_covered_is_refused_by_field(model: str, field: str) -> None:
    with pytest.raises(InputError, match="reference layers cover no") as caught:
        reference_shape(load_shape(model))

    assert caught.value.field == field


def tiny(**changes: Any) -> ModelShape:
    return replace(load_shape("gpt3-125m"), hidden_size=H, num_attention_heads=HEADS, num_key_value_heads=HEADS, head_dim=H // HEADS,
                   intermediate_size=INNER, num_hidden_layers=1, vocab_size=VOCABULARY, **changes)  # fmt: skip


def test_dropout_runs_in_training_only() -> None:
    model = build_reference(tiny(), CPU, dtype="fp32", attention="sdpa")
    ids = torch.randint(0, VOCABULARY, (1, 9))

    assert torch.equal(model(ids).logits, model(ids).logits)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)


def test_no_token_sees_those_after_it() -> None:
    for attention in ("sdpa", "eager"):
        model = build_reference(tiny(), CPU, dtype="fp32", attention=attention)
        ids = torch.randint(0, VOCABULARY, (1, 9))
        changed = ids.clone()
        changed[0, 6] = (ids[0, 6] + 1) % VOCABULARY
        before, after = model(ids).logits, model(changed).logits
        torch.testing.assert_close(before[:, :6], after[:, :6])
        assert not torch.equal(before[:, 6:], after[:, 6:])


def test_slopes_of_a_number_that_is_no_power_of_two() -> None:
    assert alibi_slopes(4) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]
    assert alibi_slopes(6) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]


@pytest.mark.parametrize("model", ["gpt3-2.7b", "llama-2-7b", "pythia-410m"])
def test_unfused_attention_gives_what_eager_attention_gives(model: str) -> None:
    groups = 2 if model == "llama-2-7b" else 6
    shape = load_shape(
        model, hidden_size=48, num_attention_heads=6, num_key_value_heads=groups, head_dim=8, intermediate_size=64, num_hidden_layers=2,
        vocab_size=50,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 9))
    eager, unfused = (build_reference(shape, CPU, dtype="fp32", attention=attention) for attention in ("eager", "unfused"))
    unfused.load_state_dict(eager.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(unfused(ids).logits, eager(ids).logits, rtol=1e-4, atol=1e-5)


def test_unfused_attention_is_forward_alone_and_takes_no_bias() -> None:
    ids = torch.randint(0, 50, (1, 4))
    small = {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 64, "num_hidden_layers": 1}
    model = build_reference(load_shape("gpt3-2.7b", **small, vocab_size=50), CPU, dtype="fp32", attention="unfused")
    with pytest.raises(InputError, match="backward"):
        model(ids)
    alibi = build_reference(
        load_shape("gpt3-2.7b", **small, vocab_size=50, position_embedding="alibi"), CPU, dtype="fp32", attention="unfused"
    )
    with torch.no_grad(), pytest.raises(InputError, match="bias"):
        alibi(ids)
