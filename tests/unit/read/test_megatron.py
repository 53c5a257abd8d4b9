"""The Megatron-LM reader: launch scripts read without running them, argv lists, and Megatron's own defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.errors import InputError
from shapewright.read.megatron import shape_from_megatron
from shapewright.shape import LatentAttention

#: In the manner of Megatron-LM's examples/gpt3/train_gpt3_175b_distributed.sh, at GPT-3 2.7B's size.
SCRIPT = r"""#!/bin/bash
# Runs the "2.7B" parameter model; don't run it here
GPUS_PER_NODE=8
WORLD_SIZE=$(($GPUS_PER_NODE*4))
HIDDEN=${HIDDEN:-2560}
HEADS=32
CHECKPOINT=$1 #<path>
VOCAB_FILE=$3

mkdir -p "$(dirname "$CHECKPOINT")"

GPT_MODEL_ARGS=(
    --num-layers $((HEADS))
    --hidden-size $HIDDEN   # h
    --num-attention-heads "$HEADS"
    # --num-attention-heads 20
    --seq-length 2048
    --max-position-embeddings 2048
)
DTYPE="bf16"
TRAINING_ARGS="
    --micro-batch-size 4 \
    --global-batch-size 512 \
"
if [[ "$DTYPE" == "fp16" ]]; then
    GPT_MODEL_ARGS+=(--fp16)
elif [ "$DTYPE" = bf16 ]; then
    GPT_MODEL_ARGS+=("--bf16")
else
    GPT_MODEL_ARGS+=(--fp32)
fi
torchrun --nproc_per_node $GPUS_PER_NODE pretrain_gpt.py \
    ${GPT_MODEL_ARGS[@]} $TRAINING_ARGS --tensor-model-parallel-size 8 \
    --vocab-file $VOCAB_FILE --merge-file gpt2-merges.txt 2>&1 | tee "log-$(date).txt"
