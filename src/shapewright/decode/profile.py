"""Measures which kernel and tile each product of a model's step should take, and writes the table that `dispatch` reads.

A tile is judged inside a whole step (a few layers of the model itself, more weight than any cache holds, as a CUDA graph): kernels overlap,
so that the fastest alone is not always the fastest there. For each number of rows: every candidate for all products at once; then, product
by product, the best few with all others fixed. One that seems faster must be so again, right after the one that it beats: single times
of one step differ by 1 %, and the luckiest of thirty is not the fastest. Times are seconds of the median replay.

Source: FlashDecoding++ (Hong et al., 2024), section 5, measures each product alone; the step in place of the product is this project's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from shapewright.decode.ahead import compile_ahead
from shapewright.decode.buffers import Buffers
from shapewright.decode.dispatch import Dispatch, Entry, Hardware, Table, fitted, hardware_of, load_table, norm_kind
from shapewright.decode.engine import MAX_BATCH
from shapewright.decode.layers import Attention, Decoder
from shapewright.decode.products import Launch, Product, layer_products, logits_product
from shapewright.decode.step import Step
from shapewright.decode.tile import AttentionTile, Tile
from shapewright.errors import InputError, unknown_name

ROWS = (1, 2, 4, 8, 16, 32, 64)
DTYPES = ("bf16", "fp16")
CONTEXT = 1024
# Weight in the measured layers: many times any cache.
LEAST_BYTES = 1.2e9
REPLAYS, REPEATS = 10, 3
FINALISTS = 5
# Of GEMVs, by rows: outputs a program, tiles on their way.
GEMV_SHAPES = {1: ((4, 4), (4, 2), (8, 2)), 2: ((4, 4), (2, 4))}


def _flat(block_n: int, block_k: int, warps: int, stages: int, *, chains: int = 1, splits: int = 1) -> Tile:
    """Its rows are those of the trial."""
    return Tile(
        kernel="flat", block_n=block_n, block_k=block_k, warps=warps, stages=stages, chains=chains, splits=splits, norm_apart=True
    )  # fmt: skip


# Of flat products, by the most rows they are tried for. With seven stages of 32 outputs or five of 16 a multiprocessor has room for as many
# programs as 4096 outputs give it: they cannot crowd on some.
FLAT_TILES = {
    1: (),
    8: (
        _flat(32, 256, 2, 5, chains=2), _flat(32, 256, 2, 7, chains=2), _flat(32, 256, 2, 4, chains=2),
        _flat(16, 512, 1, 3, chains=4), _flat(16, 512, 1, 5, chains=4), _flat(16, 256, 1, 5, chains=2),
    ),
    16: (
        _flat(32, 512, 2, 3), _flat(16, 256, 1, 3), _flat(16, 256, 1, 5, chains=2), _flat(16, 256, 1, 8), _flat(32, 256, 2, 5),
        _flat(64, 128, 4, 4, splits=2),
    ),
    64: (_flat(64, 128, 4, 4), _flat(64, 128, 4, 4, splits=2), _flat(64, 64, 4, 5), _flat(32, 256, 4, 3)),
}  # fmt: skip
# Products that measured faster, here and there, where the next kernel starts late: those before the one with the fewest programs.
LATE_EPILOGUES = ("gated", "activation")
# Of direct products: outputs, tiles on their way, warps. The last two ask for all of a k of 4096 before they wait.
DIRECT_SHAPES = ((16, 8, 8), (8, 16, 8), (16, 8, 16))
MOST_DIRECT_ROWS, LEAST_LIBRARY_ROWS = 8, 8
#: Epilogue, norm, n and k of a product.
Place = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One measured step: every product's tile by its place."""

    rows: int
    tiles: dict[Place, Tile]
    step_s: float


class Chosen:
    """A step's choices: given tiles, and attention as the defaults have it."""

    def __init__(self, tiles: dict[Place, Tile], dispatch: Dispatch) -> None:
        self.tiles, self.dispatch, self.overlaps = tiles, dispatch, dispatch.overlaps

    def product(self, product: Product, rows: int) -> Tile:
        """The tile under trial."""
        tile = self.tiles.get(place(product))
        return self.dispatch.product(product, rows) if tile is None else fitted(tile, product, rows, self.dispatch.hardware)

    def attention(self, attention: Attention, batch: int) -> AttentionTile:
        """As it will run."""
        return self.dispatch.attention(attention, batch)


