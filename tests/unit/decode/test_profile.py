"""Measuring tiles: what is tried, how the best is found, and the file it goes to. The clock is replaced: no GPU is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.decode import profile
from shapewright.decode.dispatch import Dispatch, Entry, Hardware, Table, known_table, load_table
from shapewright.decode.families import read_decoder
from shapewright.decode.profile import candidates, place, profile_decoder, step_products, write_table
from shapewright.decode.tile import Tile
from shapewright.errors import InputError, MissingError
from unit.decode.tiny import tiny_llama, tiny_opt


def entry(n: int, rows: int, tile: Tile) -> Entry:
    return Entry(epilogue="qkv", n=n, k=64, dtype="bfloat16", rows=rows, tile=tile, step_s=1e-3)


@pytest.mark.parametrize(
    ("rows", "kernels"),
    [
        (1, {"gemv", "direct"}),
        (2, {"gemv", "flat", "direct"}),
        (4, {"flat", "direct"}),
        (8, {"flat", "direct", "library"}),
        (16, {"flat", "library"}),
        (17, {"flat", "library"}),
        (64, {"flat", "library"}),
    ],
)
def test_candidates_are_of_kernels_that_take_so_many_rows(rows: int, kernels: set[str]) -> None:
    tiles = candidates(rows)
    assert len(set(tiles)) == len(tiles) >= 3
    assert {tile.kernel for tile in tiles} == kernels
    assert {tile.block_m for tile in tiles if tile.kernel == "flat"} <= {next(m for m in (8, 16, 32, 64) if rows <= m)}


def test_each_product_gets_the_tile_of_the_fastest_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's time is a sum over its products of how far each tile is from its own best: descent finds all of them."""
    tiles = candidates(1)
    decoder = read_decoder(tiny_llama())

    def step_s(decoder_: object, buffers: object, choices: profile.Chosen) -> float:
        found = {product.epilogue: choices.tiles[place(product)] for product in step_products(decoder)}
        away = [0 if tile.stages == 4 and tile.norm_apart == (epilogue == "qkv") else 1 for epilogue, tile in found.items()]
        return 1.0 + sum(away)

    monkeypatch.setattr(profile, "_step_s", step_s)
    table = profile_decoder(decoder, rows=(1,))
    assert {each.epilogue: each.tile.norm_apart for each in table.entries}["qkv"]
    assert all(each.tile.stages == 4 and each.tile in [*tiles, *(_apart(tile) for tile in tiles)] for each in table.entries)
    assert {each.rows for each in table.entries} == {1}
    assert {each.step_s for each in table.entries} == {1.0}


def test_a_late_start_is_tried_of_the_tile_that_won(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the widest product's alone, and not of the tile that was the best for all products at once."""
    decoder = read_decoder(tiny_llama())

    def step_s(decoder_: object, buffers: object, choices: profile.Chosen) -> float:
        found = {product.epilogue: choices.tiles[place(product)] for product in step_products(decoder)}
        away = [tile.stages != (4 if epilogue == "gated" else 7) for epilogue, tile in found.items()]
        return 1.0 + sum(away) + (not found["gated"].late)

    monkeypatch.setattr(profile, "_step_s", step_s)
    table = profile_decoder(decoder, rows=(4,))
    assert {each.epilogue: (each.tile.stages, each.tile.late) for each in table.entries} == {
        "qkv": (7, False), "residual": (7, False), "gated": (4, True), "logits": (7, False),
    }  # fmt: skip


def test_the_luckiest_trial_is_not_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds seven stages anywhere takes 5 % less the first time that it is tried, and more from then on."""
    decoder = read_decoder(tiny_llama())
    seen = set()

    def step_s(decoder_: object, buffers: object, choices: profile.Chosen) -> float:
        tiles = tuple(choices.tiles.items())
        is_lucky = tiles not in seen and any(tile.stages == 7 for _, tile in tiles)
        seen.add(tiles)
        return 1.0 + 0.01 * sum(tile.stages != 5 or tile.kernel != "flat" for _, tile in tiles) - 0.05 * is_lucky

    monkeypatch.setattr(profile, "_step_s", step_s)
    table = profile_decoder(decoder, rows=(4,))
    assert {(each.tile.kernel, each.tile.stages) for each in table.entries} == {("flat", 5)}


def _apart(tile: Tile) -> Tile:
    return Tile(**{name: getattr(tile, name) for name in tile.__dataclass_fields__} | {"norm_apart": True})


def test_the_time_limit_leaves_out_what_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_step_s", lambda *_: 1.0)
    assert profile_decoder(read_decoder(tiny_opt()), rows=(1, 2), time_limit_s=-1).entries == ()


def test_a_table_is_added_to_and_another_gpus_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_table(Table(gpu="NVIDIA A", entries=(entry(64, 1, Tile(kernel="gemv", block_n=2)), entry(96, 1, Tile(kernel="gemv")))), path)
    write_table(Table(gpu="NVIDIA A", entries=(entry(64, 1, Tile(kernel="gemv", block_n=8)),)), path)
    assert {(each.n, each.tile.block_n) for each in load_table(path).entries} == {(64, 8), (96, 1)}
    before = path.read_text()
    with pytest.raises(InputError, match="of NVIDIA A, not of NVIDIA B"):
        write_table(Table(gpu="NVIDIA B"), path)
    assert path.read_text() == before


@pytest.mark.parametrize("text", ["", "[]", '{"gpu": "x"}', '{"gpu": "x", "versions": {}, "entries": [{"n": 1}]}', "\x00"])
def test_a_file_that_is_no_table_is_named_and_kept(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no table of decode kernels"):
        write_table(Table(gpu="NVIDIA A"), path)
    assert path.read_text() == text


def test_the_users_table_comes_before_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAPEWRIGHT_RUNS", str(tmp_path))
    shipped = known_table("NVIDIA H200")
    first = shipped.entries[0]
    mine = Tile(kernel="gemv", block_n=64, block_k=16)
    own = Entry(epilogue=first.epilogue, norm=first.norm, n=first.n, k=first.k, dtype=first.dtype, rows=first.rows, tile=mine, step_s=1.0)
    write_table(Table(gpu="NVIDIA H200", entries=(own,)), tmp_path / "decode-table.json")
    assert mine in [each.tile for each in known_table("NVIDIA H200").entries]
    assert len(known_table("NVIDIA H200").entries) == len(shipped.entries)
    # Another GPU's choices say nothing about this one.
    assert Dispatch(Hardware(name="NVIDIA Z")).table.entries == ()


@pytest.mark.parametrize("rows", [0, 65])
def test_batches_that_run_plain_are_refused_before_anything_is_built(rows: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--batch holds {rows}"):
        profile.profile("llama-2-7b", rows=(1, rows), out=tmp_path / "table.json")


@pytest.mark.parametrize(
    ("model", "dtype", "says"),
    [
        ("mixtral-8x7b", "bf16", "mixtral-8x7b is of the family mixtral, which runs plain; expected one of llama, mistral"),
        ("llama-2-7b", "fp32", "unknown dtype 'fp32'"),
        ("llama-2-7b", "bf16", "this is no table of decode kernels"),
    ],
)
def test_bad_input_comes_before_the_gpu(model: str, dtype: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("hello")
    with pytest.raises(InputError, match=says):
        profile.profile(model, out=tmp_path / "table.json", dtype=dtype)


def test_without_a_gpu_nobody_is_sent_to_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MissingError, match="torch finds no GPU") as caught:
        profile.profile("llama-2-7b", out=tmp_path / "table.json")
    assert "--device cpu" not in str(caught.value)
