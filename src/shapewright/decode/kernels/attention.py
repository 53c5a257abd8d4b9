"""Rotary embedding, append to the cache and attention of one new token a row, in one kernel; the keys are split over programs.

Formula: q, k = rotary(norm(q)), rotary(norm(k)) at the row's position; k and v go to slot `length`; out = Σ softmax(scale q·kᵢ) vᵢ over the
slots i from max(start, length + 1 - window) to length. Shapes: qkv `[batch, qkv_stride]` with query head h at h · q_stride, key and value
head at `k_first` and `v_first` + h · kv_stride; cache `[batch, num_key_value_heads, capacity, head_dim]`; cosines and sines
`[positions, rotary_dim]` fp32; out `[batch, num_attention_heads, head_dim]`. Lengths are read on the device: a captured launch serves every
length.

One program takes one key-value head of one row, all its query heads with it (a key is read once for all of them), over one of `SPLITS`
ranges of slots. Split 0 has the new key and value in registers and writes them to the cache; nobody reads that slot in this launch. Each
split leaves (Σ e^{s-m} v, Σ e^{s-m}, m) in a workspace (fp32); the last of a head to arrive merges them in order and sets its counter back.

Softmax, two forms. Online (`UNIFIED=False`): one query on the ordinary units keeps a running maximum in every lane of slots, so that
nothing is exchanged in the loop; else one maximum a query. Unified (`UNIFIED=True`, FlashDecoding++, section 3): all subtract the same
`phi`, nothing is rescaled and partial sums just add; where a score leaves phi ± `BOUND` (log2), or every one lies below, the last program
does that head again with the online form, so that the result is right on any input, and counts it in `fallbacks`.

Reference: `tests/unit/decode/kernels/`, against float64. Source: Flash-Decoding (split keys); FlashDecoding++ (Hong et al., 2024).
"""

import triton
import triton.language as tl

from shapewright.decode.kernels.common import let_next_start, wait_for_previous


@triton.jit
def head_of(head, d, is_d, ROTARY: tl.constexpr):
    """One head per row of `head` pointers `[heads, 1]`, as it lies, and with its halves swapped where it is turned: `[heads, BLOCK_D]`."""
    x = tl.load(head + d, mask=is_d, other=0.0)
    swapped = x
    if ROTARY > 0:
        swapped = tl.load(head + swapped_places(d, ROTARY), mask=is_d & (d < ROTARY), other=0.0)
    return x, swapped


@triton.jit
def swapped_places(d, ROTARY: tl.constexpr):
    """Where the other of a pair of turned dimensions lies."""
    half: tl.constexpr = ROTARY // 2
    return tl.where(d < half, d + half, d - half)