def place(product: Product) -> Place:
    """What a table tells products apart by, within one dtype."""
    return product.epilogue, norm_kind(product), product.n, product.k


def candidates(rows: int) -> list[Tile]:
    """What is worth a try for so many rows; the norm inside the product or before it is tried later."""
    gemv = [Tile(kernel="gemv", block_n=n, block_k=1024, stages=stages, norm_apart=rows > 1) for n, stages in GEMV_SHAPES.get(rows, ())]
    tiles = next(tiles for most, tiles in FLAT_TILES.items() if rows <= most)
    flat = [replace(tile, block_m=max(8, 1 << (rows - 1).bit_length())) for tile in tiles]
    direct = [
        Tile(kernel="direct", block_n=n, stages=stages, warps=warps, norm_apart=True)
        for n, stages, warps in (DIRECT_SHAPES if rows <= MOST_DIRECT_ROWS else ())
    ]
    return [*gemv, *flat, *direct, *([Tile(kernel="library")] if rows >= LEAST_LIBRARY_ROWS else [])]


def profile_decoder(
    decoder: Decoder, rows: Sequence[int] = ROWS, *, time_limit_s: float = 600, tell: Callable[[str], None] = lambda line: None
) -> Table:
    """The table of a model's products on the GPU that it lies on. Numbers of rows not reached in time are left out."""
    few = _first_layers(decoder)
    hardware = hardware_of(decoder.device)
    dtype = str(decoder.dtype).removeprefix("torch.")
    begun = time.monotonic()
    entries: list[Entry] = []
    if decoder.device.type == "cuda":
        compile_ahead(_launches(few, rows, hardware))
    for count in rows:
        if time.monotonic() - begun > time_limit_s:
            break
        best = _best(few, count, hardware)
        tell(f"rows {count}: {best.step_s * 1e3:.3f} ms a step of {len(few.layers)} layers")
        entries += [
            Entry(epilogue=epilogue, norm=norm, n=n, k=k, dtype=dtype, rows=count, tile=tile, step_s=best.step_s)
            for (epilogue, norm, n, k), tile in best.tiles.items()
        ]
    versions = {"torch": torch.__version__, "triton": _triton_version()}
    return Table(gpu=hardware.name, entries=tuple(entries), versions=versions)


def _best(decoder: Decoder, rows: int, hardware: Hardware) -> Trial:
    """Coordinate descent from the best uniform choice."""
    buffers = Buffers(decoder, rows, CONTEXT + 64)
    buffers.cache.normal_()
    dispatch = Dispatch(hardware, Table())
    products = {place(product): product for product in step_products(decoder)}

    def tried(tiles: dict[Place, Tile]) -> Trial:
        return Trial(rows=rows, tiles=tiles, step_s=_step_s(decoder, buffers, Chosen(tiles, dispatch)))

    uniform = sorted((tried(dict.fromkeys(products, tile)) for tile in candidates(rows)), key=lambda trial: trial.step_s)
    best = uniform[0]
    ranked = [next(iter(trial.tiles.values())) for trial in uniform if trial.step_s < float("inf")]
    for key, product in products.items():
        best = tried(best.tiles)
        for tile in _alternatives(ranked):
            best = _faster(best, best.tiles | {key: tile}, tried)
        for tile in _turned(best.tiles[key], product):
            best = _faster(best, best.tiles | {key: tile}, tried)
    return best


def _faster(best: Trial, tiles: dict[Place, Tile], tried: Callable[[dict[Place, Tile]], Trial]) -> Trial:
    """The best so far, or these tiles where they are faster twice."""
    if tried(tiles).step_s >= best.step_s:
        return best
    again = tried(best.tiles)
    return min(again, tried(tiles), key=lambda each: each.step_s)


def _launches(decoder: Decoder, rows: Sequence[int], hardware: Hardware) -> Iterator[Launch]:
    """Of every candidate for all products. Two layers have every kernel: the first follows the embedding, the second a layer."""
    few, dispatch = replace(decoder, layers=decoder.layers[:2]), Dispatch(hardware, Table())
    places = [place(product) for product in step_products(decoder)]
    for count in rows:
        buffers = Buffers(few, count, CONTEXT + 64)
        for tile in candidates(count):
            yield from Step(few, buffers, Chosen(dict.fromkeys(places, tile), dispatch)).launches()


