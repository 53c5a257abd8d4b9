"""Compiles, without a GPU, what decode steps would launch on one: `python compiling.py cuda:90:32` prints a JSON list, a kernel a row.

Steps of real sizes are made over memory that nobody touches; their launches are recorded in place of being run, with the arguments that
Triton would specialise on, and compiled for the target named by backend, architecture and warp size. Needs a process of its own, because
kernels of the test process are interpreted.

A row: kernel, model, dtype, options, shared_bytes, loads_16 (loads of 16 bytes from memory, by instruction: a loop's count once), matrix
(instructions on the matrix units), waits (for the kernel before), spills (registers, AMD); error in their place where the compiler refuses.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

import shapewright.decode.tile as tiles
from shapewright.decode.buffers import Buffers
from shapewright.decode.dispatch import Dispatch, Hardware, Table
from shapewright.decode.layers import Attention, Decoder, Layer, Linear, Mlp, Norm
from shapewright.decode.products import Product
from shapewright.decode.step import Choices, Step
from shapewright.decode.tile import AttentionTile, Tile

POINTERS = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32", torch.int32: "*i32", torch.int64: "*i64"}
SPILLS = re.compile(r"\.vgpr_spill_count:\s*(\d+)")
LOAD_16 = re.compile(
    r"ld\.global\S*\.v4\.[bf]32|ld\.global\S*\.v2\.[bu]64|cp\.async\.c[ag]\.shared\.global [^;]*0x10"
    r"|(?:global|buffer)_load_(?:dwordx4|b128)"
)
MATRIX = re.compile(r"wgmma\.mma_async|mma\.sync|v_mfma|v_wmma")
TABLES = Path(tiles.__file__).parent / "tables"
# Which target a shipped table's tiles were chosen for.
TABLE_TARGETS = {"h200": "cuda:90:32"}

GEMV = Tile(kernel="gemv", block_n=2, block_k=1024, stages=4, warps=4)
FLAT = Tile(kernel="flat", block_m=16, block_n=32, block_k=128, stages=3, warps=4)
SPLIT = Tile(kernel="flat", block_m=16, block_n=64, block_k=64, splits=4, stages=3, warps=4, late=True)
DIRECT = Tile(kernel="direct", block_n=16, stages=8, warps=8)
NARROW = replace(FLAT, block_m=8, block_n=16, block_k=256, warps=1, norm_apart=True)
ORDINARY = AttentionTile(splits=8, block_s=16, stages=3, warps=1, on_matrix_units=False)
ONLINE = AttentionTile(splits=8, block_s=16, stages=2)
UNIFIED = AttentionTile(splits=8, block_s=32, stages=2, unified=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One tile for all products, one for attention."""

    tile: Tile
    attention_tile: AttentionTile
    overlaps: bool

    def product(self, product: Product, rows: int) -> Tile:
        return self.tile

    def attention(self, attention: Attention, batch: int) -> AttentionTile:
        return self.attention_tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A kernel and what it was launched with."""

    function: JITFunction
    arguments: dict[str, Any]
    options: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Sizes and wiring of one layer."""

    hidden_size: int
    heads: int
    kv_heads: int
    intermediate_size: int
    vocab_size: int
    norm: str = "rms"
    activation: str = "silu"
    is_gated: bool = True
    is_interleaved: bool = False
    is_transposed: bool = False
    has_bias: bool = False
    has_head_norms: bool = False
    rotary_dim: int = 0
    window: int | None = None


