"""The catalogue: what is in it, how it is found, and that the textual look-up agrees with what TOML says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from shapewright.errors import InputError
from shapewright.read import catalogue

FOLDER = Path(catalogue.__file__).parent
FILES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}
ENTRIES = [(family, name, table) for family, tables in FILES.items() for name, table in tables.items()]
KEYS = {"hub", "aliases", "source", "note", "base", "null", "config", "shape"}

#: Every model that the paper names, and the families of today that must be there.
REQUIRED = """
gpt2 gpt2-medium gpt2-large gpt2-xl
gpt3-125m gpt3-350m gpt3-760m gpt3-1.3b gpt3-2.7b gpt3-6.7b gpt3-13b gpt3-175b codex-12b c1 c2 ours-1 ours-2 mt-nlg-530b palm-540b
opt-125m opt-350m opt-1.3b opt-2.7b opt-6.7b opt-13b opt-30b opt-66b
gpt-neo-1.3b gpt-neo-2.7b gpt-j-6b gpt-neox-20b cerebras-gpt-2.7b redpajama-incite-3b redpajama-incite-7b
pythia-14m pythia-31m pythia-70m pythia-160m pythia-410m pythia-1b pythia-1.4b pythia-2.8b pythia-6.9b pythia-12b
llama-7b llama-13b llama-30b llama-65b llama-2-7b llama-2-13b llama-2-70b llama-3-8b llama-3-70b
llama-3.1-8b llama-3.1-70b llama-3.1-405b llama-3.2-1b llama-3.2-3b llama-3.3-70b tinyllama-1.1b
mistral-7b mistral-7b-v0.3 mistral-nemo-12b mixtral-8x7b mixtral-8x22b
qwen2-7b qwen2.5-0.5b qwen2.5-1.5b qwen2.5-3b qwen2.5-7b qwen2.5-14b qwen2.5-32b qwen2.5-72b qwen1.5-moe-a2.7b qwen2-57b-a14b
qwen3-0.6b qwen3-1.7b qwen3-4b qwen3-8b qwen3-14b qwen3-32b qwen3-30b-a3b qwen3-235b-a22b
gemma-2b gemma-7b gemma-2-2b gemma-2-9b gemma-2-27b gemma-3-1b gemma-3-4b gemma-3-12b gemma-3-27b
phi-1.5 phi-2 phi-3-mini phi-3-medium phi-4 falcon-rw-1b falcon-7b falcon-40b
olmo-1b olmo-7b olmo-2-1b olmo-2-7b olmo-2-13b olmo-2-32b olmoe-1b-7b deepseek-v2-lite deepseek-v2 deepseek-v3 gpt-oss-20b gpt-oss-120b
smollm-135m smollm-360m smollm-1.7b smollm2-135m smollm2-360m smollm2-1.7b smollm3-3b stablelm-3b
starcoder2-3b starcoder2-7b starcoder2-15b bloom-560m bloom-7b1 mpt-7b
bert-base-uncased bert-large-uncased roberta-base roberta-large
""".split()  # noqa: SIM905


def test_required_models_are_there() -> None:
    assert set(REQUIRED) <= set(catalogue.names())


def test_textual_lookup_finds_what_toml_says() -> None:
    assert list(catalogue.names()) == [name for _, name, _ in ENTRIES]


@pytest.mark.parametrize(("family", "name", "table"), ENTRIES, ids=[name for _, name, _ in ENTRIES])
def test_entry_is_complete(family: str, name: str, table: dict[str, Any]) -> None:
    assert set(table) <= KEYS
    assert table["source"].startswith("https://")
    assert name == name.lower()
    assert not ("config" in table and "shape" in table)
    entry = catalogue.describe(name)
    assert (entry.name, entry.family, entry.source) == (name, family, table["source"])
    assert (entry.hub, entry.note) == (table.get("hub"), table.get("note"))
    assert entry.aliases == tuple(table.get("aliases", ()))
    for other in (table.get("hub"), *table.get("aliases", ())):
        assert other is None or catalogue.describe(other.upper()) == entry


@pytest.mark.parametrize("name", catalogue.names())
def test_entry_loads(name: str) -> None:
    loaded = catalogue.load(name)
    assert loaded.shape.name == name
    assert loaded.origin == "catalogue"
    assert loaded.shape.num_params >= loaded.shape.num_active_params > 0
    note = catalogue.describe(name).note
    assert note is None or note in loaded.notes


def test_one_load_reads_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue.names()
    parsed: list[str] = []
    loads = tomllib.loads

    def recording_loads(text: str) -> dict[str, Any]:
        parsed.append(text)
        return loads(text)

    monkeypatch.setattr(tomllib, "loads", recording_loads)
    catalogue.load("llama-2-7b")
    assert [list(loads(text)) for text in parsed] == [["llama-2-7b"]]


@pytest.mark.parametrize("name", ["llama-2-7b", "Llama-2-7B", "meta-llama/llama-2-7b-HF", "meta-llama/Llama-2-7b-chat-hf", "llama2-7b"])
def test_short_name_alias_and_hub_id_in_any_case(name: str) -> None:
    assert catalogue.is_known(name)
    assert catalogue.load(name).shape.name == "llama-2-7b"


@pytest.mark.parametrize(("wrong", "right"), [("lama-2-7b", "llama-2-7b"), ("pythia-2.7b", "pythia-2.8b"), ("mixtral8x7b", "mixtral-8x7b")])
def test_unknown_name_offers_the_nearest(wrong: str, right: str) -> None:
    assert not catalogue.is_known(wrong)
    with pytest.raises(InputError, match="unknown model") as caught:
        catalogue.load(wrong)
    assert right in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["", "\0", 'x"]\n["gpt2', "../gpt2", "gpt2.toml", "a" * 10_000])
def test_hostile_names_are_unknown_names(wrong: str) -> None:
    with pytest.raises(InputError, match="unknown model"):
        catalogue.load(wrong)


@pytest.mark.parametrize(("name", "heads"), [("gpt3-2.7b", 32), ("c1", 64), ("c2", 40), ("ours-1", 20), ("ours-2", 10)])
def test_shapes_of_figure_1(name: str, heads: int) -> None:
    shape = catalogue.load(name).shape
    assert (shape.hidden_size, shape.num_hidden_layers, shape.vocab_size, shape.intermediate_size) == (2560, 32, 50257, 10240)
    assert (shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim) == (heads, heads, 2560 // heads)
    assert shape.is_qkv_fused
    assert not shape.is_gated
    assert shape.position_embedding == "learned"


def test_what_the_paper_never_defines_is_marked() -> None:
    for name in ("ours-2", "codex-12b"):
        assert "inferred" in (catalogue.describe(name).note or "")


def test_released_gpt_neo_has_20_heads_and_the_others_of_its_size_32() -> None:
    expected = {"gpt-neo-2.7b": 20, "opt-2.7b": 32, "pythia-2.8b": 32, "cerebras-gpt-2.7b": 32, "redpajama-incite-3b": 32}
    assert {name: catalogue.load(name).shape.num_attention_heads for name in expected} == expected


def test_null_in_a_config_is_not_a_default() -> None:
    assert catalogue.load("mistral-7b").shape.attention_pattern == ("sliding",)
    assert catalogue.load("mistral-7b-v0.3").shape.attention_pattern == ("full",)
    latent = catalogue.load("deepseek-v2-lite").shape.latent_attention
    assert latent is not None
    assert latent.q_lora_rank is None


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("gemma-3-27b", {"sliding+dense": 52, "full+dense": 10}),
        ("gpt-oss-120b", {"sliding+moe": 18, "full+moe": 18}),
        ("deepseek-v3", {"full+moe": 58, "full+dense": 3}),
        ("gpt-neo-1.3b", {"full+dense": 12, "sliding+dense": 12}),
        ("mixtral-8x7b", {"full+moe": 32}),
    ],
)
def test_kinds_of_layer(name: str, kinds: dict[str, int]) -> None:
    assert {kind.name: kind.count for kind in catalogue.load(name).shape.layer_kinds} == kinds
