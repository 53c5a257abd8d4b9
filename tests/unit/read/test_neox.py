"""The GPT-NeoX reader against the files and rules of GPT-NeoX itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.errors import InputError
from shapewright.read.neox import shape_from_neox

#: The model part of GPT-NeoX's configs/1-3B.yml, with the values of Pythia-1.4B where they differ.
PYTHIA = """# GPT-2 pretraining setup
{
  "pipe-parallel-size": 1,
  "model-parallel-size": 2,

  "num-layers": 24,
  "hidden-size": 2048,
  "num-attention-heads": 16,
  "seq-length": 2048,
  "max-position-embeddings": 2048,
  "norm": "layernorm",
  "pos-emb": "rotary",
  "rotary-pct": 0.25,
  "no-weight-tying": true,
  "gpt-j-residual": true,
  "tokenizer_type": "HFTokenizer",
  "vocab-file": "/data/20B_tokenizer.json",
  "make_vocab_size_divisible_by": 64,
  "attention_config": [[["flash"], 24]],
  "optimizer": {"params": {"lr": 0.0002, "betas": [0.9, 0.95], "eps": 1.0e-8,}},
  "zero_optimization": {"stage": 1, "allgather_partitions": True,},
  "train_micro_batch_size_per_gpu": 16,
  "checkpoint-activations": true,
  "fp16": {"enabled": true, "loss_scale": 0,},
}
"""
MINIMAL = "hidden_size: 1024\nnum_layers: 4\nnum_attention_heads: 16\nmax_position_embeddings: 2048\n"


def test_pythia_has_the_parameters_of_the_published_model() -> None:
    loaded = shape_from_neox(PYTHIA, name="pythia-1.4b")
    shape = loaded.shape
    assert shape.num_params == 1_414_647_808  # safetensors of EleutherAI/pythia-1.4b
    assert (shape.is_parallel, shape.num_parallel_norms, shape.rotary_dim, shape.vocab_size) == (True, 2, 32, 50304)
    assert shape.is_qkv_fused and not shape.tie_word_embeddings


def test_every_field_knows_the_line_of_its_key() -> None:
    lines = shape_from_neox(PYTHIA, name="x").lines
    assert (lines["num_hidden_layers"], lines["hidden_size"], lines["rotary_dim"], lines["is_parallel"]) == (6, 7, 13, 15)
    assert "intermediate_size" not in lines


def test_what_is_said_about_the_run_becomes_workload_defaults() -> None:
    assert dict(shape_from_neox(PYTHIA, name="x").workload) == {
        "micro_batch": 16, "sequence": 2048, "dtype": "fp16", "tensor_parallel": 2, "pipeline_parallel": 1, "zero": 1,
        "recompute": "full", "attention": "flash",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "workload", "replicas", "global_batch"),
    [
        # GPT-NeoX-20B: 96 GPUs are 12 replicas of 2 x 4
        ("train_micro_batch_size_per_gpu: 4\ngradient_accumulation_steps: 32\n", {"micro_batch": 4, "global_batch": 128}, 12, 1536),
        ("train_micro_batch_size_per_gpu: 4\ngas: 2\n", {"micro_batch": 4, "global_batch": 8}, 3, 24),
        ("train_batch_size: 24\ntrain_micro_batch_size_per_gpu: 3\n", {"micro_batch": 3, "global_batch": 24}, 2, 24),
        ("train_batch_size: 24\ngas: 3\n", {"micro_batch": 8, "global_batch": 24}, 1, 24),
        (
            "train_batch_size: 24\ntrain_micro_batch_size_per_gpu: 3\ngas: 2\n",
            {"micro_batch": 3, "global_batch": 24, "data_parallel": 4}, 4, 24,
        ),
        ("gradient_accumulation_steps: auto\ntrain_micro_batch_size_per_gpu: 4\n", {"micro_batch": 4}, 2, None),
    ],
)  # fmt: skip
def test_passes_that_accumulate_make_the_global_batch(
    lines: str, workload: dict[str, int], replicas: int, global_batch: int | None
) -> None:
    loaded = shape_from_neox(MINIMAL + lines, name="x")
    assert dict(loaded.workload) == workload
    assert loaded.workload_with({"data_parallel": replicas}).get("global_batch") == global_batch


def test_experts_spread_over_gpus_need_as_many_replicas() -> None:
    loaded = shape_from_neox(MINIMAL + "moe_num_experts: 8\nmoe_expert_parallel_size: 4\n", name="x")
    assert dict(loaded.workload) == {"data_parallel": 4, "expert_parallel": 4}
    assert "data_parallel 4: the fewest replicas that expert_parallel 4 needs" in loaded.notes


def test_a_norm_without_parameters() -> None:
    assert shape_from_neox(MINIMAL + "norm: non_parametric_layernorm\n", name="x").shape.norm == "nonparametric"


def test_an_unusable_workload_value_is_a_note() -> None:
    loaded = shape_from_neox(MINIMAL + "train_micro_batch_size_per_gpu: auto\nprecision: bfloat16\n", name="x")
    assert dict(loaded.workload) == {"dtype": "bf16"}
    assert any("micro_batch is 'auto'" in note for note in loaded.notes)


def test_defaults_are_those_of_gpt_neox() -> None:
    loaded = shape_from_neox(MINIMAL, name="x")
    shape = loaded.shape
    assert (shape.position_embedding, shape.norm, shape.hidden_act, shape.is_gated) == ("learned", "layernorm", "gelu", False)
    assert (shape.intermediate_size, shape.head_dim, shape.tie_word_embeddings, shape.hidden_dropout) == (4096, 64, True, 0.0)
    assert shape.has_qkv_bias and shape.has_mlp_bias and shape.has_attention_output_bias
    assert shape.vocab_size == 50304
    assert any("50257 entries padded to a multiple of 128 x 1" in note for note in loaded.notes)


def test_the_vocabulary_is_padded_for_every_shard() -> None:
    assert shape_from_neox(MINIMAL + "vocab_size: 50257\nmodel_parallel_size: 8\n", name="x").shape.vocab_size == 51200
    assert shape_from_neox(MINIMAL + "padded_vocab_size: 50001\n", name="x").shape.vocab_size == 50001


@pytest.mark.parametrize(
    ("lines", "width", "gated", "fused", "bias"),
    [
        ("activation: gelu\n", 4096, False, False, True),
        ("activation: gelu\nintermediate_size: 5000\n", 5000, False, False, True),
        ("activation: gelu\nexpansion_factor: 3.5\n", 3584, False, False, True),
        # int(2/3 x 4h) = 2730 for gate and up together, half of it each
        ("activation: swiglu\nuse_bias_in_mlp: false\n", 1365, True, True, False),
        ("activation: geglu\nintermediate_size: 33024\n", 11008, True, True, True),
        ("activation: swiglu\nmlp_multiple_of: 256\n", 1536, True, True, True),
        ("activation: silu\nmlp_type: llama\n", 2816, True, False, False),
        ("activation: silu\nmlp_type: llama\nintermediate_size: 2730\n", 2730, True, False, False),
    ],
)
def test_mlp_widths_follow_gpt_neox(lines: str, width: int, gated: bool, fused: bool, bias: bool) -> None:
    shape = shape_from_neox(MINIMAL + lines, name="x").shape
    assert (shape.intermediate_size, shape.is_gated, shape.is_gate_up_fused, shape.has_mlp_bias) == (width, gated, fused, bias)


def test_llama_config_of_gpt_neox() -> None:
    text = (
        '{"num-layers": 32, "hidden-size": 4096, "num-attention-heads": 32, "max-position-embeddings": 2048, "pos-emb": "rotary",\n'
        '"no-weight-tying": true, "norm": "rmsnorm", "use_bias_in_norms": false, "use_bias_in_attn_linear": false,\n'
        '"mlp_type": "llama", "activation": "silu", "make_vocab_size_divisible_by": 1, "vocab_size": 32000}'
    )
    assert shape_from_neox(text, name="llama-7b").shape.num_params == 6_738_415_616  # huggyllama/llama-7b


def test_grouped_heads_windows_and_experts() -> None:
    shape = shape_from_neox(
        MINIMAL + "num_kv_heads: 4\nsliding_window_width: 512\nmoe_num_experts: 8\nmoe_top_k: 2\npos_emb: rotary\n", name="x"
    ).shape
    assert (shape.num_key_value_heads, shape.sliding_window, shape.attention_pattern) == (4, 512, ("sliding",))
    assert shape.moe is not None
    assert (shape.moe.num_experts, shape.moe.num_experts_per_tok, shape.moe.moe_intermediate_size) == (8, 2, 4096)
    assert [layer for layer in range(4) if shape.moe.is_routed(layer)] == [0, 2]


def test_files_are_merged_and_each_line_keeps_its_file(tmp_path: Path) -> None:
    model, run = tmp_path / "model.yml", tmp_path / "run.yml"
    model.write_text(MINIMAL)
    run.write_text("# where\ntrain_micro_batch_size_per_gpu: 2\nno-weight-tying: true\nhidden_size: 1024\n")
    loaded = shape_from_neox([model, run], name="x")
    assert loaded.origin == f"{model} + {run}"
    assert (loaded.lines["tie_word_embeddings"], loaded.files["tie_word_embeddings"]) == (3, str(run))
    assert (loaded.lines["hidden_size"], loaded.files["hidden_size"]) == (1, str(model))
    assert loaded.workload["micro_batch"] == 2


def test_a_key_with_two_values_names_both_places() -> None:
    with pytest.raises(InputError) as caught:
        shape_from_neox([MINIMAL, "\nhidden-size: 2048\n"], name="x")
    assert str(caught.value) == "x#2:2: 'hidden_size' is 2048, but 1024 in x#1:1; keep one of them"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden_size: 1024\nnum_layers: 4\n", "x: num_attention_heads is absent; add it"),
        (MINIMAL.replace("1024", "1020"), "x:3: num_attention_heads 16 does not divide hidden_size 1020"),
        (MINIMAL.replace("layers: 4", "layers: -3"), "x:2: num_hidden_layers is -3; expected at least 1"),
        (MINIMAL.replace("1024", "2560.5"), "x:1: hidden_size is 2560.5; expected a positive integer"),
        (MINIMAL + "pos_emb: rotery\n", "x:5: unknown pos_emb 'rotery'; did you mean rotary"),
        (MINIMAL + "rotary_pct: .nan\n", "x:5: rotary_pct is nan; expected above 0, at most 1"),
        (MINIMAL + "attention_config: [[[mamba], 4]]\n", "x:5: attention_config names 'mamba' layers"),
        (MINIMAL + "intermediate_size: 9\nexpansion_factor: 2\n", "x:6: both intermediate_size and expansion_factor are given; keep one"),
        (MINIMAL + "no_weight_tying: maybe\n", "x:5: no_weight_tying is 'maybe'; expected true or false"),
        (MINIMAL + "hidden_dropout: 1.5\n", "x:5: hidden_dropout is 1.5; expected a number from 0 to below 1"),
        ("a: &a [1]\nb: *a\n", "x:1: YAML anchors and aliases are not read"),
        ("hidden_size: !!python/object/apply:os.system ['true']\n", "x:1: the YAML tag 'tag:yaml.org,2002:python/object/apply"),
        ("a: " + "[" * 50, "x:1: values are nested more than 20 deep"),
        ("- 1\n", "x:1: expected a YAML mapping of keys and values"),
        ("a: [1\nb: 2\n", "x:2: not valid YAML ("),
        ("a: 1\n---\nb: 2\n", "x:2: a second YAML document begins"),
        ("a: " + "[" + "1," * 30_000 + "]", "x:1: more than 20000 values"),
        ("#" * 300_000, "x: the text is longer than 262144 characters"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        shape_from_neox(text, name="x")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