@triton.jit
def turned(x, swapped, d, norm_weight, c, s, eps, HEAD_DIM: tl.constexpr, ROTARY: tl.constexpr, NORM: tl.constexpr):
    """Heads normed over their dimensions and turned by cosines c and sines s, in fp32."""
    x = x.to(tl.float32)
    swapped = swapped.to(tl.float32)
    scale = 1.0
    if NORM:
        scale = tl.rsqrt(tl.sum(x * x, 1) / HEAD_DIM + eps)[:, None]
        x *= scale * tl.load(norm_weight + d, mask=d < HEAD_DIM, other=0.0).to(tl.float32)
    if ROTARY > 0:
        if NORM:
            swapped *= scale * tl.load(norm_weight + swapped_places(d, ROTARY), mask=d < ROTARY, other=0.0).to(tl.float32)
        x = x * c + tl.where(d < ROTARY // 2, -swapped, swapped) * s
    return x


@triton.jit
def slots_of(pointer, at, end, d, is_d, HEAD_DIM: tl.constexpr, BLOCK_S: tl.constexpr):
    """`[BLOCK_S, BLOCK_D]` of a head's keys or values from slot `at` on; zero from `end` on."""
    slot = at + tl.arange(0, BLOCK_S)
    return tl.load(pointer + slot[:, None].to(tl.int64) * HEAD_DIM + d, mask=(slot < end)[:, None] & is_d, other=0.0)


@triton.jit
def one_query(q, key, value, at, end, m, total, out, phi, BLOCK_S: tl.constexpr, UNIFIED: tl.constexpr):
    """One tile of slots for one query `[1, BLOCK_D]`: sums kept per lane of slots, `[BLOCK_S]` and `[BLOCK_S, BLOCK_D]`."""
    score = tl.sum(key.to(tl.float32) * q, 1)
    score = tl.where(at + tl.arange(0, BLOCK_S) < end, score, float("-inf"))
    if UNIFIED:
        new = tl.maximum(m, score)
        weight = tl.exp2(score - phi)
        total += weight
        out += weight[:, None] * value.to(tl.float32)
    else:
        new = tl.maximum(m, score)
        safe = tl.where(new == float("-inf"), 0.0, new)
        keep = tl.exp2(m - safe)
        weight = tl.exp2(score - safe)
        total = total * keep + weight
        out = out * keep[:, None] + weight[:, None] * value.to(tl.float32)
    return new, total, out


@triton.jit
def many_queries(q, key, value, at, end, m, total, out, phi, BLOCK_S: tl.constexpr, UNIFIED: tl.constexpr):
    """One tile of slots for the queries `[QUERIES, BLOCK_D]` of a key-value head, on the matrix units."""
    score = tl.dot(q.to(key.dtype), tl.trans(key), input_precision="ieee")
    score = tl.where((at + tl.arange(0, BLOCK_S) < end)[None, :], score, float("-inf"))
    new = tl.maximum(m, tl.max(score, 1))
    if UNIFIED:
        weight = tl.exp2(score - phi)
    else:
        safe = tl.where(new == float("-inf"), 0.0, new)
        keep = tl.exp2(m - safe)
        weight = tl.exp2(score - safe[:, None])
        total *= keep
        out *= keep[:, None]
    total += tl.sum(weight, 1)
    out = tl.dot(weight.to(value.dtype), value, out, input_precision="ieee")
    return new, total, out


@triton.jit
def merged(m, total, out, score, value):
    """One more slot: score `[QUERIES]` (-inf: none), value `[1, BLOCK_D]`."""
    new = tl.maximum(m, score)
    safe = tl.where(new == float("-inf"), 0.0, new)
    keep = tl.exp2(m - safe)
    weight = tl.exp2(score - safe)
    return new, total * keep + weight, out * keep[:, None] + weight[:, None] * value


@triton.jit
def attended(
    q, key, value, keys, values, begin, end, d, is_d, phi,
    HEAD_DIM: tl.constexpr, QUERIES: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
    UNIFIED: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """(m, Σ e^{s-m}, Σ e^{s-m} v) of slots `begin` to `end`, whose first tile is `key` and `value`.

    `UNIFIED`: with phi in place of m, and m the largest score all the same.
    """
    LANES: tl.constexpr = BLOCK_S if QUERIES == 1 else QUERIES
    m = tl.full([LANES], float("-inf"), tl.float32)
    total = tl.zeros([LANES], tl.float32)
    out = tl.zeros([LANES, BLOCK_D], tl.float32)
    if QUERIES == 1:
        m, total, out = one_query(q, key, value, begin, end, m, total, out, phi, BLOCK_S, UNIFIED)
    else:
        m, total, out = many_queries(q, key, value, begin, end, m, total, out, phi, BLOCK_S, UNIFIED)
    for at in tl.range(begin + BLOCK_S, end, BLOCK_S, num_stages=STAGES):
        key = slots_of(keys, at, end, d, is_d, HEAD_DIM, BLOCK_S)
        value = slots_of(values, at, end, d, is_d, HEAD_DIM, BLOCK_S)
        if QUERIES == 1:
            m, total, out = one_query(q, key, value, at, end, m, total, out, phi, BLOCK_S, UNIFIED)
        else:
            m, total, out = many_queries(q, key, value, at, end, m, total, out, phi, BLOCK_S, UNIFIED)
    if QUERIES == 1:
        largest = tl.max(m, 0)
        if not UNIFIED:
            weight = tl.exp2(m - tl.where(largest == float("-inf"), 0.0, largest))
            total *= weight
            out *= weight[:, None]
        one_m = tl.full([1], 0.0, tl.float32) + largest
        one_total = tl.full([1], 0.0, tl.float32) + tl.sum(total, 0)
        return one_m, one_total, tl.sum(out, 0)[None, :]
    else:
        return m, total, out


@triton.jit
def attention_kernel(
    qkv, cache_keys, cache_values, cosines, sines, query_norm, key_norm, positions, starts, length_pointer,
    out_pointer, partial_out, partial_total, partial_m, counters, fallbacks,
    num_kv_heads, capacity, qkv_stride, q_stride, k_first, v_first, kv_stride, window, scale, eps, phi,
    GROUP: tl.constexpr, QUERIES: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, ROTARY: tl.constexpr,
    HAS_NORM: tl.constexpr, HAS_WINDOW: tl.constexpr, SPLITS: tl.constexpr, BLOCK_S: tl.constexpr, STAGES: tl.constexpr,
    UNIFIED: tl.constexpr, BOUND: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0)
    split = tl.program_id(1)
    row = head // num_kv_heads
    kv_head = head % num_kv_heads
    let_next_start(OVERLAP)
    length = tl.load(length_pointer)
    low = tl.load(starts + row)
    if HAS_WINDOW:
        low = tl.maximum(low, length + 1 - window)
    share = tl.cdiv(tl.cdiv(length - low, SPLITS), BLOCK_S) * BLOCK_S
    begin = low + split * share
    end = tl.minimum(begin + share, length)
    base = head.to(tl.int64) * capacity * HEAD_DIM
    keys = cache_keys + base
    values = cache_values + base
    queries = tl.arange(0, QUERIES)
    is_query = queries < GROUP
    d = tl.arange(0, BLOCK_D)[None, :]
    is_d = d < HEAD_DIM
    old_key = slots_of(keys, begin, end, d, is_d, HEAD_DIM, BLOCK_S)
    old_value = slots_of(values, begin, end, d, is_d, HEAD_DIM, BLOCK_S)
    c = 1.0
    s = 0.0
    if ROTARY > 0:
        position = tl.load(positions + row)
        c = tl.load(cosines + position * ROTARY + d, mask=d < ROTARY, other=1.0)
        s = tl.load(sines + position * ROTARY + d, mask=d < ROTARY, other=0.0)
    here = qkv + row.to(tl.int64) * qkv_stride
    q_heads = here + (kv_head * GROUP + queries)[:, None] * q_stride
    one = tl.arange(0, 1)[:, None]
    key_head = here + k_first + kv_head * kv_stride + one
    value_head = here + v_first + kv_head * kv_stride + one
    wait_for_previous(OVERLAP)
    q, swapped_q = head_of(q_heads, d, is_d & is_query[:, None], ROTARY)
    # Asked for now, used after the loop: the split that has them is the one that the others wait for.
    is_new = is_d & (split == 0)
    new_key, swapped_key = head_of(key_head, d, is_new, ROTARY)
    new_value = tl.load(value_head + d, mask=is_new, other=0.0)
    q = turned(q, swapped_q, d, query_norm, c, s, eps, HEAD_DIM, ROTARY, HAS_NORM) * scale
    if QUERIES > 1:
        # The matrix units take queries in the cache's dtype: the new key meets the same ones, or its weight is off beside theirs.
        q = q.to(cache_keys.dtype.element_ty).to(tl.float32)
    m, total, out = attended(
        q, old_key, old_value, keys, values, begin, end, d, is_d, phi, HEAD_DIM, QUERIES, BLOCK_S, BLOCK_D, UNIFIED, STAGES
    )  # fmt: skip
    if split == 0:
        stored = cache_keys.dtype.element_ty
        key = turned(new_key, swapped_key, d, key_norm, c, s, eps, HEAD_DIM, ROTARY, HAS_NORM).to(stored)
        value = new_value.to(stored)
        slot = base + length.to(tl.int64) * HEAD_DIM + d
        tl.store(cache_keys + slot, key, mask=is_d)
        tl.store(cache_values + slot, value, mask=is_d)
        score = tl.sum(q * key.to(tl.float32), 1)
        if UNIFIED:
            weight = tl.exp2(score - phi)
            m = tl.maximum(m, score)
            total += weight
            out += weight[:, None] * value.to(tl.float32)
        else:
            m, total, out = merged(m, total, out, score, value.to(tl.float32))
    out_row = out_pointer + (row.to(tl.int64) * num_kv_heads + kv_head) * GROUP * HEAD_DIM
    if SPLITS == 1 and not UNIFIED:
        only = (out / total[:, None]).to(out_pointer.dtype.element_ty)
        tl.store(out_row + queries[:, None] * HEAD_DIM + d, only, mask=is_d & is_query[:, None])
        return
    place = head.to(tl.int64) * QUERIES * SPLITS
    mine = place + queries * SPLITS + split
    tl.store(partial_out + mine[:, None] * BLOCK_D + d, out)
    tl.store(partial_total + mine, total)
    tl.store(partial_m + mine, m)
    tl.debug_barrier()
    if SPLITS > 1:
        if tl.atomic_add(counters + head, 1, sem="acq_rel", scope="gpu") < SPLITS - 1:
            return
        tl.store(counters + head, 0)
    splits = tl.arange(0, SPLITS)
    outside = 0
    for query in tl.static_range(GROUP):
        at = place + query * SPLITS + splits
        m_s = tl.load(partial_m + at, cache_modifier=".cg")
        total_s = tl.load(partial_total + at, cache_modifier=".cg")
        out_s = tl.load(partial_out + at[:, None] * BLOCK_D + d, cache_modifier=".cg")
        largest = tl.max(m_s, 0)
        if UNIFIED:
            outside += tl.where((largest - phi > BOUND) | (largest - phi < -BOUND), 1, 0)
        else:
            weight = tl.exp2(m_s - largest)
            total_s *= weight
            out_s *= weight[:, None]
        result = (tl.sum(out_s, 0) / tl.sum(total_s, 0))[None, :]
        tl.store(out_row + query * HEAD_DIM + d, result.to(out_pointer.dtype.element_ty), mask=is_d)
    if UNIFIED:
        if outside > 0:
            tl.atomic_add(fallbacks, 1)
            tl.debug_barrier()
            old_key = slots_of(keys, low, length, d, is_d, HEAD_DIM, BLOCK_S)
            old_value = slots_of(values, low, length, d, is_d, HEAD_DIM, BLOCK_S)
            m, total, out = attended(
                q, old_key, old_value, keys, values, low, length, d, is_d, phi,
                HEAD_DIM, QUERIES, BLOCK_S, BLOCK_D, False, STAGES,
            )  # fmt: skip
            new_key, swapped_key = head_of(key_head, d, is_d, ROTARY)
            key = turned(new_key, swapped_key, d, key_norm, c, s, eps, HEAD_DIM, ROTARY, HAS_NORM)
            key = key.to(cache_keys.dtype.element_ty).to(tl.float32)
            value = tl.load(value_head + d, mask=is_d, other=0.0).to(tl.float32)
            m, total, out = merged(m, total, out, tl.sum(q * key, 1), value)
            again = (out / total[:, None]).to(out_pointer.dtype.element_ty)
            tl.store(out_row + queries[:, None] * HEAD_DIM + d, again, mask=is_d & is_query[:, None])
