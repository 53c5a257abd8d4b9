"""Which tile a product takes: from a table, from its nearest kin, from defaults; and that whatever is taken can run the product."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import shapewright.decode.dispatch as dispatch_module
from shapewright.decode.dispatch import Dispatch, Entry, Hardware, Table, default_tile, hardware_of, read_table, shipped_table
from shapewright.decode.layers import Linear, Norm
from shapewright.decode.products import Epilogue, Product
from shapewright.decode.tile import AttentionTile, Tile
from unit.decode.kernels.plain import Case, check_product
from unit.decode.kernels.small import attention_of

H200 = Hardware(name="NVIDIA H200", multiprocessors=132, is_nvidia=True, can_overlap=True)
A100 = Hardware(name="NVIDIA A100", multiprocessors=108, is_nvidia=True)
MI300 = Hardware(name="AMD Instinct MI300X", multiprocessors=304)
NONE = Hardware()
GEMV = Tile(kernel="gemv", block_n=4, block_k=1024, stages=4)
FLAT = Tile(kernel="flat", block_m=16, block_n=16, block_k=256, stages=3, splits=2, warps=1)
DIRECT = Tile(kernel="direct", block_n=16, stages=8, warps=1)
LIBRARY = Tile(kernel="library")


def entry(n: int, k: int, rows: int, tile: Tile = GEMV, *, epilogue: str = "residual", dtype: str = "bfloat16") -> Entry:
    return Entry(epilogue=epilogue, n=n, k=k, dtype=dtype, rows=rows, tile=tile, step_s=1e-3)


def product_of(
    *n: int,
    k: int,
    dtype: torch.dtype = torch.bfloat16,
    transposed: bool = False,
    epilogue: Epilogue = "residual",
    norm: Norm | None = None,
) -> Product:
    """Of that size; nothing is allocated."""
    shapes = [(k, each) if transposed else (each, k) for each in n]
    parts = tuple(Linear(weight=torch.empty(shape, dtype=dtype, device="meta"), transposed=transposed) for shape in shapes)
    return Product(epilogue=epilogue, parts=parts, norm=norm)


def tile_of(table: Table, product: Product, dtype: str, rows: int) -> Tile | None:
    """Of what was measured."""
    nearest = table.nearest(product, dtype, rows)
    return None if nearest is None else nearest.tile


def test_the_measured_tile_else_that_of_the_nearest() -> None:
    """Nearest in n · k, whichever side is longer."""
    tiles = [replace(GEMV, block_n=size) for size in (1, 2, 4)]
    table = Table(entries=tuple(entry(n, 4096, 1, tile) for n, tile in zip((4096, 11008, 32000), tiles, strict=True)))
    assert [tile_of(table, product_of(n, k=4096), "bfloat16", 1) for n in (4096, 11008, 32000)] == tiles
    assert tile_of(table, product_of(4096, k=10000), "bfloat16", 1) == tiles[1]
    assert tile_of(table, product_of(64, k=64), "bfloat16", 1) == tiles[0]
    assert tile_of(table, product_of(10**6, k=10**4), "bfloat16", 1) == tiles[2]
    # By ratio, not by difference: 4096 · 6400 is nearer to 4096 · 4096 than to 11008 · 4096.
    assert tile_of(table, product_of(4096, k=6400), "bfloat16", 1) == tiles[0]


def test_the_same_norm_before_the_nearest_size() -> None:
    """An RMS norm can be folded into a product on the matrix units, a layer norm cannot: what is best for one says less of the other."""
    weight = torch.empty(64, device="meta")
    rms, layer = (Norm(kind=kind, weight=weight, eps=1e-5) for kind in ("rms", "layer"))
    far, near = replace(GEMV, block_n=1), replace(GEMV, block_n=2)
    table = Table(entries=(replace(entry(4096, 64, 1, far), norm="rms"), replace(entry(64, 64, 1, near), norm="layer")))
    assert tile_of(table, product_of(64, k=64, norm=rms), "bfloat16", 1) == far
    assert tile_of(table, product_of(64, k=64, norm=layer), "bfloat16", 1) == near
    # Fewer rows count for more than the norm.
    more = table.merged([replace(entry(64, 64, 2, FLAT), norm="none")])
    assert tile_of(more, product_of(64, k=64), "bfloat16", 1) == near
    assert len(table.merged([replace(entry(64, 64, 1, far), norm="none")]).entries) == 3


def test_a_product_that_a_norm_follows_takes_what_was_measured_before_that_norm() -> None:
    """Of entries of one size that of its norm, then one of none (tables of before had no others), then any."""
    of_norm = {norm: replace(entry(64, 64, 1, replace(GEMV, block_n=n)), norm=norm) for n, norm in enumerate(("none", "rms", "layer"), 1)}

    def chosen(*norms: str) -> int:
        product = replace(product_of(64, k=64), norm_after="rms")
        tile = tile_of(Table(entries=tuple(of_norm[norm] for norm in norms)), product, "bfloat16", 1)
        assert tile is not None
        return tile.block_n

    assert [chosen("none", "rms", "layer"), chosen("layer", "none"), chosen("layer")] == [2, 1, 3]


def test_rows_between_two_measured_numbers_take_the_larger() -> None:
    tiles = {rows: replace(FLAT, stages=rows) for rows in (1, 4, 16)}
    table = Table(entries=tuple(entry(64, 64, rows, tile) for rows, tile in tiles.items()))
    found = [tile_of(table, product_of(64, k=64), "bfloat16", rows) for rows in (1, 2, 3, 4, 5, 16)]
    assert found == [tiles[rows] for rows in (1, 4, 4, 4, 16, 16)]
    assert tile_of(table, product_of(64, k=64), "bfloat16", 17) is None


def test_another_epilogue_or_dtype_is_no_kin() -> None:
    table = Table(entries=(entry(64, 64, 1),))
    assert tile_of(table, product_of(64, k=64, epilogue="gated"), "bfloat16", 1) is None
    assert tile_of(table, product_of(64, k=64), "float16", 1) is None
    assert tile_of(Table(), product_of(64, k=64), "bfloat16", 1) is None


def test_merged_tables_keep_what_is_not_measured_again() -> None:
    old = Table(gpu="X", entries=(entry(64, 64, 1), entry(64, 64, 2), entry(64, 32, 1)), versions={"torch": "2"})
    again = entry(64, 64, 2, LIBRARY)
    both = old.merged([again, entry(8, 8, 1)])
    assert set(both.entries) == {old.entries[0], old.entries[2], again, entry(8, 8, 1)}
    assert (both.gpu, both.versions) == ("X", {"torch": "2"})


def test_a_table_written_is_the_table_read() -> None:
    """One entry a line, in the same order whatever order they came in."""
    tiles = [GEMV, FLAT, DIRECT, LIBRARY, Tile(kernel="gemv"), replace(FLAT, norm_apart=True)]
    table = Table(
        gpu="NVIDIA X", entries=tuple(entry(8 * i + 8, 64, i + 1, tile) for i, tile in enumerate(tiles)), versions={"triton": "3"}
    )
    text = table.text()
    read = read_table(text)
    assert set(read.entries) == set(table.entries)
    assert (read.gpu, read.versions, read.text()) == (table.gpu, table.versions, text)
    assert len(text.splitlines()) == len(tiles) + 2
    assert replace(table, entries=table.entries[::-1]).text() == text
    assert read_table(Table().text()) == Table()


def test_a_shipped_table_by_the_name_of_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "x.json").write_text(Table(gpu="NVIDIA X9", entries=(entry(8, 8, 1),)).text(), encoding="utf-8")
    (tmp_path / "tables" / "notes.txt").write_text("no table", encoding="utf-8")
    monkeypatch.setattr(dispatch_module, "files", lambda package: tmp_path)
    assert shipped_table("NVIDIA X9 SXM").entries == (entry(8, 8, 1),)
    assert shipped_table("NVIDIA X8") == Table()
    assert Dispatch(replace(H200, name="NVIDIA X9")).table.entries == (entry(8, 8, 1),)


def test_shipped_tables_can_be_read() -> None:
    """Every one names its GPU, has entries, and says what it was measured with."""
    for path in (Path(dispatch_module.__file__).parent / "tables").glob("*.json"):
        table = read_table(path.read_text(encoding="utf-8"))
        assert table == shipped_table(table.gpu)
        assert table.entries
        assert {"torch", "triton"} <= table.versions.keys()
        assert all(0 < each.step_s < 1 for each in table.entries)


def test_without_a_gpu_there_is_one_multiprocessor() -> None:
    assert hardware_of(torch.device("cpu")) == NONE
    assert not Dispatch(NONE).overlaps
    assert Dispatch(H200, Table()).overlaps


@pytest.mark.parametrize("hardware", [H200, A100, MI300, NONE], ids=lambda each: each.name)
def test_defaults_by_rows(hardware: Hardware) -> None:
    product = product_of(4096, k=4096)
    kinds = [default_tile(product, rows, hardware).kernel for rows in (1, 2, 4, 16, 17, 64)]
    assert kinds == ["gemv", "flat", "flat", "flat", "library", "library"]
    assert default_tile(product, 4, hardware).block_m == (8 if hardware.is_nvidia else 16)


@pytest.mark.parametrize("hardware", [H200, MI300, NONE], ids=lambda each: each.name)
def test_fp32_takes_the_library_for_more_than_a_row(hardware: Hardware) -> None:
    """Whatever a table holds: it is of 16-bit weights."""
    choices = Dispatch(hardware, Table(entries=(entry(64, 64, 8, FLAT), entry(64, 64, 8, FLAT, dtype="float32"))))
    kinds = [choices.product(product_of(64, k=64, dtype=torch.float32), rows).kernel for rows in (1, 2, 8)]
    assert kinds == ["gemv", "library", "library"]


def test_transposed_weights_take_the_defaults() -> None:
    choices = Dispatch(H200, Table(entries=(entry(64, 64, 1), entry(64, 64, 8, DIRECT))))
    product = product_of(64, k=64, transposed=True)
    assert [choices.product(product, rows) for rows in (1, 8)] == [default_tile(product, rows, H200) for rows in (1, 8)]
    # Along n, where its columns lie side by side.
    assert choices.product(product, 1).block_n > choices.product(product, 1).block_k


@pytest.mark.parametrize(
    ("n", "stages"),
    [
        # 128 programs of 120 KB, one a multiprocessor, were measured; 100 KB go twice into 228, 60 three times, and 512 programs never fit.
        (4096, 7),
        (2048, 7),
        (4224, 7),
        (4256, 6),
        (5120, 6),
        (8448, 6),
        (12288, 4),
        (16384, 5),
    ],
)
def test_programs_that_lay_side_by_side_do_so_in_other_sizes(n: int, stages: int) -> None:
    single = Tile(kernel="flat", block_m=8, block_n=32, block_k=256, stages=7, warps=2, chains=2)
    table = Table(entries=(entry(4096, 4096, 8, single),))
    with_room = replace(H200, shared_bytes=228 * 1024)
    assert Dispatch(with_room, table).product(product_of(n, k=4096), 5).stages == stages
    assert Dispatch(H200, table).product(product_of(n, k=4096), 5).stages == 7


@pytest.mark.parametrize("n", [22016, 28672, 60000])
def test_programs_that_did_not_fit_at_once_keep_their_stages(n: int) -> None:
    """A gated tile, of both halves: 344 programs of 144 KB were measured."""
    table = Table(entries=(entry(22016, 4096, 8, Tile(kernel="flat", block_m=8, block_n=32, block_k=256, stages=5), epilogue="gated"),))
    product = product_of(n // 2, n // 2, k=4096, epilogue="gated")
    assert product.is_gated
    assert Dispatch(replace(H200, shared_bytes=228 * 1024), table).product(product, 8).stages == 5


@pytest.mark.parametrize(("k", "block_k"), [(1, 1), (3, 4), (777, 1024), (1024, 1024), (5000, 1024)])
def test_a_gemv_is_no_wider_than_its_product(k: int, block_k: int) -> None:
    assert Dispatch(H200, Table(entries=(entry(64, 64, 1),))).product(product_of(64, k=k), 1).block_k == block_k


@pytest.mark.parametrize(("k", "block_k"), [(1, 16), (17, 32), (300, 256)])
def test_every_chain_is_as_wide_as_a_matrix_unit(k: int, block_k: int) -> None:
    """Of four, each a quarter of the tile."""
    chained = replace(FLAT, chains=4)
    assert Dispatch(H200, Table(entries=(entry(64, 64, 8, chained),))).product(product_of(64, k=k), 8).block_k == max(64, block_k)


@pytest.mark.parametrize(("k", "block_k"), [(1, 16), (17, 32), (300, 256)])
def test_a_flat_tile_is_as_wide_as_a_matrix_unit(k: int, block_k: int) -> None:
    assert Dispatch(H200, Table(entries=(entry(64, 64, 8, FLAT),))).product(product_of(64, k=k), 8).block_k == block_k


@pytest.mark.parametrize(
    ("n", "k", "is_direct"),
    [
        ((64,), 96, True),
        ((64,), 80, False),
        ((72,), 96, False),
        ((64, 8, 8), 96, False),
        ((64, 16, 16), 96, True),
        ((64,), 2048, True),
        ((64,), 2080, False),
    ],
)
def test_direct_where_it_fits_alone(n: tuple[int, ...], k: int, is_direct: bool) -> None:
    """Every part for itself a multiple of the tile: 64 + 8 + 8 is one of 16, and yet no tile may reach into the next part. More than 64
    tiles would take long to compile.
    """
    choices = Dispatch(H200, Table(entries=(entry(64, 64, 8, DIRECT),)))
    product = product_of(*n, k=k)
    assert choices.product(product, 8) == (DIRECT if is_direct else default_tile(product, 8, H200))


def test_a_gemv_of_many_rows_is_never_taken() -> None:
    """A table made by hand may say so; each row has sums of its own in registers."""
    choices = Dispatch(H200, Table(entries=(entry(64, 64, 4), entry(64, 64, 64))))
    kinds = [choices.product(product_of(64, k=64), rows).kernel for rows in (1, 4, 5, 16, 17)]
    assert kinds == ["gemv", "gemv", "flat", "flat", "library"]


def attention_tile(splits: int, block_s: int, stages: int, warps: int, *, on_matrix_units: bool) -> AttentionTile:
    return AttentionTile(splits=splits, block_s=block_s, stages=stages, warps=warps, on_matrix_units=on_matrix_units)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "hardware", "expected"),
    [
        (32, 32, 128, H200, {1: (32, 8, 3, 1), 2: (16, 16, 2, 1), 4: (8, 16, 3, 1), 8: (4, 16, 3, 1), 64: (1, 16, 3, 1)}),
        (32, 8, 128, H200, {1: (32, 32, 3, 2), 4: (16, 32, 3, 2), 64: (1, 32, 3, 2)}),
        (8, 8, 256, H200, {1: (32, 16, 2, 2), 1000: (1, 16, 2, 2)}),
        (32, 32, 128, Hardware(name="A100", multiprocessors=108, is_nvidia=True), {1: (16, 16, 2, 1), 64: (1, 16, 2, 1)}),
        # On 32 lanes, 16 slots of 128 dimensions do not fit into a program's registers.
        (32, 32, 128, MI300, {1: (32, 8, 2, 1), 64: (1, 8, 2, 1)}),
    ],
)
def test_attention_has_fewer_splits_the_more_heads_there_are(
    heads: int, kv_heads: int, head_dim: int, hardware: Hardware, expected: dict[int, tuple[int, int, int, int]]
) -> None:
    """One query of a head of at most 128 in programs of one warp, on the ordinary units; any other on the matrix units."""
    attention = attention_of(heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    found = {batch: Dispatch(hardware, Table()).attention(attention, batch) for batch in expected}
    is_group = heads != kv_heads or head_dim > 128
    assert found == {batch: attention_tile(*tile, on_matrix_units=is_group) for batch, tile in expected.items()}


def test_attention_has_more_programs_of_narrower_heads() -> None:
    splits = [Dispatch(H200, Table()).attention(attention_of(heads=32, kv_heads=32, head_dim=size), 4).splits for size in (32, 64, 80, 128)]
    assert splits == [32, 16, 8, 8]


def test_one_warp_merges_no_more_than_it_can_hold() -> None:
    splits = [Dispatch(H200, Table()).attention(attention_of(heads=8, kv_heads=8, head_dim=size), 1).splits for size in (32, 64, 80, 128)]
    assert splits == [64, 64, 32, 32]


@pytest.mark.parametrize(("kv_heads", "head_dim", "on_matrix_units"), [(8, 128, False), (2, 128, True), (8, 256, True)])
def test_a_query_alone_goes_without_matrix_units(kv_heads: int, head_dim: int, on_matrix_units: bool) -> None:
    attention = attention_of(heads=8, kv_heads=kv_heads, head_dim=head_dim)
    assert Dispatch(H200, Table()).attention(attention, 1).on_matrix_units == on_matrix_units


TILES = st.builds(
    Tile,
    kernel=st.sampled_from(["gemv", "direct", "flat", "library"]),
    block_m=st.sampled_from([8, 16, 32]),
    block_n=st.sampled_from([8, 16, 64]),
    block_k=st.sampled_from([16, 64, 1024]),
    splits=st.sampled_from([1, 2, 4]),
    stages=st.integers(1, 4),
    warps=st.sampled_from([1, 2, 4]),
    norm_apart=st.booleans(),
)
CASES = st.builds(
    Case,
    n=st.integers(1, 40).map(lambda n: (n,)) | st.sampled_from([(16,), (32,), (64,)]),
    k=st.integers(1, 100) | st.sampled_from([32, 64, 96]),
    rows=st.integers(1, 20),
    norm=st.sampled_from([None, "rms", "layer"]),
    transposed=st.booleans(),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float16, torch.float32]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=CASES, tile=TILES, is_qkv=st.booleans(), hardware=st.sampled_from([H200, MI300]))
def test_whatever_is_taken_computes_the_product(case: Case, tile: Tile, is_qkv: bool, hardware: Hardware) -> None:
    """A table whose one entry is of another size and far more rows; fp32 and transposed weights beside it."""
    if is_qkv:
        case = replace(case, n=(case.n[0], max(1, case.n[0] // 2), max(1, case.n[0] // 2)), epilogue="qkv")
    # A number that is 1 is a constant to Triton, and no model has a transposed weight of one column.
    case = replace(case, n=tuple(n + 1 if case.transposed and n == 1 else n for n in case.n))
    table = Table(entries=(entry(64, 64, 64, tile, epilogue=case.epilogue, dtype="float16"),))
    taken = Dispatch(hardware, table).product(case.product(), case.rows)
    assert taken.kernel != "gemv" or case.rows <= 4
    check_product(case, taken)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(n=st.integers(1, 300), k=st.integers(1, 9000), rows=st.integers(1, 64), tile=TILES, transposed=st.booleans(), norm=st.booleans())
def test_whatever_is_taken_is_a_tile_that_can_be(n: int, k: int, rows: int, tile: Tile, transposed: bool, norm: bool) -> None:
    """Powers of two, wide enough for a matrix unit, in shared memory, whatever the product."""
    rms = Norm(kind="rms", weight=torch.empty(k, device="meta"), eps=1e-5) if norm else None
    product = product_of(n, k=k, transposed=transposed, norm=rms)
    taken = Dispatch(H200, Table(entries=(entry(64, 64, 64, tile),))).product(product, rows)
    for size in (taken.block_m, taken.block_n, taken.block_k):
        assert size & (size - 1) == 0
    if taken.kernel == "flat":
        assert taken.block_n >= 8 and taken.block_k >= 16
    if taken.kernel == "gemv":
        assert rows <= 4
        assert taken.block_k < 2 * k
    if taken.kernel == "direct":
        assert n % taken.block_n == 0 and k % 32 == 0 and not transposed
