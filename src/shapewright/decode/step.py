"""One decode step over fixed buffers: every launch of it, made once.

Shapes and state as in `buffers`: tokens, positions, starts and length stand on the device before a step; `logits [batch, vocab]` (the
model's dtype) hold its result after it. The greedy form goes on by itself: it writes the next token, its place in `generated [slots,
batch]`, and moves positions and length. Per layer: norm + QKV; rotary, append and attention; output + residual; norm + gate and up (or up)
with the activation; down + residual. Five launches a layer, and one for each norm that stands apart; a parallel block keeps its second
sum in a buffer of its own.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from shapewright.decode.buffers import Buffers
from shapewright.decode.kernels.argmax import argmax_kernel
from shapewright.decode.kernels.attention import attention_kernel
from shapewright.decode.kernels.embed import embed_kernel
from shapewright.decode.layers import Attention, Decoder, Layer
from shapewright.decode.products import Call, Operands, Product, Scratch, ceil_div, launch, product_calls
from shapewright.decode.tile import AttentionTile, Tile

LOG2_E = 1.4426950408889634
ARGMAX_BLOCKS = 16
# How far from its one maximum (log2) a unified softmax may be in fp16 on the matrix units, which take its weights in the cache's dtype:
# fp16 ends at 2^16 and loses bits below 2^-14.
FP16_BOUND = 10.0
# A prefetch begins on, and is a multiple of, so many bytes: every slot of a cache does where a head is.
PREFETCH_BYTES = 16


class Choices(Protocol):
    """The dispatch table as a step asks it."""

    overlaps: bool

    def product(self, product: Product, rows: int) -> Tile:
        """How a product of `rows` rows runs."""
        ...

    def attention(self, attention: Attention, batch: int, *, is_short: bool) -> AttentionTile:
        """How attention of `batch` rows runs, over few slots or many."""
        ...


class Step:
    """`run()` launches a step; `run_greedy()` one that chooses and advances."""

    def __init__(self, decoder: Decoder, buffers: Buffers, choices: Choices) -> None:
        self.decoder, self.buffers, self.choices = decoder, buffers, choices
        self.overlaps = choices.overlaps
        self.scratch = Scratch(decoder.device, decoder.dtype)
        batch = buffers.batch
        self.logits = self._empty(batch, decoder.vocab_size)
        self.residual = self._empty(batch, decoder.hidden_size)
        self.second = self._empty(batch, decoder.hidden_size)
        self._layer_buffers()
        embed, logits = self._embed(), self._logits()
        self.calls = {is_short: [embed, *self._layers(is_short), *logits] for is_short in (True, False)}
        self.choose = self._argmax()

    def run(self, *, is_short: bool = False) -> None:
        """Logits of the token in every row; `is_short` where the host knows that few slots are filled."""
        for call in self.calls[is_short]:
            call()

    def run_greedy(self, *, is_short: bool = False) -> None:
        """Logits, the likeliest token, and one slot further."""
        self.run(is_short=is_short)
        self.choose()

    def _empty(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or self.decoder.dtype, device=self.decoder.device)

    def _embed(self) -> Call:
        decoder, buffers = self.decoder, self.buffers
        table = decoder.position_embedding
        width = decoder.hidden_size
        block = min(1024, 1 << (width - 1).bit_length())
        grid = (buffers.batch, ceil_div(width, block))
        positions = decoder.embedding if table is None else table
        arguments = (
            buffers.tokens, buffers.positions, decoder.embedding, positions, self.residual, width, decoder.position_offset,
        )  # fmt: skip
        options = {"HAS_POSITIONS": table is not None, "BLOCK": block, "OVERLAP": self.overlaps}
        # Not as early as it could: everything later in the step may then read the state before it waits.
        kernel: Any = embed_kernel
        return lambda: kernel[grid](*arguments, **options)

    def _layer_buffers(self) -> None:
        first = self.decoder.layers[0]
        batch = self.buffers.batch
        self.qkv = self._empty(batch, sum(part.n for part in first.attention.parts))
        self.attended = self._empty(batch, first.attention.num_attention_heads * first.attention.head_dim)
        self.activated = self._empty(batch, first.mlp.up.n)
        self.rotary = self._rotary()
        self._attention_scratch()

    def _layers(self, is_short: bool) -> list[Call]:
        return [call for index, layer in enumerate(self.decoder.layers) for call in self._layer(index, layer, is_short)]

    def _rotary(self) -> tuple[Tensor, Tensor]:
        if self.decoder.rotary is None:
            return self.residual, self.residual
        return self.decoder.rotary(self.buffers.capacity)

    def _layer(self, index: int, layer: Layer, is_short: bool) -> list[Call]:
        attention, mlp = layer.attention, layer.mlp
        x = self.residual
        after = self.second if layer.is_parallel else x
        qkv = Product(epilogue="qkv", parts=attention.parts, norm=layer.attention_norm)
        out = Product(epilogue="residual", parts=(attention.out,))
        is_gated = mlp.gate is not None
        up = Product(
            epilogue="gated" if is_gated else "activation",
            parts=(mlp.gate, mlp.up) if mlp.gate is not None else (mlp.up,),
            norm=layer.mlp_norm,
            activation=mlp.activation,
        )
        down = Product(epilogue="residual", parts=(mlp.down,))
        return [
            *self._product(qkv, x, self.qkv),
            self._attention(index, attention, is_short),
            *self._product(out, self.attended, after, x),
            *self._product(up, x, self.activated),
            *self._product(down, self.activated, x, after),
        ]

    def _product(self, product: Product, x: Tensor, out: Tensor, residual: Tensor | None = None) -> list[Call]:
        tile = self.choices.product(product, self.buffers.batch)
        operands = Operands(x=x, out=out, residual=residual, scratch=self.scratch, overlaps=self.overlaps)
        return product_calls(product, tile, operands)

    def _logits(self) -> list[Call]:
        decoder = self.decoder
        return self._product(Product(epilogue="logits", parts=(decoder.head,), norm=decoder.final_norm), self.residual, self.logits)

    def _attention(self, index: int, attention: Attention, is_short: bool) -> Call:
        buffers = self.buffers
        tile = self.choices.attention(attention, buffers.batch, is_short=is_short)
        heads, kv_heads, width = attention.num_attention_heads, attention.num_key_value_heads, attention.head_dim
        queries = tile.queries(heads // kv_heads)
        programs = buffers.batch * kv_heads
        norm = attention.query_norm
        bound = min(tile.bound, FP16_BOUND) if self.decoder.dtype == torch.float16 and queries > 1 else tile.bound
        can_prefetch = tile.prefetch and self.overlaps and width * self.decoder.dtype.itemsize % PREFETCH_BYTES == 0
        arguments = (
            self.qkv, buffers.keys(index), buffers.values(index), *self.rotary,
            self.qkv if norm is None else norm.weight, self.qkv if attention.key_norm is None else attention.key_norm.weight,
            buffers.positions, buffers.starts, buffers.length, self.attended, *self.partial, self.attention_counters, self.fallbacks,
            kv_heads, buffers.capacity, self.qkv.stride(0), *head_places(attention), attention.window or 0,
            attention.scale * LOG2_E, 0.0 if norm is None else norm.eps, tile.phi * LOG2_E,
        )  # fmt: skip
        options = {
            "GROUP": heads // kv_heads, "QUERIES": queries, "HEAD_DIM": width, "BLOCK_D": block_d(width),
            "ROTARY": attention.rotary_dim, "HAS_NORM": norm is not None, "HAS_WINDOW": attention.window is not None,
            "SPLITS": tile.splits, "BLOCK_S": tile.block_s, "STAGES": tile.stages, "UNIFIED": tile.unified, "BOUND": bound,
            "OVERLAP": self.overlaps, "PREFETCH": can_prefetch, "num_warps": tile.warps,
        }  # fmt: skip
        return launch(attention_kernel, (programs, tile.splits), arguments, options)

    def _attention_scratch(self) -> None:
        """Sums of splits, for whichever layer and length needs most; the counters stand at zero between launches."""
        batch = self.buffers.batch
        partials, width, programs = 1, 1, 1
        for attention in (layer.attention for layer in self.decoder.layers):
            kv_heads = attention.num_key_value_heads
            tiles = [self.choices.attention(attention, batch, is_short=is_short) for is_short in (True, False)]
            most = max(tile.queries(attention.num_attention_heads // kv_heads) * tile.splits for tile in tiles)
            partials, programs = max(partials, batch * kv_heads * most), max(programs, batch * kv_heads)
            width = max(width, block_d(attention.head_dim))
        self.partial = tuple(self._empty(partials * size, dtype=torch.float32) for size in (width, 1, 1))
        self.attention_counters = torch.zeros(programs, dtype=torch.int32, device=self.decoder.device)
        self.fallbacks = torch.zeros(1, dtype=torch.int32, device=self.decoder.device)

    def _argmax(self) -> Callable[[], object]:
        buffers, batch, vocab = self.buffers, self.buffers.batch, self.decoder.vocab_size
        self.best = tuple(self._empty(batch * ARGMAX_BLOCKS, dtype=torch.int32) for _ in range(2))
        self.argmax_counters = torch.zeros(batch + 1, dtype=torch.int32, device=self.decoder.device)
        arguments = (
            self.logits, buffers.tokens, buffers.positions, buffers.length, buffers.first, buffers.generated, *self.best,
            self.argmax_counters, vocab, batch, buffers.generated.shape[0],
        )  # fmt: skip
        options = {"BLOCKS": ARGMAX_BLOCKS, "BLOCK": 1024, "OVERLAP": self.overlaps}
        return launch(argmax_kernel, (batch, ARGMAX_BLOCKS), arguments, options)


def block_d(head_dim: int) -> int:
    """Width of a head's tile: a power of two, and no narrower than the matrix units take."""
    return max(16, 1 << (head_dim - 1).bit_length())


def head_places(attention: Attention) -> tuple[int, int, int, int]:
    """Elements between query heads, to the first key and value, and between key-value heads, in a row of QKV."""
    width, heads, kv_heads = attention.head_dim, attention.num_attention_heads, attention.num_key_value_heads
    if attention.layout == "interleaved":
        return 3 * width, width, 2 * width, 3 * width
    return width, heads * width, (heads + kv_heads) * width, width
