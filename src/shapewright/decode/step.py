"""One decode step over fixed buffers: every launch of it, made once.

Shapes and state as in `buffers`: tokens, positions, starts and length stand on the device before a step; `logits [batch, vocab]` (the
model's dtype) hold its result after it. The greedy form goes on by itself: it writes the next token, its place in `generated [slots,
batch]`, and moves positions and length. Per layer: norm + QKV; rotary, append and attention; output + residual; norm + gate and up (or up)
with the activation; down + residual. Five launches a layer, and one for each norm that stands apart; an RMS norm is begun by the maker of
its input and ended by the product after it; a layer norm within a product has what it wants of the weights in `constants`; a parallel block
keeps its second sum in a buffer of its own.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from shapewright.decode.buffers import Buffers
from shapewright.decode.constants import Constants
from shapewright.decode.kernels.argmax import argmax_kernel
from shapewright.decode.kernels.attention import attention_kernel
from shapewright.decode.kernels.embed import embed_kernel
from shapewright.decode.layers import Attention, Decoder
from shapewright.decode.products import (
    Call,
    Handover,
    Launch,
    LayerProducts,
    Operands,
    Product,
    Scratch,
    launch,
    layer_products,
    logits_product,
    next_of,
    num_programs,
    product_calls,
    takes_constants,
    takes_handover,
)
from shapewright.decode.tile import AttentionTile, Tile, block_d
from shapewright.units import ceil_div

LOG2_E = 1.4426950408889634
ARGMAX_BLOCKS = 16
# How far from its one maximum (log2) a unified softmax may be in fp16 on the matrix units, which take its weights in the cache's dtype:
# fp16 ends at 2^16 and loses bits below 2^-14.
FP16_BOUND = 10.0


class Choices(Protocol):
    """The dispatch table as a step asks it."""

    overlaps: bool

    def product(self, product: Product, rows: int) -> Tile:
        """How a product of `rows` rows runs."""
        ...

    def attention(self, attention: Attention, batch: int) -> AttentionTile:
        """How attention of `batch` rows runs."""
        ...


class Step:
    """`run()` launches a step; `run_greedy()` one that chooses and advances. The first makes the constants of its products, and so does the
    next after `forget()`.
    """

    def __init__(self, decoder: Decoder, buffers: Buffers, choices: Choices) -> None:
        self.decoder, self.buffers, self.choices = decoder, buffers, choices
        self.overlaps = choices.overlaps
        self.scratch = Scratch(decoder.device, decoder.dtype)
        batch = buffers.batch
        self.logits = self._empty(batch, decoder.vocab_size)
        self.residual = self._empty(batch, decoder.hidden_size)
        self.second = self._empty(batch, decoder.hidden_size)
        self._layer_buffers()
        self.constants: list[Constants] = []
        self.calls = self._calls()
        self.is_stale = bool(self.constants)
        self.choose = self._argmax()

    def run(self) -> None:
        """Logits of the token in every row."""
        if self.is_stale:
            self.refresh()
        for call in self.calls:
            call()

    def run_greedy(self) -> None:
        """Logits, the likeliest token, and one slot further."""
        self.run()
        self.choose()

    def forget(self) -> None:
        """Weights may have been written into."""
        self.is_stale = bool(self.constants)

    def refresh(self) -> None:
        """Make all constants anew."""
        for constants in self.constants:
            constants.refresh()
        self.is_stale = False

    def launches(self) -> Iterator[Launch]:
        """Of Triton's kernels; those of later layers as well."""
        made = (call for constants in self.constants for call in constants.calls)
        for call in (*made, *self.calls, self.choose):
            if isinstance(call, Launch):
                yield call

    def _empty(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or self.decoder.dtype, device=self.decoder.device)

    def _calls(self) -> list[Call]:
        """Embedding, layers, logits: each product that makes the input of an RMS norm leaves it half done."""
        layers = [layer_products(layer) for layer in self.decoder.layers]
        logits = logits_product(self.decoder)
        calls: list[Call] = []
        before = self._handover(layers[0].qkv, self._embed_grid()[1])
        calls.append(self._embed(before))
        for index, products in enumerate(layers):
            following = layers[index + 1].qkv if index + 1 < len(layers) else logits
            after = self._handover(following, num_programs(products.down, self._tile(products.down)))
            calls += self._layer(index, products, before, after)
            before = after
        return [*calls, *self._product(logits, self.residual, self.logits, before=before)]

    def _handover(self, product: Product, programs: int) -> Handover | None:
        """What the maker of a product's input, of so many programs, leaves for its norm."""
        batch = self.buffers.batch
        if product.norm is None or not takes_handover(product, self._tile(product), batch, programs):
            return None
        return self.scratch.handover(product.norm, batch, programs)

    def _tile(self, product: Product) -> Tile:
        return self.choices.product(product, self.buffers.batch)

    def _embed_grid(self) -> tuple[int, int]:
        return self.buffers.batch, ceil_div(self.decoder.hidden_size, self._embed_block())

    def _embed_block(self) -> int:
        return min(1024, 1 << (self.decoder.hidden_size - 1).bit_length())

    def _embed(self, after: Handover | None) -> Call:
        decoder, buffers = self.decoder, self.buffers
        table = decoder.position_embedding
        width = decoder.hidden_size
        grid = self._embed_grid()
        positions = decoder.embedding if table is None else table
        arguments = (
            buffers.tokens, buffers.positions, decoder.embedding, positions, self.residual, *next_of(self.residual, after), width,
            decoder.position_offset,
        )  # fmt: skip
        options = {
            "HAS_POSITIONS": table is not None, "HANDS_OVER": after is not None, "BLOCK": self._embed_block(), "OVERLAP": self.overlaps,
        }  # fmt: skip
        # Not as early as it could: everything later in the step may then read the state before it waits.
        return Launch(kernel=embed_kernel, grid=grid, arguments=arguments, options=options)

    def _layer_buffers(self) -> None:
        first = self.decoder.layers[0]
        batch = self.buffers.batch
        self.qkv = self._empty(batch, sum(part.n for part in first.attention.parts))
        self.attended = self._empty(batch, first.attention.num_attention_heads * first.attention.head_dim)
        self.activated = self._empty(batch, first.mlp.up.n)
        self.rotary = self._rotary()
        self._attention_scratch()

    def _rotary(self) -> tuple[Tensor, Tensor]:
        if self.decoder.rotary is None:
            return self.residual, self.residual
        return self.decoder.rotary(self.buffers.capacity)

    def _layer(self, index: int, products: LayerProducts, before: Handover | None, after: Handover | None) -> list[Call]:
        x, layer = self.residual, products.layer
        sum_of_attention = self.second if layer.is_parallel else x
        # In a parallel block both norms are of the same x, which was handed over for one of them.
        middle = None if layer.is_parallel else self._handover(products.up, num_programs(products.out, self._tile(products.out)))
        return [
            *self._product(products.qkv, x, self.qkv, before=before),
            self._attention(index, layer.attention),
            *self._product(products.out, self.attended, sum_of_attention, x, after=middle),
            *self._product(products.up, x, self.activated, before=middle),
            *self._product(products.down, self.activated, x, sum_of_attention, after=after),
        ]

    def _product(
        self, product: Product, x: Tensor, out: Tensor, residual: Tensor | None = None, *,
        before: Handover | None = None, after: Handover | None = None,
    ) -> list[Call]:  # fmt: skip
        tile, constants = self._tile(product), None
        if takes_constants(product, tile):
            self.constants.append(Constants(product, tile, self.scratch, overlaps=self.overlaps))
            constants = self.constants[-1].values
        operands = Operands(
            x=x, out=out, residual=residual, scratch=self.scratch, overlaps=self.overlaps, before=before, after=after, constants=constants
        )  # fmt: skip
        return product_calls(product, tile, operands)

    def _attention(self, index: int, attention: Attention) -> Call:
        buffers = self.buffers
        tile = self.choices.attention(attention, buffers.batch)
        heads, kv_heads, width = attention.num_attention_heads, attention.num_key_value_heads, attention.head_dim
        queries = tile.queries(heads // kv_heads)
        programs = buffers.batch * kv_heads
        norm = attention.query_norm
        bound = min(tile.bound, FP16_BOUND) if self.decoder.dtype == torch.float16 and queries > 1 else tile.bound
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
            "OVERLAP": self.overlaps, "num_warps": tile.warps,
        }  # fmt: skip
        return launch(attention_kernel, (programs, tile.splits), arguments, options)

    def _attention_scratch(self) -> None:
        """Sums of splits, for whichever layer needs most; the counters stand at zero between launches."""
        batch = self.buffers.batch
        partials, width, programs = 1, 1, 1
        for attention in (layer.attention for layer in self.decoder.layers):
            kv_heads = attention.num_key_value_heads
            tile = self.choices.attention(attention, batch)
            sums = tile.queries(attention.num_attention_heads // kv_heads) * tile.splits
            partials, programs = max(partials, batch * kv_heads * sums), max(programs, batch * kv_heads)
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


def head_places(attention: Attention) -> tuple[int, int, int, int]:
    """Elements between query heads, to the first key and value, and between key-value heads, in a row of QKV."""
    width, heads, kv_heads = attention.head_dim, attention.num_attention_heads, attention.num_key_value_heads
    if attention.layout == "interleaved":
        return 3 * width, width, 2 * width, 3 * width
    return width, heads * width, (heads + kv_heads) * width, width
