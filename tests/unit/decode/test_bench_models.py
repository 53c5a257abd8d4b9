"""Models of the bench: built as named, sane and seeded; positions raised where they must be; twins share weights and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from shapewright.decode.bench_models import BenchModel, build_model, recipe_for, twin
from shapewright.errors import InputError
from shapewright.measure.devices import open_device

from .bench_fakes import LLAMA, OPT, config_file


def built(folder: Path, fields: object = LLAMA, positions: int = 16) -> BenchModel:
    name = config_file(folder, fields)  # pyright: ignore[reportArgumentType]
    return build_model(recipe_for(name), open_device("cpu"), name=name, dtype="fp32", positions=positions)


def test_learned_positions_are_raised_and_said(tmp_path: Path) -> None:
    assert built(tmp_path, OPT).positions_raised_to is None
    longer = built(tmp_path, OPT, positions=40)
    assert longer.positions_raised_to == longer.model.config.max_position_embeddings == 40
    longer.model(torch.zeros(1, 40, dtype=torch.int64))  # one row less, and this is an IndexError


def test_rotary_positions_are_never_raised(tmp_path: Path) -> None:
    assert built(tmp_path, positions=1000).positions_raised_to is None


def test_tables_of_learned_positions_that_cells_exceed() -> None:
    assert recipe_for("opt-6.7b").shape.max_position_embeddings == 2048
    assert recipe_for("gpt2").shape.max_position_embeddings == 1024


def test_weights_are_seeded_and_logits_of_their_usual_size(tmp_path: Path) -> None:
    ids = torch.arange(12)[None]
    one, other = (built(tmp_path).model(ids).logits for _ in range(2))
    assert torch.equal(one, other)
    assert one.isfinite().all() and 1e-3 < float(one.std()) < 10


def test_generation_is_greedy_and_never_ends_by_itself(tmp_path: Path) -> None:
    model = built(tmp_path).model
    assert model.generate(torch.zeros(2, 3, dtype=torch.int64), max_new_tokens=20).shape == (2, 23)
    assert not model.generation_config.do_sample and model.generation_config.eos_token_id is None


def test_a_twin_shares_weights_alone(tmp_path: Path) -> None:
    model = built(tmp_path).model
    other = twin(model)
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(model.parameters(), other.parameters(), strict=True))
    other.set_attn_implementation("eager")
    other.generation_config.max_new_tokens = 3
    assert model.config._attn_implementation == "sdpa" and model.generation_config.max_new_tokens is None
    assert other.model.layers[0] is not model.model.layers[0]


def test_a_cached_hub_id_is_its_own_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--some--model" / "snapshots" / "abcdef0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert recipe_for("some/model").model_type == "llama"


def test_encoders_are_refused() -> None:
    with pytest.raises(InputError, match="is an encoder"):
        recipe_for("bert-base-uncased")
