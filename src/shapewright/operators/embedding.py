"""From token numbers to the residual stream: table rows, learned positions, token types, and what follows them.

The table is split by rows of the vocabulary over the tensor-parallel group (Megatron-LM): each GPU looks up the tokens it owns and an
all-reduce (reduce-scatter with sequence parallelism) adds the parts up.
"""

from __future__ import annotations

from .linear import linear
from .norms import norm
from .parallel import reduce_output
from .pointwise import dropout
from .positions import rotary_table
from .scope import Scope, Unit, chain, chains
from .types import MemoryPass, Pattern

#: Indices up to which PyTorch gives a whole block to each in turn (aten/src/ATen/native/cuda/Indexing.cu): decoding goes this way.
SMALL_INDEX = 16
#: Small kernels that sort and segment the token numbers before `embedding_dense_backward` adds rows up.
_SORT_KERNELS = 20


def gather_of(tokens: float) -> Pattern:
    """How a look-up of so many rows walks memory."""
    return "small_gather" if tokens <= SMALL_INDEX else "gather"


def embedding_units(scope: Scope) -> tuple[Unit, ...]:
    """Everything before the first layer."""
    shape, tokens, h = scope.shape, scope.tokens, scope.shape.hidden_size
    units = [*_tied(scope), _gather(scope, "embedding", rows=shape.vocab_size, width=shape.table_size)]
    if shape.table_size != h:
        units.append(linear(scope, "embedding_projection", m=tokens, n=h, k=shape.table_size))
    units += reduce_output(scope, "embedding")
    if shape.num_token_types:
        units += [_gather(scope, "token_type_embedding", rows=shape.num_token_types, width=h), _add(scope, "token_type_sum")]
    if shape.position_embedding == "learned":
        units += [_positions(scope), _add(scope, "position_sum")]
    if shape.has_embedding_norm:
        units.append(norm(scope, "embedding_norm", rows=scope.residual_tokens, width=h))
    units += dropout(scope, "embedding_dropout", num_elements=scope.residual_tokens * h, probability=shape.hidden_dropout)
    return (*units, *rotary_table(scope))


def _tied(scope: Scope) -> tuple[Unit, ...]:
    """Where embedding and logits share a table on one stage, autograd adds the two gradients."""
    shape, size = scope.shape, scope.size
    if not (shape.tie_word_embeddings and shape.has_lm_head) or scope.workload.pipeline_parallel > 1:
        return ()
    work = chain(scope.share(shape.vocab_size) * shape.table_size, ("elementwise", 2 * size, size))
    return (Unit(backward=(scope.operator("tied_gradient_sum", "residual", work, "backward"),)),)


def _gather(scope: Scope, name: str, *, rows: int, width: int) -> Unit:
    """One row of the table for each token; backward sorts the tokens, adds equal ones up in fp32 and writes into zeros."""
    size, elements = scope.size, scope.tokens * width
    local_rows = scope.share(rows) if name == "embedding" else rows
    sort = MemoryPass(pattern="scatter", read_bytes=16.0 * scope.tokens, written_bytes=16.0 * scope.tokens, num_kernels=_SORT_KERNELS)
    zeros = chain(local_rows * width, ("fill", 0, size))
    backward = chains(sort, zeros, chain(elements, ("scatter", size, 4), ("scatter", 4, size)))
    return scope.unit(
        name,
        "embedding",
        chain(elements, (gather_of(scope.tokens), size, size), rows=scope.tokens),
        backward,
        num_params=scope.num_params(name),
        local_params=local_rows * width,
        note=scope.split_note(rows, "vocabulary rows") if name == "embedding" else "",
    )


def _positions(scope: Scope) -> Unit:
    """One row for each position, shared by the sequences, whose gradients are summed first."""
    size, h = scope.size, scope.shape.hidden_size
    elements = scope.workload.query_len * h
    num_params = scope.num_params("position_embedding")
    backward = chains(
        chain(scope.tokens * h, ("reduction", size, size / scope.batch)),
        chain(num_params, ("fill", 0, size)),
        chain(elements, ("scatter", size, size)),
    )
    forward = chain(elements, ("gather", size, size))
    return scope.unit("position_embedding", "embedding", forward, backward, num_params=num_params, local_params=num_params)


def _add(scope: Scope, name: str) -> Unit:
    """A sum of embeddings; its gradient is passed on as it is."""
    elements = scope.residual_tokens * scope.shape.hidden_size
    return Unit(forward=(scope.operator(name, "embedding", chain(elements, ("elementwise", 2 * scope.size, scope.size))),))
