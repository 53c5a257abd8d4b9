"""Which kernel and tile a product of a step takes: a measured table for a GPU that has one, sound defaults elsewhere.

A table (`tables/NAME.json`, made by `profile`) holds, for each product measured (norm, epilogue, n, k, dtype) and each number of rows that
was tried, the tile of the fastest whole step: a GEMV on the ordinary units for few rows, a flat GEMM on the matrix units for more, the
library's product where that is faster (FlashDecoding++, Hong et al., 2024, section 5: the heuristic dataflow, with its M1 and M2
wherever they fall).
What `shapewright decode profile` measured on the user's own GPU comes before the shipped table.
A product that was not measured takes the tile of the one nearest to it in n · k, of the same norm or of none if there is one; rows between
two measured numbers, the larger's; more rows than any, the default. Flat programs that lay on the multiprocessors all at once where they
were measured do so in other sizes, with fewer stages if need be. fp32 and transposed weights (GPT-2) take defaults.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from shapewright.decode.layers import Attention
from shapewright.decode.tile import AttentionTile, Tile, block_d
from shapewright.errors import InputError
from shapewright.measure.store import runs_folder
from shapewright.units import ceil_div

if TYPE_CHECKING:
    from shapewright.decode.products import Product

SCHEMA_VERSION = 1
# Attention on one multiprocessor: enough keys on their way to keep memory busy, few enough to leave the next kernel room. Dimensions of
# heads that programs of one warp take there (8 programs of 128, 16 of 64), and programs of two warps on the matrix units, for a group of
# queries or a wide head.
SINGLE_DIMENSIONS = 1024
GROUP_PROGRAMS = 4
MAX_SPLITS, MAX_GROUP_SPLITS = 64, 32
# Dimensions of all splits of a head, which its last program merges in the registers of one warp.
MERGED_DIMENSIONS = 4096
MATRIX_UNIT = 16
# Rows that the GEMV holds sums of, and columns that a warp of the direct kernel takes at a time.
GEMV_ROWS = 4
DIRECT_COLUMNS = 32
# Stages of a flat product whose programs are not all on the multiprocessors at once, and the fewest that are taken so that they are.
USUAL_STAGES, LEAST_STAGES = 5, 4
# Of a block's shared memory, what CUDA keeps for itself.
RESERVED_BYTES = 1024
# The direct kernel's loop over k is unrolled, and compiling goes with the square of it: 86 tiles take 7 s, 172 take 40.
DIRECT_TILES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one product of `rows` rows takes. `step_s`: seconds of the measured step with it (of a few layers), for comparison alone."""

    epilogue: str
    norm: str = "none"
    n: int
    k: int
    dtype: str
    rows: int
    tile: Tile
    step_s: float

    @property
    def key(self) -> tuple[str, str]:
        """What another product must share to learn from this one."""
        return self.epilogue, self.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The measured choices of one GPU. `entries` in no particular order."""

    gpu: str = "any"
    entries: tuple[Entry, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def nearest(self, product: Product, dtype: str, rows: int) -> Entry | None:
        """What was measured of this product or of the nearest; None where nothing like it was measured."""
        kin = [entry for entry in self.entries if entry.key == (product.epilogue, dtype) and entry.rows >= rows]
        if not kin:
            return None
        fewest = min(entry.rows for entry in kin)
        size, norm = product.n * product.k, norm_kind(product)
        return min(
            (entry for entry in kin if entry.rows == fewest),
            key=lambda entry: (entry.norm not in (norm, "none"), abs(math.log(entry.n * entry.k / size)), entry.norm != norm),
        )

    def merged(self, entries: Iterable[Entry]) -> Table:
        """With `entries` in place of those for the same products and rows."""
        new = {_place(entry): entry for entry in (*self.entries, *entries)}
        return replace(self, entries=tuple(new.values()))

    def text(self) -> str:
        """The file's content: one entry a line, so that a change reads as one."""
        head = {"schema_version": SCHEMA_VERSION, "gpu": self.gpu, "versions": self.versions}
        lines = [json.dumps(_plain(entry)) for entry in sorted(self.entries, key=_place)]
        return json.dumps(head)[:-1] + ', "entries": [\n' + ",\n".join(lines) + "\n]}\n"


