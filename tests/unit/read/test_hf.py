"""What the reader makes of Hugging Face configs, field by field, and how it refuses those that make no model."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from shapewright.errors import InputError
from shapewright.read.hf import FAMILIES, shape_from_hf
from shapewright.read.hf_names import ALIASES, ENCODER_DECODERS, NOT_COVERED, NOT_TRANSFORMERS
from shapewright.read.hf_parts import shortest_pattern
from shapewright.read.located import load_json
from shapewright.shape import LatentAttention, MixtureOfExperts, ModelShape

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 211, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 48, "n_layer": 2, "n_head": 4, "vocab_size": 211, "n_positions": 64}
FALCON = {"model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 211}
BERT = {
    "model_type": "bert", "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 211,
}  # fmt: skip


def read(config: dict[str, Any], **changes: Any) -> ModelShape:
    return shape_from_hf({**config, **changes}, name="tiny").shape


def fields_of(shape: ModelShape, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(shape, name) for name in names)


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_defaults_are_those_of_transformers(model_type: str):
    cls = type(transformers.AutoConfig.for_model(model_type))
    declared = {field.name: field.default for field in dataclasses.fields(cls)}
    for key, value in FAMILIES[model_type].defaults.items():
        if key in ("partial_rotary_factor", "rotary_pct"):  # kept among the rotary parameters
            assert cls().rope_parameters.get("partial_rotary_factor", 1.0) == value
        elif key in declared:
            assert declared[key] == value, key
        else:  # an optional key that the class does not declare
            assert value is None, key


def test_every_language_model_of_transformers_is_read_or_refused_by_name():
    placed = {*FAMILIES, *ALIASES, *ENCODER_DECODERS, *NOT_TRANSFORMERS, *NOT_COVERED}
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) | set(MODEL_FOR_MASKED_LM_MAPPING_NAMES) <= placed
    assert not NOT_COVERED & (set(FAMILIES) | set(ALIASES) | NOT_TRANSFORMERS | ENCODER_DECODERS)


def test_types_of_transformers_that_look_like_a_llama_are_never_read_as_one():
    for model_type, cls in transformers.CONFIG_MAPPING.items():
        declared = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
        if model_type in FAMILIES or model_type in ALIASES or "rms_norm_eps" not in declared:
            continue
        with pytest.raises(InputError):
            read(LLAMA, model_type=model_type)


def test_gpt2_multiplies_by_transposed_fused_biased_weights():
    shape = read(GPT2)
    assert fields_of(shape, "hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim") == (48, 2, 4, 12)
    assert fields_of(shape, "intermediate_size", "max_position_embeddings", "position_embedding") == (192, 64, "learned")
    assert fields_of(shape, "is_weight_transposed", "is_qkv_fused", "has_qkv_bias", "has_mlp_bias", "is_gated") == (True,) * 4 + (False,)
    assert fields_of(shape, "norm", "hidden_act", "tie_word_embeddings") == ("layernorm", "gelu_new", True)
    assert fields_of(shape, "attention_dropout", "hidden_dropout") == (0.1, 0.1)
    assert read(GPT2, n_inner=100).intermediate_size == 100


def test_llama_spellings_and_switches():
    shape = read(LLAMA, head_dim=20, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, attention_dropout=0.25)
    assert fields_of(shape, "head_dim", "has_qkv_bias", "has_attention_output_bias", "has_mlp_bias") == (20, True, True, True)
    assert fields_of(shape, "tie_word_embeddings", "attention_dropout", "norm", "is_gated") == (True, 0.25, "rmsnorm", True)
    assert read(LLAMA, num_key_value_heads=None).num_key_value_heads == 4


def test_falcon_generations():
    first = read(FALCON)
    assert fields_of(first, "num_key_value_heads", "is_parallel", "num_parallel_norms", "position_embedding") == (1, True, 1, "rotary")
    second = read(FALCON, new_decoder_architecture=True, num_kv_heads=2)
    assert fields_of(second, "num_key_value_heads", "is_parallel", "num_parallel_norms") == (2, True, 2)
    assert read(FALCON, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1).num_parallel_norms == 1
    plain = read(FALCON, alibi=True, multi_query=False, parallel_attn=False, bias=True)
    assert fields_of(plain, "num_key_value_heads", "is_parallel", "position_embedding", "has_mlp_bias") == (4, False, "alibi", True)
    assert [shape.has_fused_gqa for shape in (first, second, plain)] == [False, True, True]


def test_parallel_blocks():
    assert fields_of(read(GPT2, model_type="gptj", rotary_dim=8), "is_parallel", "num_parallel_norms", "rotary_dim") == (True, 1, 8)
    assert fields_of(read(LLAMA, model_type="gpt_neox"), "is_parallel", "num_parallel_norms", "rotary_dim") == (True, 2, 4)
    assert fields_of(read(LLAMA, model_type="phi"), "is_parallel", "num_parallel_norms", "rotary_dim") == (True, 1, 8)
    assert fields_of(read(LLAMA, model_type="cohere"), "is_parallel", "num_parallel_norms", "norm") == (True, 1, "layernorm_no_bias")
    assert not read(LLAMA, model_type="gpt_neox", use_parallel_residual=False).is_parallel


@pytest.mark.parametrize(
    "keys",
    [
        {"partial_rotary_factor": 0.75},
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.75}, "partial_rotary_factor": 0.5},
        {"rope_scaling": {"rope_type": "longrope", "partial_rotary_factor": 0.75}, "rope_parameters": {"partial_rotary_factor": 0.5}},
    ],
)
def test_rotary_share_under_each_spelling(keys: dict[str, Any]):
    assert read(LLAMA, model_type="phi3", **keys).rotary_dim == 12


def test_opt_350m_normalises_after_and_embeds_narrowly():
    opt = {**LLAMA, "model_type": "opt", "ffn_dim": 128, "do_layer_norm_before": False, "word_embed_proj_dim": 32}
    shape = read({key: value for key, value in opt.items() if key != "intermediate_size"})
    assert fields_of(shape, "norm_placement", "has_final_norm", "embedding_size", "intermediate_size") == ("post", False, 32, 128)
    assert fields_of(shape, "num_extra_positions", "max_position_embeddings", "hidden_act") == (2, 128, "relu")


def test_qwen_biases_queries_keys_and_values_only():
    assert fields_of(read(LLAMA, model_type="qwen2"), "has_qkv_bias", "has_attention_output_bias", "has_mlp_bias") == (True, False, False)


def test_norms_of_gemma_and_olmo():
    assert fields_of(read(LLAMA, model_type="gemma2"), "norm_placement", "qk_norm", "head_dim") == ("sandwich", None, 256)
    assert fields_of(read(LLAMA, model_type="gemma2"), "attention_softcap", "final_softcap") == (50.0, 30.0)
    assert fields_of(read(LLAMA, model_type="gemma3_text"), "norm_placement", "qk_norm") == ("sandwich", "head")
    assert fields_of(read(LLAMA, model_type="olmo2"), "norm_placement", "qk_norm") == ("post", "full")
    assert read(LLAMA, model_type="olmo").norm == "nonparametric"


def test_fused_projections():
    assert fields_of(read(LLAMA, model_type="phi3"), "is_qkv_fused", "is_gate_up_fused") == (True, True)
    assert fields_of(read(LLAMA), "is_qkv_fused", "is_gate_up_fused") == (False, False)
    for model_type in ("gpt_neox", "persimmon"):
        assert read(LLAMA, model_type=model_type).is_qkv_fused


@pytest.mark.parametrize(
    ("layers", "pattern"),
    [("ffff", "f"), ("sfsf", "sf"), ("sfsfs", "sf"), ("ssfss", "ssf"), ("ffs", "ffs"), ("ssssf", "ssssf"), ("s", "s"), ("fss", "fss")],
)
def test_shortest_pattern(layers: str, pattern: str):
    names = {"f": "full", "s": "sliding"}
    found = shortest_pattern([names[letter] for letter in layers])  # type: ignore[misc]
    assert "".join(name[0] for name in found) == pattern


@given(st.lists(st.sampled_from(["full", "sliding"]), min_size=1, max_size=24))
def test_pattern_reproduces_the_layers(layers: list[Any]):
    pattern = shortest_pattern(layers)
    assert [pattern[i % len(pattern)] for i in range(len(layers))] == layers


@pytest.mark.parametrize(
    ("model_type", "keys", "window", "pattern"),
    [
        ("mistral", {"sliding_window": 16}, 16, "s"),
        ("mistral", {"sliding_window": None}, None, "f"),
        ("qwen2", {"sliding_window": 16}, None, "f"),
        ("qwen2", {"sliding_window": 16, "use_sliding_window": True, "max_window_layers": 4}, 16, "ffffssss"),
        ("qwen3_moe", {"sliding_window": 16, "use_sliding_window": True}, 16, "s"),
        ("gemma2", {"sliding_window": 16}, 16, "sf"),
        ("gemma3_text", {"sliding_window": 16}, 16, "sssssf"),
        ("gemma3_text", {"sliding_window": 16, "sliding_window_pattern": 3}, 16, "ssf"),
        ("gemma3_text", {"sliding_window": 16, "layer_types": ["full_attention"] * 8}, None, "f"),
        ("gpt_oss", {}, 128, "sf"),
        ("smollm3", {"use_sliding_window": True, "sliding_window": 16}, 16, "fffs"),
        ("gpt_neo", {"attention_types": [[["global", "local"], 4]], "window_size": 16}, 16, "fs"),
    ],
)
def test_sliding_layers(model_type: str, keys: dict[str, Any], window: int | None, pattern: str):
    moe = {"num_experts": 4, "num_experts_per_tok": 2}
    shape = read(LLAMA, model_type=model_type, num_hidden_layers=8, **moe, **keys)
    assert shape.sliding_window == window
    assert "".join(name[0] for name in shape.attention_pattern) == pattern


def test_mixtures():
    keys = {"num_experts_per_tok": 2, "num_hidden_layers": 6}
    assert read(LLAMA, model_type="mixtral", num_local_experts=5, **keys).moe == MixtureOfExperts(
        num_experts=5, num_experts_per_tok=2, moe_intermediate_size=172
    )
    qwen = {**keys, "model_type": "qwen2_moe", "num_experts": 5, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40}
    assert read(LLAMA, **qwen, decoder_sparse_step=2, mlp_only_layers=[1]).moe == MixtureOfExperts(
        num_experts=5, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=40, has_shared_expert_gate=True,
        layer_step=2, first_k_dense=3,
    )  # fmt: skip
    oss = read(LLAMA, model_type="gpt_oss", num_local_experts=5, **keys)
    assert oss.moe == MixtureOfExperts(
        num_experts=5, num_experts_per_tok=2, moe_intermediate_size=172, has_router_bias=True, has_expert_bias=True
    )
    assert oss.has_attention_sinks
    with pytest.raises(InputError, match=r"mlp_only_layers is \[3\]; expected only layers below the first routed one"):
        read(LLAMA, **qwen, mlp_only_layers=[3])


def test_deepseek_latent_attention():
    keys = {
        "model_type": "deepseek_v3", "num_hidden_layers": 5, "q_lora_rank": None, "kv_lora_rank": 32, "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "n_shared_experts": 2, "first_k_dense_replace": 3, "head_dim": 8, "num_nextn_predict_layers": 1,
    }  # fmt: skip
    loaded = shape_from_hf({**LLAMA, **keys}, name="tiny")
    assert loaded.shape.latent_attention == LatentAttention(
        q_lora_rank=None, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12
    )
    assert fields_of(loaded.shape, "head_dim", "num_key_value_heads", "qk_head_dim") == (24, 4, 24)
    assert loaded.shape.moe == MixtureOfExperts(
        num_experts=8, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=48, first_k_dense=3
    )
    assert any("MTP" in note for note in loaded.notes)


def test_encoders():
    shape = read(BERT)
    assert fields_of(shape, "kind", "norm_placement", "has_final_norm", "has_embedding_norm") == ("encoder", "post", False, True)
    assert fields_of(shape, "has_lm_head_transform", "has_lm_head_bias", "num_token_types") == (True, True, 2)
    assert read(BERT, is_decoder=True).kind == "decoder"
    roberta = read(BERT, model_type="roberta", max_position_embeddings=66, type_vocab_size=1)
    assert fields_of(roberta, "max_position_embeddings", "num_extra_positions", "num_token_types") == (64, 2, 1)
    with pytest.raises(InputError, match="ELECTRA is covered only where they are equal"):
        read(BERT, model_type="electra", embedding_size=24)


def test_text_part_of_a_multimodal_config():
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    loaded = shape_from_hf({"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 8}}, name="gemma-3-4b")
    assert fields_of(loaded.shape, "hidden_size", "num_attention_heads", "vocab_size", "architecture") == (2560, 8, 262208, "gemma3_text")
    assert "only the text part of gemma3 is described" in loaded.notes[0]
    assert "num_attention_heads 8" in loaded.notes[1]


def test_text_part_without_a_type_of_its_own():
    inner = {key: value for key, value in LLAMA.items() if key != "model_type"}
    loaded = shape_from_hf({"model_type": "llava", "text_config": inner, "tie_word_embeddings": True}, name="tiny")
    assert fields_of(loaded.shape, "architecture", "tie_word_embeddings") == ("llama", True)


def test_unknown_type_with_the_keys_of_a_llama_says_so():
    loaded = shape_from_hf({**LLAMA, "model_type": "internlm2", "bias": True}, name="tiny")
    assert "'internlm2' is unknown: read as a Llama-like decoder" in loaded.notes[0]
    assert fields_of(loaded.shape, "architecture", "has_qkv_bias") == ("internlm2", True)


def test_notes_on_quantisation_and_heads():
    config = {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4}, "architectures": ["LlamaForSequenceClassification"]}
    notes = " ".join(shape_from_hf(config, name="tiny").notes)
    assert "quantization_config (gptq) is left out" in notes
    assert "LlamaForSequenceClassification" in notes


def test_lines_point_at_the_keys_of_the_file():
    text = json.dumps({**GPT2, "tie_word_embeddings": True}, indent=0)
    located = load_json(text, where="config.json")
    lines = shape_from_hf(located.values, name="tiny", lines=located.lines).lines
    rows = text.split("\n")
    assert rows[lines["hidden_size"] - 1].startswith('"n_embd"')
    assert rows[lines["num_attention_heads"] - 1].startswith('"n_head"')
    assert rows[lines["tie_word_embeddings"] - 1].startswith('"tie_word_embeddings"')
    assert "head_dim" not in lines


def test_lines_of_experts_and_nested_parts():
    text = json.dumps({"model_type": "any", "text_config": {**LLAMA, "model_type": "mixtral", "num_local_experts": 4}}, indent=0)
    located = load_json(text, where="config.json")
    lines = shape_from_hf(located.values, name="tiny", lines=located.lines).lines
    rows = text.split("\n")
    assert rows[lines["moe"] - 1].startswith('"num_local_experts"')
    assert rows[lines["vocab_size"] - 1].startswith('"vocab_size"')


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vocab_size", 50257.5, "vocab_size is 50257.5; expected a positive integer"),
        ("hidden_size", -3, "hidden_size is -3; expected a positive integer"),
        ("hidden_size", 0, "hidden_size is 0; expected a positive integer"),
        ("hidden_size", 10**18, "hidden_size is 1000000000000000000; expected at most 16777216"),
        ("num_hidden_layers", 10**9, "num_hidden_layers is 1000000000; expected at most 65536"),
        ("num_hidden_layers", "32", "num_hidden_layers is '32'; expected a positive integer"),
        ("num_attention_heads", True, "num_attention_heads is true; expected a positive integer"),
        ("intermediate_size", None, "intermediate_size is null; expected a positive integer"),
        ("intermediate_size", [172], "intermediate_size is [172]; expected a positive integer"),
        ("num_attention_heads", 3, "num_attention_heads 3 does not divide hidden_size 64; choose a divisor or give head_dim"),
        ("num_key_value_heads", 3,
         "num_key_value_heads 3 does not divide num_attention_heads 4; each key/value head serves a whole number of query heads"),
        ("attention_dropout", 1.5, "attention_dropout is 1.5; expected a probability from 0 to below 1"),
        ("attention_dropout", float("nan"), "attention_dropout is nan; expected a number"),
        ("tie_word_embeddings", "no", "tie_word_embeddings is 'no'; expected true or false"),
        ("hidden_act", {}, "hidden_act is {}; expected a name"),
        ("model_type", 3, "model_type is 3; expected a name such as llama"),
    ],
)  # fmt: skip
def test_one_line_names_the_key_its_line_and_the_remedy(key: str, value: object, message: str):
    config = {**LLAMA, key: value}
    located = load_json(json.dumps(config, indent=0), where="config.json")
    line = list(config).index(key) + 2
    with pytest.raises(InputError) as error:
        shape_from_hf(located.values, name="tiny", where="config.json", lines=located.lines)
    assert str(error.value) == f"config.json:{line}: {message}"


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_size_that_is_absent_is_no_default(key: str):
    with pytest.raises(InputError) as error:
        read({name: value for name, value in LLAMA.items() if name != key})
    assert str(error.value) == f"config.json: {key} is absent; expected a positive integer"


def test_messages_name_keys_as_the_file_does():
    with pytest.raises(InputError, match=r"^config\.json: n_embd is 48\.5; "):
        read(GPT2, n_embd=48.5)
    with pytest.raises(InputError, match=r"^config\.json: n_head 5 does not divide n_embd 48; choose a divisor$"):
        read(GPT2, n_head=5)
    with pytest.raises(InputError, match="n_embd is 48 but hidden_size is 64; both name the same thing: keep one"):
        read(GPT2, hidden_size=64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "t5 is an encoder-decoder; shapewright covers decoder-only and encoder-only transformers"),
        ({"is_encoder_decoder": True}, "llama is an encoder-decoder"),
        ({"add_cross_attention": True}, "half of an encoder-decoder"),
        ({"model_type": "mamba2"}, "mamba2 is not a transformer throughout"),
        ({"model_type": "qwen3_next"}, "qwen3_next is not a transformer throughout"),
        ({"model_type": "gemma3n_text"}, "model_type 'gemma3n_text' is not covered; known: bert, "),
        ({"model_type": "lama", "rms_norm_eps": None, "num_local_experts": 8}, "did you mean llama? known: bert, "),
        ({"model_type": None}, "model_type is absent; name the architecture; known: bert, "),
        ({"per_layer_config": {"0": {"head_dim": 8}}}, "layers of different widths are not covered"),
        ({"model_type": "qwen3", "layer_types": ["linear_attention", "full_attention"]}, "layer_types holds 'linear_attention'"),
        ({"model_type": "qwen3", "layer_types": ["full_attention"]}, "layer_types describes 1 layers; num_hidden_layers is 2"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 4}, "expected at most num_local_experts = 2"),
    ],
)
def test_what_is_not_covered_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(InputError) as error:
        read(LLAMA, **changes)
    assert message in str(error.value)


ODD = st.sampled_from(
    [None, True, False, 0, -1, 1, 3, 7, 10**18, -(10**18), 10**400, 0.5, 1e308, float("inf"), float("nan"), "", "32", "\ud800", "x" * 500,
     [], [[]], {}, [None], {"a": 1}, [["global"], 10**9], [[["local"], 10**9]], [0, 1]]
)  # fmt: skip
KEYS = sorted({key for family in FAMILIES.values() for keys in family.keys.values() for key in keys} | {
    key for family in FAMILIES.values() for key in family.defaults
} | {"layer_types", "rope_parameters", "rope_scaling", "text_config", "quantization_config", "architectures", "model_type"})  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted({*FAMILIES, *ALIASES, "unheard-of"})), st.dictionaries(st.sampled_from(KEYS), ODD, max_size=5))
def test_any_values_give_a_shape_or_an_input_error(model_type: str, changes: dict[str, Any]):
    config = {**LLAMA, "n_embd": 64, "n_layer": 2, "n_layers": 2, "n_head": 4, "n_heads": 4, "d_model": 64, "dim": 64, "ffn_dim": 172}
    config |= {"model_type": model_type} | changes
    try:
        assert isinstance(shape_from_hf(config, name="fuzz").shape, ModelShape)
    except InputError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
        str(error).encode()


def test_experts_of_a_token_in_either_spelling():
    mixtral = {**LLAMA, "model_type": "mixtral", "num_local_experts": 8}
    assert read(mixtral, num_experts_per_token=3) == read(mixtral, num_experts_per_tok=3)
    with pytest.raises(InputError, match="num_experts_per_tok is 2 but num_experts_per_token is 3; both name the same thing"):
        read(mixtral, num_experts_per_tok=2, num_experts_per_token=3)


def test_a_misspelled_key_whose_default_is_taken_is_said():
    located = load_json(
        json.dumps({**LLAMA, "num_key_value_head": 1, "num_key_value_heads": 2, "attention_biases": True}, indent=1), where="c"
    )
    notes = shape_from_hf(located.values, name="tiny", where="c", lines=located.lines).notes
    assert notes == ("c:12: 'attention_biases' is not read; is attention_bias meant? its default is taken",)


@pytest.mark.parametrize("model_type", sorted(set(FAMILIES) - {"electra", "deepseek_v2"}))
def test_no_key_of_transformers_itself_looks_misspelled(model_type: str):
    config = transformers.AutoConfig.for_model(model_type).to_dict()
    assert not [note for note in shape_from_hf(config, name="tiny").notes if "is not read" in note]
