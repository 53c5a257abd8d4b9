"""The fixed memory that a decode step runs over: key-value cache, state and activations, at addresses that a CUDA graph may keep.

Shapes: cache `[num_layers, 2, batch, num_key_value_heads, capacity, head_dim]`, in one allocation; the rest per row of the batch. Units:
elements of the model's dtype, state in int32 (tokens int64). Positions past a row's end are never read, so nothing is zeroed.
"""

import torch
from torch import Tensor

from shapewright.decode.layers import Decoder


class Buffers:
    """One batch's cache and state. `length` (tokens in the cache) is the slot that the next key and value go to.

    Greedy steps write the token they choose at slot `length` to `generated[length - first]`.
    """

    def __init__(self, decoder: Decoder, batch: int, capacity: int) -> None:
        attention = decoder.layers[0].attention
        device = decoder.device
        shape = (len(decoder.layers), 2, batch, attention.num_key_value_heads, capacity, attention.head_dim)
        self.batch = batch
        self.capacity = capacity
        self.cache = torch.empty(shape, dtype=decoder.dtype, device=device)
        self.tokens = torch.zeros(batch, dtype=torch.int64, device=device)
        self.positions = torch.zeros(batch, dtype=torch.int32, device=device)
        self.starts = torch.zeros(batch, dtype=torch.int32, device=device)
        self.length = torch.zeros(1, dtype=torch.int32, device=device)
        self.first = torch.zeros(1, dtype=torch.int32, device=device)
        self.generated = torch.zeros(capacity, batch, dtype=torch.int64, device=device)

    def keys(self, layer: int) -> Tensor:
        """`[batch, num_key_value_heads, capacity, head_dim]`."""
        return self.cache[layer, 0]

    def values(self, layer: int) -> Tensor:
        """`[batch, num_key_value_heads, capacity, head_dim]`."""
        return self.cache[layer, 1]

    @property
    def nbytes(self) -> int:
        """Bytes of the key-value cache."""
        return self.cache.numel() * self.cache.element_size()