def norm_kind(product: Product) -> str:
    """The norm before a product, or after one that has none before it, as tables name it: what it hands over takes time as well."""
    return product.norm_after if product.norm is None else product.norm.kind


def _place(entry: Entry) -> tuple[str, str, str, int, int, int]:
    return entry.dtype, entry.epilogue, entry.norm, entry.n, entry.k, entry.rows


def _plain(entry: Entry) -> dict[str, Any]:
    tile = {name: value for name, value in asdict(entry.tile).items() if value != getattr(Tile(kernel="gemv"), name) or name == "kernel"}
    return {**asdict(entry), "tile": tile}


def read_table(text: str) -> Table:
    """A table as `Table.text` writes it."""
    data = json.loads(text)
    entries = tuple(Entry(**{**entry, "tile": Tile(**entry["tile"])}) for entry in data["entries"])
    return Table(gpu=data["gpu"], entries=entries, versions=data["versions"])


def shipped_table(gpu: str) -> Table:
    """The table that comes with the package for a GPU by its name ("NVIDIA H200"), or an empty one."""
    for path in files("shapewright.decode").joinpath("tables").iterdir():
        if path.name.endswith(".json"):
            table = read_table(path.read_text(encoding="utf-8"))
            if table.gpu in gpu:
                return table
    return Table()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What defaults depend on. `can_overlap`: programmatic dependent launch (NVIDIA, compute capability 9.0 on). `shared_bytes`: shared
    memory of a multiprocessor, 0 where it is not known.
    """

    name: str = "none"
    multiprocessors: int = 1
    is_nvidia: bool = False
    can_overlap: bool = False
    shared_bytes: int = 0


def hardware_of(device: torch.device) -> Hardware:
    """Of the device that a model lies on; without a GPU, one multiprocessor (the interpreter)."""
    if device.type != "cuda":
        return Hardware()
    properties = torch.cuda.get_device_properties(device)
    is_nvidia = torch.version.hip is None
    return Hardware(
        name=properties.name,
        multiprocessors=properties.multi_processor_count,
        is_nvidia=is_nvidia,
        can_overlap=is_nvidia and properties.major >= 9,
        shared_bytes=getattr(properties, "shared_memory_per_multiprocessor", 0),
    )


def user_table_path() -> Path | None:
    """Where `shapewright decode profile` keeps a user's own table: `decode-table.json` in the folder of runs; None without a home."""
    folder = runs_folder()
    return None if folder is None else folder / "decode-table.json"


def known_table(gpu: str) -> Table:
    """The shipped table of a GPU, with what its user measured in place of the same products."""
    shipped, path = shipped_table(gpu), user_table_path()
    if path is None or not path.is_file():
        return shipped
    own = load_table(path)
    return shipped.merged(own.entries) if own.gpu == gpu else shipped


def load_table(path: Path) -> Table:
    """The table in a file of the user's."""
    try:
        return read_table(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "this is no table of decode kernels", where=str(path), hint="move it away, or name another file with --out"
        ) from error