MODELS = {
    "llama": Model(hidden_size=4096, heads=32, kv_heads=32, intermediate_size=11008, vocab_size=32000, rotary_dim=128),
    "grouped": Model(hidden_size=4096, heads=32, kv_heads=8, intermediate_size=14336, vocab_size=128256, rotary_dim=128, window=4096),
    "qwen": Model(hidden_size=2048, heads=16, kv_heads=2, intermediate_size=6144, vocab_size=151936, rotary_dim=128, has_head_norms=True),
    "wide": Model(hidden_size=2048, heads=8, kv_heads=1, intermediate_size=4096, vocab_size=32000, rotary_dim=256),
    "opt": Model(
        hidden_size=4096, heads=32, kv_heads=32, intermediate_size=16384, vocab_size=50272, norm="layer", activation="relu",
        is_gated=False, has_bias=True,
    ),
    "neox": Model(
        hidden_size=2560, heads=32, kv_heads=32, intermediate_size=10240, vocab_size=50304, norm="layer", activation="gelu",
        is_gated=False, has_bias=True, is_interleaved=True, rotary_dim=20,
    ),
    "gpt2": Model(
        hidden_size=768, heads=12, kv_heads=12, intermediate_size=3072, vocab_size=50257, norm="layer", activation="gelu_tanh",
        is_gated=False, has_bias=True, is_transposed=True,
    ),
}  # fmt: skip
VARIANTS: list[tuple[str, int, str, Tile, AttentionTile]] = [
    ("llama", 1, "bf16", GEMV, ORDINARY),
    ("llama", 3, "fp16", GEMV, replace(ORDINARY, unified=True)),
    ("llama", 4, "bf16", NARROW, ONLINE),
    ("llama", 8, "bf16", DIRECT, ONLINE),
    ("llama", 16, "fp16", replace(DIRECT, block_n=8, norm_apart=True), ONLINE),
    ("llama", 4, "fp16", FLAT, UNIFIED),
    ("grouped", 8, "bf16", SPLIT, UNIFIED),
    ("qwen", 2, "bf16", FLAT, ONLINE),
    ("opt", 1, "bf16", GEMV, UNIFIED),
    ("neox", 32, "fp16", SPLIT, ONLINE),
    ("gpt2", 1, "bf16", GEMV, ONLINE),
]
# Compiling takes its time: one target is given every variant, the others these: with the defaults, every kernel and both dtypes.
THOROUGH = "cuda:90:32"
SHORT = (3, 6)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# What runs where nothing was measured: (model, rows, dtype).
DEFAULTS = [
    ("llama", 1, "bf16"),
    ("llama", 4, "bf16"),
    ("grouped", 16, "fp16"),
    ("gpt2", 1, "fp16"),
    ("gpt2", 4, "fp16"),
    ("wide", 1, "fp32"),
]
MULTIPROCESSORS = 108


def decoder_of(model: Model, dtype: torch.dtype) -> Decoder:
    """One layer; its memory is asked for and never touched."""
    hidden_size, width = model.hidden_size, model.hidden_size // model.heads

    def linear(n: int, k: int) -> Linear:
        weight = torch.empty((k, n) if model.is_transposed else (n, k), dtype=dtype)
        return Linear(weight=weight, bias=torch.empty(n, dtype=dtype) if model.has_bias else None, transposed=model.is_transposed)

    def norm(size: int = hidden_size, kind: str = model.norm) -> Norm:
        weight = torch.empty(size, dtype=dtype)
        return Norm(kind=kind, weight=weight, bias=weight if kind == "layer" else None, eps=1e-5)  # type: ignore[arg-type]

    sizes = [model.heads * width, model.kv_heads * width, model.kv_heads * width]
    sizes = [sum(sizes)] if model.is_interleaved or model.is_transposed else sizes
    head_norm = norm(width, "rms") if model.has_head_norms else None
    attention = Attention(
        parts=tuple(linear(size, hidden_size) for size in sizes), layout="interleaved" if model.is_interleaved else "concatenated",
        num_attention_heads=model.heads, num_key_value_heads=model.kv_heads, head_dim=width, scale=width**-0.5,
        rotary_dim=model.rotary_dim, window=model.window, query_norm=head_norm, key_norm=head_norm, out=linear(hidden_size, hidden_size),
    )  # fmt: skip
    up, down = linear(model.intermediate_size, hidden_size), linear(hidden_size, model.intermediate_size)
    mlp = Mlp(gate=up if model.is_gated else None, up=up, down=down, activation=model.activation)  # type: ignore[arg-type]
    layer = Layer(attention_norm=norm(), attention=attention, mlp_norm=norm(), mlp=mlp, is_parallel=model.is_interleaved)
    table = torch.empty(2048, model.rotary_dim) if model.rotary_dim else None
    return Decoder(
        family="compiled", layers=(layer,), final_norm=norm(), embedding=torch.empty(model.vocab_size, hidden_size, dtype=dtype),
        position_embedding=torch.empty(2050, hidden_size, dtype=dtype) if table is None else None,
        rotary=None if table is None else lambda count: (table[:count], table[:count]),
        head=Linear(weight=torch.empty(model.vocab_size, hidden_size, dtype=dtype)),
    )  # fmt: skip


def launches_of(decoder: Decoder, batch: int, choices: Choices) -> list[Launch]:
    """What a greedy step launches; nothing runs."""
    launches: list[Launch] = []

    def record(self: JITFunction, *args: Any, grid: object, warmup: bool, **kwargs: Any) -> None:
        named = {name: kwargs.pop(name) for name in self.arg_names if name in kwargs}
        bound = inspect.signature(self.fn).bind(*args, **named)
        launches.append(Launch(function=self, arguments=dict(bound.arguments), options=kwargs))

    run, JITFunction.run = JITFunction.run, record  # type: ignore[method-assign]
    try:
        step = Step(decoder, Buffers(decoder, batch, 1024), choices)
        step.run_greedy()
    finally:
        JITFunction.run = run  # type: ignore[method-assign]
    return launches


