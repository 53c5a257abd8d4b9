"""A model's name and changes as config fields: what moves along, what is refused, what a smaller depth keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shapewright.errors import InputError
from shapewright.measure.hf_fields import parse_changes, recipe_of, resized, shape_of
from shapewright.read.resolve import load_shape


def test_values_of_changes() -> None:
    assert parse_changes("") == {}
    assert parse_changes("a=10922, b=0.25 ,c=true,d=null,e=gelu_new,f=-1") == {
        "a": 10922, "b": 0.25, "c": True, "d": None, "e": "gelu_new", "f": -1,
    }  # fmt: skip


@pytest.mark.parametrize(("text", "named"), [("10922", "'10922'"), ("a=", "'a='"), ("a=1,a=2", "a is changed twice")])
def test_text_that_is_no_change_is_refused(text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        parse_changes(text)


def test_a_change_is_written_under_the_configs_own_key() -> None:
    assert recipe_of("gpt2-xl", "hidden_size=1536,num_attention_heads=24").values["n_embd"] == 1536
    assert recipe_of("opt-1.3b", "hidden_size=1024").values["word_embed_proj_dim"] == 1024
    assert recipe_of("llama-2-7b", "intermediate_size=10922").shape.intermediate_size == 10922


@pytest.mark.parametrize(
    "model", ["llama-2-7b", "gpt2-xl", "pythia-1b", "opt-2.7b", "phi-2", "gemma-2b", "qwen2-7b", "falcon-7b", "bloom-560m"]
)
def test_the_shape_is_that_of_the_reader_with_the_same_overrides(model: str) -> None:
    own = load_shape(model)
    heads = own.num_attention_heads * 2 if own.head_dim % 4 == 0 and own.head_dim * own.num_attention_heads == own.hidden_size else None
    changes = {"num_attention_heads": heads} if heads else {"num_hidden_layers": 5}

    found = shape_of(model, ",".join(f"{name}={value}" for name, value in changes.items()))

    assert found == load_shape(model, **changes)


def test_a_key_of_the_config_may_be_changed_too() -> None:
    assert not recipe_of("pythia-1b", "use_parallel_residual=false").shape.is_parallel


def test_gpt3_becomes_a_sequential_neox_without_dropout() -> None:
    recipe = recipe_of("gpt3-2.7b", "num_attention_heads=20")

    assert recipe.model_type == "gpt_neox"
    assert (recipe.shape.head_dim, recipe.shape.is_parallel, recipe.shape.hidden_dropout) == (128, False, 0.0)
    assert recipe.shape.position_embedding == "rotary"
    assert any("rotary positions in place of learned ones" in note for note in recipe.notes)


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ("lama-2-7b", "", "did you mean llama-2-7b"),
        ("llama-2-7b", "intermediat_size=5", "did you mean intermediate_size"),
        ("llama-2-7b", "model_type=gpt2", "unknown field of llama 'model_type'"),
        ("llama-2-7b", "hidden_size=-4", "hidden_size is -4"),
        ("llama-2-7b", "num_attention_heads=48", "does not divide hidden_size"),
        ("llama-2-7b", "is_parallel=true", "is_parallel of llama cannot be True"),
        ("palm-540b", "", "source reference"),
    ],
)
def test_what_cannot_be_built_is_refused(model: str, changes: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        recipe_of(model, changes)


def test_a_config_file_without_what_concerns_only_its_checkpoint(tmp_path: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 128,
              "vocab_size": 99, "quantization_config": {"quant_method": "fp8"}, "auto_map": {"AutoModel": "evil.py"}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))

    recipe = recipe_of(str(tmp_path / "config.json"))

    assert recipe.shape.hidden_size == 64
    assert not {"quantization_config", "auto_map", "model_type"} & recipe.values.keys()
    assert any("quantization_config" in note for note in recipe.notes)
    assert recipe_of(str(tmp_path)).shape.vocab_size == 99


def test_a_config_of_unknown_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "lama"}))
    with pytest.raises(InputError, match="did you mean llama"):
        recipe_of(str(tmp_path / "config.json"))


def test_another_depth_keeps_the_kinds_of_layer_and_room_for_positions() -> None:
    neo = resized(recipe_of("gpt-neo-1.3b"), num_layers=6, vocab_size=256)
    assert [neo.shape.layer_attention(i) for i in range(4)] == ["full", "sliding", "full", "sliding"]
    oss = resized(recipe_of("gpt-oss-20b"), num_layers=3)
    assert oss.values["layer_types"] == ["sliding_attention", "full_attention", "sliding_attention"]
    gpt2 = resized(recipe_of("gpt2"), num_layers=2, vocab_size=256, positions=2048)
    assert (gpt2.shape.num_hidden_layers, gpt2.shape.vocab_size, gpt2.shape.max_position_embeddings) == (2, 256, 2048)
    assert resized(recipe_of("gpt2"), positions=12).shape == recipe_of("gpt2").shape