class Dispatch:
    """Answers a step's questions from a table and, where that is silent, from defaults."""

    def __init__(self, hardware: Hardware, table: Table | None = None) -> None:
        self.hardware = hardware
        self.table = known_table(hardware.name) if table is None else table
        self.overlaps = hardware.can_overlap

    def product(self, product: Product, rows: int) -> Tile:
        """How a product of `rows` rows runs."""
        weight = product.parts[0].weight
        dtype = str(weight.dtype).removeprefix("torch.")
        if product.parts[0].transposed or weight.dtype == torch.float32:
            return default_tile(product, rows, self.hardware)
        entry = self.table.nearest(product, dtype, rows)
        if entry is None:
            return default_tile(product, rows, self.hardware)
        return fitted(_resident(entry, product, self.hardware), product, rows, self.hardware)

    def attention(self, attention: Attention, batch: int) -> AttentionTile:
        """How attention of `batch` rows runs, whatever its length."""
        heads = batch * attention.num_key_value_heads
        is_wide = attention.head_dim > 128
        stages = 3 if self.hardware.can_overlap and not is_wide else 2
        if attention.num_attention_heads != attention.num_key_value_heads or is_wide:
            splits = min(MAX_GROUP_SPLITS, self._splits(GROUP_PROGRAMS, heads))
            return AttentionTile(splits=splits, block_s=16 if is_wide else 32, stages=stages, warps=2)
        width = block_d(attention.head_dim)
        splits = min(MAX_SPLITS, MERGED_DIMENSIONS // width, self._splits(SINGLE_DIMENSIONS // width, heads))
        # Measured on an H200 (docs/log.md, 2026-11-23): 8 slots from 32 splits on, two stages at 16. On AMD's smallest wavefront, 32 lanes,
        # 16 slots of 128 do not fit into registers.
        block_s = 16 if splits < 32 and self.hardware.is_nvidia else 8
        stages = 2 if splits == 16 else stages
        return AttentionTile(splits=splits, block_s=block_s, stages=stages, warps=1, on_matrix_units=False)

    def _splits(self, programs: int, heads: int) -> int:
        """The largest power of two that puts at most so many programs on a multiprocessor; 1 where there are more heads."""
        room = max(1, programs * self.hardware.multiprocessors // heads)
        return 1 << (room.bit_length() - 1)


def default_tile(product: Product, rows: int, hardware: Hardware) -> Tile:
    """Without a measurement: the GEMV for one row, the flat GEMM up to a matrix unit's rows, then the library."""
    first = product.parts[0]
    if rows == 1:
        if first.transposed:
            return _within(Tile(kernel="gemv", block_n=64, block_k=32, warps=4, stages=2), product)
        return _within(Tile(kernel="gemv", block_n=4, block_k=1024, warps=4, stages=2), product)
    if rows > MATRIX_UNIT or first.weight.dtype == torch.float32:
        return Tile(kernel="library")
    if hardware.is_nvidia:
        block_m = 8 if rows <= MATRIX_UNIT // 2 else MATRIX_UNIT
        return _within(Tile(kernel="flat", block_m=block_m, block_n=16, block_k=256, warps=1, stages=3, norm_apart=True), product)
    # AMD: 64 KB of shared memory, 16 rows at least on its matrix units.
    return _within(Tile(kernel="flat", block_m=MATRIX_UNIT, block_n=32, block_k=128, warps=4, stages=2, norm_apart=True), product)


def fitted(tile: Tile, product: Product, rows: int, hardware: Hardware) -> Tile:
    """A tile that was measured on another product, as this one can take it; the default where it cannot."""
    return _within(tile, product) if _takes(tile, product, rows) else default_tile(product, rows, hardware)


def _resident(entry: Entry, product: Product, hardware: Hardware) -> Tile:
    """A measured tile, with fewer stages where all programs of its product lay on the multiprocessors at once and these would not.

    Many stages were measured for the sake of that: what shares out few programs evenly makes a few more take twice as long.
    """
    tile = entry.tile
    if tile.kernel != "flat" or hardware.shared_bytes == 0:
        return tile
    # A gated program takes a tile of gate and one of up.
    weights = 2 if product.is_gated else 1
    stage_bytes = (weights * tile.block_n + tile.block_m) * tile.block_k * product.parts[0].weight.element_size()
    measured = ceil_div(entry.n, weights * tile.block_n) * tile.splits
    programs = product.blocks(tile.block_n) * tile.splits

    def room(stages: int) -> int:
        return hardware.multiprocessors * (hardware.shared_bytes // ((stages - 1) * stage_bytes + RESERVED_BYTES))

    if measured > room(tile.stages) or programs <= room(tile.stages):
        return tile
    fewer = (stages for stages in range(tile.stages - 1, LEAST_STAGES - 1, -1) if programs <= room(stages))
    return replace(tile, stages=next(fewer, min(tile.stages, USUAL_STAGES)))


def _takes(tile: Tile, product: Product, rows: int) -> bool:
    """Whether a tile that was measured on one product can run another, of other sizes."""
    if tile.kernel == "gemv":
        return rows <= GEMV_ROWS
    if tile.kernel != "direct":
        return True
    tiles, rest = divmod(product.k, DIRECT_COLUMNS * tile.warps)
    return rest == 0 and tiles <= DIRECT_TILES and all(part.n % tile.block_n == 0 and not part.transposed for part in product.written)


def _within(tile: Tile, product: Product) -> Tile:
    """No wider along k than the product."""
    if tile.kernel in ("library", "direct"):
        return tile
    least = MATRIX_UNIT * tile.chains if tile.kernel == "flat" else 1
    return replace(tile, block_k=max(least, min(tile.block_k, 1 << (product.k - 1).bit_length())))