def _alternatives(ranked: Sequence[Tile]) -> Iterator[Tile]:
    """The next best, and the best of every other kernel."""
    if not ranked:
        return
    best_of_kernels = {tile.kernel: tile for tile in reversed(ranked)}
    yield from dict.fromkeys(tile for tile in (*ranked[1:FINALISTS], *best_of_kernels.values()) if tile != ranked[0])


def _turned(tile: Tile, product: Product) -> Iterator[Tile]:
    """The same with its norm the other way, and with a late start of the next kernel."""
    if tile.kernel != "library" and product.norm is not None:
        yield replace(tile, norm_apart=not tile.norm_apart)
    if tile.kernel == "flat" and product.epilogue in LATE_EPILOGUES:
        yield replace(tile, late=True)


def _step_s(decoder: Decoder, buffers: Buffers, choices: Chosen) -> float:
    """Seconds of one step; infinity where a tile asks for more than the GPU has."""
    try:
        step = Step(decoder, buffers, choices)
        _reset(buffers)
        step.run_greedy()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step.run_greedy()
    except Exception as error:
        if "out of resource" in str(error):
            return float("inf")
        raise
    return statistics.median(_replayed_s(graph, buffers) for _ in range(REPEATS))


def _replayed_s(graph: torch.cuda.CUDAGraph, buffers: Buffers) -> float:
    _reset(buffers)
    graph.replay()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(REPLAYS):
        graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3 / REPLAYS


def _reset(buffers: Buffers) -> None:
    buffers.length.fill_(CONTEXT)
    buffers.first.fill_(CONTEXT)
    buffers.positions.fill_(CONTEXT)


def step_products(decoder: Decoder) -> Iterator[Product]:
    """The products of one layer, and the logits'."""
    own = layer_products(decoder.layers[0])
    yield from (own.qkv, own.out, own.up, own.down, logits_product(decoder))


def _first_layers(decoder: Decoder) -> Decoder:
    """So many layers that their weights are `LEAST_BYTES`, or all."""
    weights = sum(product.n * product.k for product in step_products(decoder) if product.epilogue != "logits")
    return replace(decoder, layers=decoder.layers[: max(2, round(LEAST_BYTES / (weights * decoder.embedding.element_size())))])


def _triton_version() -> str:
    import triton

    return triton.__version__


def write_table(table: Table, path: Path) -> None:
    """The table as a file, beside what an earlier one of the same GPU holds of other products."""
    before = table_before(path, table.gpu)
    merged = table if before is None else replace(before.merged(table.entries), versions=table.versions)
    path.write_text(merged.text(), encoding="utf-8")


def table_before(path: Path, gpu: str) -> Table | None:
    """What a file holds already; a file that is no table of this GPU is not touched."""
    if not path.exists():
        return None
    before = load_table(path)
    if before.gpu != gpu:
        raise InputError(f"this table is of {before.gpu}, not of {gpu}", where=str(path), hint="name another file with --out")
    return before


def profile(model_name: str, *, rows: Sequence[int] = ROWS, out: Path, time_limit_s: float = 600, dtype: str = "bf16") -> Table:
    """`shapewright decode profile MODEL`: random weights of the model's shape, measured here; what `out` holds of others stays."""
    from shapewright.decode.bench_models import build_model, recipe_for
    from shapewright.decode.families import FAMILIES, read_decoder
    from shapewright.measure.devices import open_device

    for count in rows:
        if not 1 <= count <= MAX_BATCH:
            raise InputError(f"--batch holds {count}", hint=f"expected 1 to {MAX_BATCH}: larger batches run plain")
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    recipe = recipe_for(model_name)
    if recipe.model_type not in FAMILIES:
        raise InputError(
            f"{model_name} is of the family {recipe.model_type}, which runs plain", hint=f"expected one of {', '.join(FAMILIES)}"
        )
    if out.exists():
        load_table(out)
    device = open_device("cuda", can_be_cpu=False)
    # Before a minute of measuring, not after it.
    table_before(out, device.gpu)
    bench = build_model(recipe, device, name=model_name, dtype=dtype, positions=CONTEXT + 64)
    table = profile_decoder(read_decoder(bench.model), rows, time_limit_s=time_limit_s)
    write_table(table, out)
    return table