"""
BASE = ["--num-layers", "4", "--hidden-size", "1024", "--num-attention-heads", "16", "--max-position-embeddings", "2048"]


def argv(*more: str) -> list[str]:
    return [*BASE, "--vocab-size", "50257", *more]


def test_a_script_gives_its_shape_lines_and_workload() -> None:
    loaded = shape_from_megatron(SCRIPT, name="2.7b", where="run.sh")
    shape = loaded.shape
    assert (shape.hidden_size, shape.num_hidden_layers, shape.num_attention_heads, shape.head_dim) == (2560, 32, 32, 80)
    assert shape.vocab_size == 51200  # 50257 to a multiple of 128 x 8
    assert shape.num_params == 12 * 2560**2 * 32 + 13 * 2560 * 32 + (51200 + 2048) * 2560 + 2 * 2560
    assert (loaded.lines["num_hidden_layers"], loaded.lines["hidden_size"], loaded.lines["num_attention_heads"]) == (13, 14, 15)
    assert dict(loaded.workload) == {
        "micro_batch": 4, "global_batch": 512, "sequence": 2048, "dtype": "bf16", "tensor_parallel": 8,
    }  # fmt: skip
    assert any("GPT-2's vocabulary" in note for note in loaded.notes)


def test_defaults_are_those_of_megatron() -> None:
    shape = shape_from_megatron(argv(), name="x", where="arguments").shape
    assert (shape.position_embedding, shape.norm, shape.hidden_act, shape.intermediate_size) == ("learned", "layernorm", "gelu", 4096)
    assert (shape.attention_dropout, shape.hidden_dropout) == (0.1, 0.1)
    assert shape.tie_word_embeddings and shape.is_qkv_fused and shape.has_qkv_bias and shape.has_mlp_bias
    assert (shape.num_key_value_heads, shape.vocab_size) == (16, 50304)


def test_llama_flags_give_the_published_parameter_count() -> None:
    line = (
        "--num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 --num-attention-heads 32 --group-query-attention "
        "--num-query-groups 8 --kv-channels 128 --max-position-embeddings 8192 --position-embedding-type rope --swiglu "
        "--normalization RMSNorm --disable-bias-linear --untie-embeddings-and-output-weights --vocab-size=128256 "
        "--attention-dropout 0.0 --hidden-dropout 0.0 --fp8-format hybrid --bf16 --use-distributed-optimizer"
    )
    loaded = shape_from_megatron(line.split(), name="llama-3-8b", where="arguments")
    assert loaded.shape.num_params == 8_030_261_248  # safetensors of meta-llama/Meta-Llama-3-8B
    assert loaded.shape.is_gate_up_fused and loaded.shape.num_key_value_heads == 8
    assert dict(loaded.workload) == {"dtype": "fp8", "zero": 1}
    assert dict(loaded.lines) == {}


@pytest.mark.parametrize(
    ("more", "field", "value"),
    [
        (["--swiglu"], "intermediate_size", 2688),  # int(8 x 1024 / 3 / 64) x 64
        (["--squared-relu"], "hidden_act", "relu2"),
        (["--use-rotary-position-embeddings", "--rotary-percent", "0.5"], "rotary_dim", 32),
        (["--position-embedding-type", "none"], "position_embedding", "none"),
        (["--group-query-attention"], "num_key_value_heads", 1),
        (["--num-query-groups", "4"], "num_key_value_heads", 16),  # without --group-query-attention
        (["--kv-channels", "128"], "head_dim", 128),
        (["--qk-layernorm"], "qk_norm", "head"),
        (["--disable-bias-linear", "--add-qkv-bias"], "has_qkv_bias", True),
        (["--disable-bias-linear", "--add-qkv-bias"], "has_mlp_bias", False),
        (["--window-size", "(511,0)"], "sliding_window", 512),
        (["--window-size", "511,0", "--window-attn-skip-freq", "4"], "attention_pattern", ("sliding", "sliding", "sliding", "full")),
        (["--make-vocab-size-divisible-by", "1"], "vocab_size", 50257),
        (["--tokenizer-type", "NullTokenizer", "--make-vocab-size-divisible-by", "1"], "vocab_size", 50258),
        (["--hidden-size", "2048"], "hidden_size", 2048),  # the last one wins
    ],
)
def test_flags_and_what_they_mean(more: list[str], field: str, value: object) -> None:
    assert getattr(shape_from_megatron(argv(*more), name="x", where="arguments").shape, field) == value


@pytest.mark.parametrize(
    ("freq", "routed"),
    [
        ("1", [0, 1, 2, 3]),
        ("2", [0, 2]),
        ("([0]+[1]*3)", [1, 2, 3]),
        ("[0]*2+[1]*2", [2, 3]),
        ("[0,1]*2", [1, 3]),
        ("([0]*3+[1]*1)", [3]),
    ],
)
def test_routed_layers_follow_the_layer_frequency(freq: str, routed: list[int]) -> None:
    flags = argv("--num-experts", "8", "--moe-ffn-hidden-size", "512", "--moe-layer-freq", freq)
    moe = shape_from_megatron(flags, name="x", where="arguments").shape.moe
    assert moe is not None
    assert [layer for layer in range(4) if moe.is_routed(layer)] == routed
    assert (moe.num_experts_per_tok, moe.moe_intermediate_size) == (2, 512)


def test_latent_attention_takes_its_ranks() -> None:
    flags = argv("--multi-latent-attention", "--kv-lora-rank", "512", "--qk-layernorm", "--position-embedding-type", "rope")
    shape = shape_from_megatron(flags, name="x", where="arguments").shape
    assert shape.latent_attention == LatentAttention(
        q_lora_rank=None, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128
    )
    assert (shape.head_dim, shape.qk_norm, shape.num_rotary_dims) == (192, None, 64)


@pytest.mark.parametrize(
    ("word", "width"),
    [
        ("$((16*64))", 1024),
        ("$(( (2 + 6) * $A / 4 ))", 1024),
        ("${A2:-2048}", 2048),
        ('"${A}"', 512),
        ("'768'", 768),
        ("${ARR[1]}", 640),
        ("$A$ZERO", 5120),
    ],
)
def test_words_of_the_shell(word: str, width: int) -> None:
    script = f"A=512; ZERO=0\nARR=(1 640)\nx.py --num-layers 2 --num-attention-heads 2 --seq-length 8 --hidden-size {word}\n"
    assert shape_from_megatron(script, name="x", where="run.sh").shape.hidden_size == width


@pytest.mark.parametrize(
    "end",
    ["2>&1 | tee log", "2> err.log", "> log 2>&1", ">> log", "&> log", "&>log", "< /dev/null", "| tee log", "|tee log", "&", "; echo 1",
     "&& echo 1", "|| exit 1", "2>&1|tee log", "1>log"],
)  # fmt: skip
@pytest.mark.parametrize("way", ["{}", 'cmd="{}"\neval $cmd', 'cmd="{}"\neval "$cmd"', 'cmd="{}"\n$cmd', 'bash -c "{}"', 'ONLY="{}"'])
@pytest.mark.parametrize("last", ["--vocab-size 1000", "--micro-batch-size 2", "--disable-bias-linear"])
def test_what_ends_a_command_is_no_value(end: str, way: str, last: str) -> None:
    flags = " ".join([*BASE, *(["--vocab-size", "1000"] if "vocab" not in last else [])])
    loaded = shape_from_megatron(way.format(f"python pretrain_gpt.py {flags} {last} {end}"), name="x", where="run.sh")
    assert (loaded.shape.vocab_size, loaded.shape.num_hidden_layers) == (1024, 4)
    assert loaded.workload.get("micro_batch") == (2 if "micro" in last else None)
    assert loaded.shape.has_mlp_bias == ("bias" not in last)


def test_flags_behind_a_redirection_still_count() -> None:
    script = f"python x.py {' '.join(BASE)} > log 2>&1 --vocab-size 1000 --data-path <path> --kv-channels 128 --save <path to> --swiglu\n"
    shape = shape_from_megatron(script, name="x", where="run.sh").shape
    assert (shape.vocab_size, shape.head_dim, shape.is_gated) == (1024, 128, True)


def test_a_variable_of_several_commands_is_cut_at_each() -> None:
    script = f'run="cd $DIR && python x.py {" ".join(BASE)} --vocab-size 1000; python y.py --hidden-size 64"\neval $run\n'
    shape = shape_from_megatron(script, name="x", where="run.sh").shape
    assert (shape.hidden_size, shape.vocab_size) == (1024, 1024)


def test_values_that_are_too_many_are_not_joined() -> None:
    with pytest.raises(InputError, match=r"run.sh:1: --hidden-size is \[1024, 2\]; expected a positive integer"):
        shape_from_megatron(f"x.py {' '.join(BASE)} --hidden-size 1024 2", name="x", where="run.sh")
    loaded = shape_from_megatron(f"x.py {' '.join(BASE)} --micro-batch-size 2 3 --rampup-batch-size 16 16 5859", name="x", where="run.sh")
    assert dict(loaded.workload) == {}
    assert any("left out of the workload: micro_batch is [2, 3]" in note for note in loaded.notes)
    # What only the shell knows may be further flags or nothing.
    extra = shape_from_megatron(f"x.py {' '.join(BASE)} --vocab-size 1000 $MORE --swiglu $OPTIM $1", name="x", where="run.sh").shape
    assert (extra.vocab_size, extra.is_gated) == (1024, True)


@pytest.mark.parametrize(
    ("more", "workload"),
    [
        ("--checkpoint-activations", {"recompute": "full"}),
        ("--recompute-activations", {"recompute": "selective"}),
        ("--recompute-granularity full", {"recompute": "full"}),
        ("--use-distributed-optimizer", {"zero": 1}),
        ("--zero-stage=3 --deepspeed", {"zero": 3}),
        ("--expert-model-parallel-size 4", {"data_parallel": 4, "expert_parallel": 4}),
    ],
)
def test_flags_of_the_run_become_the_workload(more: str, workload: dict[str, object]) -> None:
    assert dict(shape_from_megatron(argv(*more.split()), name="x", where="arguments").workload) == workload


@pytest.mark.parametrize(
    ("words", "vocabulary", "note"),
    [
        (["--tokenizer-type", "Llama2Tokenizer"], 32000, "Llama2Tokenizer 32000"),
        (["--tokenizer-type", "Llama3Tokenizer"], 128256, "Llama3Tokenizer 128256"),
        (["pretrain_bert.py", "--vocab-file", "$V"], 30592, "BERT's vocabulary, since no other is named, 30522"),
    ],
)
def test_vocabularies_that_a_name_identifies(words: list[str], vocabulary: int, note: str) -> None:
    loaded = shape_from_megatron([*words, *BASE], name="x", where="arguments")
    assert loaded.shape.vocab_size == vocabulary
    assert any(note in text for text in loaded.notes)


def test_sums_that_are_not_of_integers_stay_unknown() -> None:
    for word in ("$((1 if 1 else 2))", "$((1if 1else 2))", "$((2**70))", "$((1/0))", "$((A.b))", "$((f(2)))"):
        with pytest.raises(InputError, match="which only the shell knows"):
            shape_from_megatron(f"x.py --num-layers 2 --num-attention-heads 2 --hidden-size {word}", name="x", where="run.sh")


def test_bert_is_an_encoder() -> None:
    shape = shape_from_megatron(
        ["pretrain_bert.py", *BASE, "--tokenizer-type", "BertWordPieceLowerCase"], name="x", where="arguments"
    ).shape
    assert (shape.kind, shape.num_token_types, shape.vocab_size) == ("encoder", 2, 30592)


def test_an_if_that_only_the_shell_can_decide_is_said() -> None:
    script = 'A="' + " ".join(argv()) + '"\nif [ -f "$X" ]; then\n  A+=" --swiglu"\nfi\ntorchrun pretrain_gpt.py $A\n'
    loaded = shape_from_megatron(script, name="x", where="run.sh")
    assert loaded.shape.is_gated
    assert any(note.startswith("run.sh:3: only the shell can decide") for note in loaded.notes)


def test_flags_that_are_left_out_are_said() -> None:
    notes = shape_from_megatron(argv("--mtp-num-layers", "1", "--context-parallel-size", "2", "--qk-l2-norm"), name="x", where="a").notes
    assert any("--context-parallel-size: left out: splitting sequences" in note for note in notes)
    assert any("--qk-l2-norm" in note for note in notes)


def test_fields_known_otherwise_stand_in_for_the_shells() -> None:
    script = (
        "pretrain_gpt.py --num-layers 4 --hidden-size $H --num-attention-heads 16 --seq-length 128 --tokenizer-type HuggingFaceTokenizer"
    )
    loaded = shape_from_megatron(script, name="x", where="run.sh", known={"hidden_size": 512, "vocab_size": 1000})
    assert (loaded.shape.hidden_size, loaded.shape.vocab_size, loaded.shape.max_position_embeddings) == (512, 1000, 128)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.py --hidden-size 64 --num-layers 2", "run.sh: --num-attention-heads is absent; add it"),
        ("\nx.py --num-layers 2 --num-attention-heads 2 \\\n --hidden-size $H", "run.sh:3: --hidden-size is '$H', which only"),
        ("x.py " + " ".join(argv("--hidden-size", "-64")), "run.sh:1: --hidden-size is -64; expected at least 1"),
        ("x.py " + " ".join(argv("--num-layers", "2.5")), "run.sh:1: num_hidden_layers is 2.5; expected a positive integer"),
        ("x.py " + " ".join(argv("--hidden-size", "1000")), "run.sh:1: num_attention_heads 16 does not divide hidden_size 1000"),
        ("x.py " + " ".join(argv("--normalization", "rmsnorm")), "run.sh:1: unknown --normalization 'rmsnorm'; did you mean RMSNorm"),
        ("x.py " + " ".join(argv("--swiglu", "3")), "run.sh:1: --swiglu is 3; expected true or false"),
        ("x.py " + " ".join([*BASE, "--tokenizer-type", "HuggingFaceTokenizer"]), "run.sh: --vocab-size is absent"),
        ("pretrain_t5.py " + " ".join(argv()), "run.sh: pretrain_t5.py means an encoder and a decoder, which does not apply"),
        ("x.py " + " ".join(argv("--hybrid-override-pattern", "M-M")), "run.sh:1: hybrid_override_pattern means state-space layers"),
        ("x.py " + " ".join(argv("--num-experts", "8", "--moe-layer-freq", "[0,0,1]")), "run.sh:1: --moe-layer-freq is '[0,0,1]'"),
        ("x.py " + " ".join(argv("--num-experts", "8", "--moe-layer-freq", "[1,1,0,1]")), "run.sh:1: --moe-layer-freq '[1,1,0,1]' is not"),
        ("x.py " + " ".join(argv("--num-experts", "8", "--moe-router-topk", "9")), "run.sh:1: num_experts_per_tok 9 exceeds num_experts 8"),
        ("A=1\nx.py '--hidden-size", "run.sh:2: the ' opened here never closes"),
        ("A=(\n--hidden-size 5\n", "run.sh:1: the ( opened here never closes"),
        ("if [ 1 ]; then\n" * 65 + "x.py --hidden-size 1", "run.sh:65: `if`s are nested more than 64 deep"),
        ("A=--hidden-size\n" + 'A="$A $A"\n' * 200 + "x.py $A\n", "run.sh: the script expands to too many words"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        shape_from_megatron(text, name="x", where="run.sh")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_nothing_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    script = (
        f"touch {marker}\nH=$(touch {marker}; echo 1024)\nL=`touch {marker}`\nx.py --hidden-size $H --num-layers 2 --num-attention-heads 2"
    )
    with pytest.raises(InputError, match="which only the shell knows"):
        shape_from_megatron(script, name="x", where="run.sh")
    assert not marker.exists()