def source_of(launch: Launch) -> ASTSource:
    """Pointers and numbers that 16 divides are known to be so, and a number that is 1 is a constant: as a launch would have it."""
    signature, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(launch.function.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1):
            signature[parameter.name], constants[(index,)] = "constexpr", value
            continue
        signature[parameter.name] = POINTERS[value.dtype] if isinstance(value, Tensor) else "fp32" if isinstance(value, float) else "i32"
        number = value.data_ptr() if isinstance(value, Tensor) else value
        if not isinstance(value, float) and number % 16 == 0:
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=launch.function, signature=signature, constexprs=constants, attrs=attributes)


def compiled(launch: Launch, target: GPUTarget) -> dict[str, Any]:
    """What the compiler made of it."""
    try:
        kernel = triton.compile(source_of(launch), target=target, options=launch.options)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:600]}
    text = kernel.asm.get("ptx") or kernel.asm["amdgcn"]
    return {
        "shared_bytes": kernel.metadata.shared,
        "loads_16": len(LOAD_16.findall(text)),
        "matrix": sorted(set(MATRIX.findall(text))),
        "waits": text.count("griddepcontrol.wait"),
        "spills": sum(int(count) for count in SPILLS.findall(text)),
    }


def table_tiles(tables: Path = TABLES) -> Iterator[tuple[str, Tile | AttentionTile]]:
    """Every tile of the shipped tables, wherever it stands in one: (name of the table, tile)."""
    for path in sorted(tables.glob("*.json")):
        waiting: list[Any] = [json.loads(path.read_text(encoding="utf-8"))]
        while waiting:
            entry = waiting.pop()
            if isinstance(entry, list):
                waiting.extend(entry)
            elif isinstance(entry, dict):
                waiting.extend(entry.values())
                for kind, mark in ((Tile, "kernel"), (AttentionTile, "block_s")):
                    if mark in entry:
                        yield path.stem, kind(**{each.name: entry[each.name] for each in fields(kind) if each.name in entry})


def launches_for(name: str, overlaps: bool) -> Iterator[tuple[str, str, Launch]]:
    """(model, dtype, launch): the fixed variants, all or the few of `SHORT`, the defaults, and the tiles of the tables of this target."""
    is_nvidia = name.startswith("cuda")
    for model, batch, dtype, tile, attention_tile in VARIANTS if name == THOROUGH else [VARIANTS[index] for index in SHORT]:
        if tile.kernel == "direct" and not is_nvidia:
            # Eight of a side are too few for the matrix units there: defaults never ask for it.
            continue
        choices = Fixed(tile=tile, attention_tile=attention_tile, overlaps=overlaps)
        for launch in launches_of(decoder_of(MODELS[model], DTYPES[dtype]), batch, choices):
            yield model, dtype, launch
    hardware = Hardware(multiprocessors=MULTIPROCESSORS, is_nvidia=is_nvidia, can_overlap=overlaps)
    for model, batch, dtype in DEFAULTS:
        for launch in launches_of(decoder_of(MODELS[model], DTYPES[dtype]), batch, Dispatch(hardware, Table())):
            yield model, dtype, launch
    found = dict.fromkeys(tile for table, tile in table_tiles() if TABLE_TARGETS.get(table) == name)
    for tile in found:
        yield from table_launches(tile, overlaps)


def table_launches(tile: Tile | AttentionTile, overlaps: bool) -> Iterator[tuple[str, str, Launch]]:
    """Of a product's tile the gated kernel, which holds most; of attention's, one query and four."""
    if isinstance(tile, Tile):
        if tile.kernel == "library":
            return
        choices = Fixed(tile=tile, attention_tile=ONLINE, overlaps=overlaps)
        for launch in launches_of(decoder_of(MODELS["llama"], torch.bfloat16), tile.block_m, choices):
            if launch.arguments.get("GATED"):
                yield "llama", "bf16", launch
        return
    for model in ("llama", "grouped"):
        choices = Fixed(tile=GEMV, attention_tile=tile, overlaps=overlaps)
        for launch in launches_of(decoder_of(MODELS[model], torch.bfloat16), 1, choices):
            if "QUERIES" in launch.arguments:
                yield model, "bf16", launch


def rows_of(name: str) -> list[dict[str, Any]]:
    """Every launch, each different one once; how long k is makes no difference."""
    backend, arch, warp_size = name.split(":")
    target = GPUTarget(backend, int(arch) if arch.isdigit() else arch, int(warp_size))
    overlaps = backend == "cuda" and int(arch) >= 90
    rows, seen = [], set()
    for model, dtype, launch in launches_for(name, overlaps):
        constants = {key: value for key, value in launch.arguments.items() if key.isupper()}
        key = (launch.function.fn.__name__, dtype, str(constants | launch.options | {"K": 0}))
        if key in seen:
            continue
        seen.add(key)
        row = {"kernel": launch.function.fn.__name__, "model": model, "dtype": dtype, "options": constants | launch.options}
        rows.append(row | compiled(launch, target))
    return rows


if __name__ == "__main__":
    print(json.dumps(rows_of(sys.argv[1])))
