"""What the kernels share: activations, the choice of a part's weight, an RMS norm between two products, and how kernels overlap.

An RMS norm between two products, x / √(mean(x²) + eps) · w, needs all of x for one number, and a kernel of its own is a wait in the
chain of a step. So the product before it hands over x · w, rounded as x is, and the sum of squares of its own outputs, one a program and
row, in fp32; the product after it multiplies its sums by 1 / √(Σ / k + eps).

Programmatic dependent launch (NVIDIA, compute capability 9.0 on): a kernel lets its successor start as soon as all its programs run
(`let_next_start`), and the successor waits (`wait_for_previous`) before it touches anything that an earlier kernel of the step writes.
Before that it may read what none of them does, so that memory is busy while the chain's dependencies resolve: weights, and of the step's
state the length, starts, positions and older slots of the cache, because the step's first kernel is launched without this.
Waiting is transitive, because every program of every kernel waits. Elsewhere (`OVERLAP=False`: AMD, older NVIDIA, the interpreter) both
are nothing.

Source: CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization"; PTX ISA, `griddepcontrol`.

What a kernel is told is told in numbers: `NORM` 0 none, 1 an RMS norm, 2 a layer norm; `ACTIVATION` as in `activate`. Not by names:
whether Triton puts a helper's global constants into a kernel's cache key depends on which kernels used that helper before in the process,
so that what one process compiled another would not find.
"""

import triton
import triton.language as tl


@triton.jit
def wait_for_previous(OVERLAP: tl.constexpr):
    """Until every earlier kernel is done and what it wrote can be read."""
    if OVERLAP:
        tl.extra.cuda.gdc_wait()  # pyright: ignore[reportAttributeAccessIssue]


@triton.jit
def let_next_start(OVERLAP: tl.constexpr):
    """The next kernel may start its programs wherever there is room beside this one's."""
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()  # pyright: ignore[reportAttributeAccessIssue]


@triton.jit
def part_of(
    block, weight_0, weight_1, weight_2, bias_0, bias_1, bias_2, n_0, n_1, n_2, PARTS: tl.constexpr, BLOCK_N: tl.constexpr
):  # fmt: skip
    """Which part block number `block` belongs to: its weight, bias and size, its first column of the output, and the block within it."""
    weight = weight_0
    bias = bias_0
    n = n_0
    first = 0
    if PARTS == 3:
        blocks_0 = tl.cdiv(n_0, BLOCK_N)
        blocks_1 = tl.cdiv(n_1, BLOCK_N)
        if block >= blocks_0 + blocks_1:
            weight = weight_2
            bias = bias_2
            n = n_2
            first = n_0 + n_1
            block -= blocks_0 + blocks_1
        elif block >= blocks_0:
            weight = weight_1
            bias = bias_1
            n = n_1
            first = n_0
            block -= blocks_0
    return weight, bias, n, first, block


@triton.jit
def square_sums(pointer, row, num_squares, SQUARES: tl.constexpr):
    """The `num_squares` sums that were handed over for a row, in `[SQUARES]`, zero past the end."""
    square = tl.arange(0, SQUARES)
    return tl.load(pointer + row * num_squares + square, mask=square < num_squares, other=0.0)


@triton.jit
def square_sums_of_rows(pointer, rows, num_rows, num_squares, SQUARES: tl.constexpr):
    """The same for each of `rows` `[R]`: `[R, SQUARES]`, zero from `num_rows` on."""
    square = tl.arange(0, SQUARES)[None, :]
    is_in = (rows < num_rows)[:, None] & (square < num_squares)
    return tl.load(pointer + rows[:, None] * num_squares + square, mask=is_in, other=0.0)


@triton.jit
def handed_over(stored, weight, next_pointers, mask):
    """Writes x · w of outputs as they were stored, where `mask` is, and gives their squares, zero elsewhere."""
    wide = tl.where(mask, stored.to(tl.float32), 0.0)
    tl.store(next_pointers, (wide * weight.to(tl.float32)).to(stored.dtype), mask=mask)
    return wide * wide


@triton.jit
def mean_and_scale(totals, squares, k, eps):
    """Of a row, for a layer norm: its mean less `first`, and its scale, from parts of Σ(x - first) and Σ(x - first)², zero where no x is.

    One exchange between threads, where sums of centred squares take two. The variance is a difference, of which fp32 loses (first - mean)²
    / variance · 2^-24 or so; `first`, any of the row's own numbers, keeps that below k · 2^-24 however far the mean is from zero.
    """
    total, square = tl.split(tl.sum(tl.join(totals, squares), 0))
    shift = total / k
    return shift, tl.rsqrt(tl.maximum(square / k - shift * shift, 0.0) + eps)


@triton.jit
def activate(x, ACTIVATION: tl.constexpr):
    """1: silu x σ(x); 2: relu max(x, 0); 3: gelu x Φ(x); 4: gelu_tanh x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))); 0: x. In fp32."""
    if ACTIVATION == 1:
        return x / (1.0 + tl.exp(-x))
    elif ACTIVATION == 2:
        return tl.maximum(x, 0.0)
    elif ACTIVATION == 3:
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == 4:
        u = 0.7978845608028654 * (x + 0.044715 * x * x * x)
        return x / (1.0 + tl.exp(-2.0 * u))
    else:
        return x
