"""Kernels of decode compiled for the GPU that is here, at real sizes, against float64: `python tests/gpu/decode_checks.py [WORD ...]`.

One line a check: ok or WRONG, the largest error in parts of the largest output, what is allowed, and its name; the exit status is the
number of wrong ones, 100 at most. Words choose the checks whose names hold one of them; `--jobs N` before them shares the checks out among
N processes, for most of their time goes into compiling. It needs torch and triton alone (PYTHONPATH=src):
it also runs where there is no pytest, and under compute-sanitizer; `test_decode_kernels.py` runs the same checks.

Outputs, workspaces and scratch are NaN before; where a launch is replayed from a graph, each replay has to repeat every bit.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor

from shapewright.decode.buffers import Buffers
from shapewright.decode.graphs import CapturedStep, make_step
from shapewright.decode.layers import Attention, Decoder, Layer, Linear, Mlp, Norm
from shapewright.decode.products import Call, Scratch, product_calls
from shapewright.decode.reference import advance, reference_step
from shapewright.decode.step import Step
from shapewright.decode.tile import AttentionTile, Tile
from unit.decode.kernels.plain import Case, drawn, error_of, handover_error, operands_of, plain_product
from unit.decode.kernels.scenes import SCORES, Scene, expected_of, scene, scored
from unit.decode.kernels.small import Fixed, cos_and_sin, decoder_of

REPLAYS = 1000
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
# One rounding of the output, and one of a normed input or of a softmax weight where the matrix units take them.
ALLOWED = {BF16: 1.2e-2, FP16: 2e-3, FP32: 1e-5}
NAMES = {BF16: "bf16", FP16: "fp16", FP32: "fp32"}
GEMV = Tile(kernel="gemv", block_n=2, block_k=1024, stages=4, warps=4)
FLAT = Tile(kernel="flat", block_m=16, block_n=32, block_k=128, stages=3, warps=4)
TILES = {
    "gemv": GEMV,
    "flat 8": replace(FLAT, block_m=8, block_n=64, block_k=64),
    "flat 16": FLAT,
    "flat split": replace(FLAT, splits=4),
    "flat narrow": replace(FLAT, block_m=8, block_n=16, block_k=256, warps=1, norm_apart=True),
    "flat chains": replace(FLAT, block_m=8, block_n=32, block_k=256, warps=2, stages=5, chains=2, late=True),
    "direct": Tile(kernel="direct", block_n=16, stages=8, warps=4),
    "direct 8": Tile(kernel="direct", block_n=8, stages=16, warps=8, norm_apart=True),
    "library": Tile(kernel="library"),
}
CASES = {
    "qkv 12288x4096": Case(n=(4096, 4096, 4096), k=4096, epilogue="qkv", norm="rms"),
    "grouped qkv 6144x4096": Case(n=(4096, 1024, 1024), k=4096, epilogue="qkv", norm="rms", bias=True),
    "gated 11008x4096": Case(n=(11008, 11008), k=4096, epilogue="gated", norm="rms", activation="silu"),
    "down 4096x11008": Case(n=(4096,), k=11008, residual=True),
    "opt up 16384x4096": Case(n=(16384,), k=4096, epilogue="activation", norm="layer", activation="relu", bias=True),
    "gpt2 up 3072x768": Case(n=(3072,), k=768, epilogue="activation", norm="layer", activation="gelu_tanh", bias=True, transposed=True),
    "logits 50257x768": Case(n=(50257,), k=768, epilogue="logits", norm="layer"),
    "odd 1001x777": Case(n=(1001,), k=777, norm="rms", residual=True, bias=True),
}
ATTENTIONS: dict[str, dict[str, Any]] = {
    "32 heads of 128": {"heads": 32, "kv_heads": 32, "head_dim": 128, "rotary_dim": 128},
    "32 over 8 of 128": {"heads": 32, "kv_heads": 8, "head_dim": 128, "rotary_dim": 128},
    "28 over 4 of 80, window": {"heads": 28, "kv_heads": 4, "head_dim": 80, "rotary_dim": 80, "window": 1000},
    "32 of 80, partial, interleaved": {"heads": 32, "kv_heads": 32, "head_dim": 80, "rotary_dim": 20, "layout": "interleaved"},
    "12 of 64, no rotary": {"heads": 12, "kv_heads": 12, "head_dim": 64},
    "8 over 1 of 256": {"heads": 8, "kv_heads": 1, "head_dim": 256, "rotary_dim": 64},
}
FORMS = {
    "ordinary": AttentionTile(splits=8, block_s=16, stages=3, warps=1, on_matrix_units=False),
    "ordinary, two stages": AttentionTile(splits=16, block_s=16, stages=2, warps=1, on_matrix_units=False),
    "ordinary, narrow": AttentionTile(splits=32, block_s=8, stages=3, warps=1, on_matrix_units=False),
    "online": AttentionTile(splits=8, block_s=16, stages=2),
    "online, three stages": AttentionTile(splits=16, block_s=32, stages=3, warps=2),
    "unified": AttentionTile(splits=8, block_s=32, stages=2, unified=True),
}
Check = Callable[[], tuple[float, float]]


def forms_of(group: int) -> dict[str, AttentionTile]:
    """What a group of queries a key-value head can run as: more than one takes the matrix units, whose tiles have 16 slots or more."""
    return {form: tile for form, tile in FORMS.items() if group == 1 or tile.on_matrix_units}


def can_overlap() -> bool:
    """Programmatic dependent launch: NVIDIA, compute capability 9.0 on."""
    return torch.cuda.is_available() and torch.version.hip is None and torch.cuda.get_device_capability() >= (9, 0)


def moved(value: Any) -> Any:
    """Tensors of a description, however deep, on the GPU."""
    if isinstance(value, Tensor):
        return value.cuda()
    if isinstance(value, tuple):
        return tuple(moved(each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: moved(getattr(value, each.name)) for each in fields(value)})
    return value


def captured(launch: Call) -> torch.cuda.CUDAGraph:
    """A graph of what `launch` launches; it has run once before, to be compiled."""
    launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    return graph


def num_unlike(graph: torch.cuda.CUDAGraph, out: Tensor, before: Callable[[], object], replays: int) -> int:
    """Replays whose output is not, bit for bit, that of the first; `before` prepares each. Counted on the GPU."""
    before()
    graph.replay()
    first = out.clone().view(torch.int16 if out.element_size() == 2 else torch.int32)
    unlike = torch.zeros((), dtype=torch.int64, device=out.device)
    for _ in range(replays):
        before()
        graph.replay()
        unlike += (out.view(first.dtype) != first).any()
    return int(unlike)


def check_product(case: Case, tile: Tile, *, replays: int = 20) -> tuple[float, float]:
    """(error, allowed)."""
    product = moved(case.product())
    x = (drawn(case.rows, case.k, seed=0, dtype=case.dtype) * case.x_scale + 0.7).to(case.dtype).cuda()
    residual = drawn(case.rows, product.outputs, seed=3, dtype=case.dtype).cuda() if case.residual else None
    out = torch.empty(case.rows, product.outputs, dtype=case.dtype, device="cuda")
    scratch = Scratch(x.device, x.dtype)
    operands = operands_of(product, tile, x, out, scratch, has_residual=case.residual, programs=256)
    calls = product_calls(product, tile, operands)

    def prepare() -> None:
        scratch.sums.fill_(float("nan"))
        scratch.normed.fill_(float("nan"))
        out.fill_(float("nan")) if residual is None else out.copy_(residual)

    prepare()
    graph = captured(lambda: [call() for call in calls])
    unlike = num_unlike(graph, out, prepare, replays)
    if unlike or bool(scratch.counters.any()):
        return float("nan"), ALLOWED[case.dtype]
    error = error_of(out, plain_product(product, x, residual))
    return (error if operands.after is None else max(error, handover_error(operands.after, out))), ALLOWED[case.dtype]


def attended(given: Scene, tile: AttentionTile) -> tuple[Step, Tensor]:
    """The step whose attention ran once, poisoned before, and a copy of the cache before it."""
    decoder = moved(replace(decoder_of(given.attention), rotary=None))
    rotary_dim = given.attention.rotary_dim
    if rotary_dim:
        decoder = replace(decoder, rotary=lambda count: moved(cos_and_sin(count, rotary_dim)))
    buffers = Buffers(decoder, len(given.starts), given.keys.shape[2])
    step = Step(decoder, buffers, Fixed(attention_tile=tile))
    buffers.keys(0).copy_(given.keys)
    buffers.values(0).copy_(given.values)
    buffers.starts.copy_(torch.tensor(given.starts))
    buffers.length.fill_(given.length)
    buffers.positions.copy_(given.length - buffers.starts)
    step.qkv.copy_(given.qkv)
    for each in (step.attended, *step.partial):
        each.fill_(float("nan"))
    before = buffers.cache.clone()
    step._attention(0, decoder.layers[0].attention)()
    return step, before


def check_attention(given: Scene, tile: AttentionTile, allowed: float | None = None) -> tuple[float, float]:
    """(error, allowed): of what is attended, of the new slot; NaN if another slot moved or a counter is left."""
    step, before = attended(given, tile)
    expected, new_keys, new_values = expected_of(given)
    dtype, cache = given.keys.dtype, step.buffers.cache[0].cpu()
    others = torch.arange(cache.shape[3]) != given.length
    is_same = torch.equal(cache[..., others, :].nan_to_num(7.0), before[0].cpu()[..., others, :].nan_to_num(7.0))
    if not is_same or bool(step.attention_counters.any()):
        return float("nan"), ALLOWED[dtype]
    errors = [
        error_of(step.attended.cpu(), expected),
        error_of(cache[0, :, :, given.length], new_keys),
        error_of(cache[1, :, :, given.length], new_values),
    ]
    return max(errors), allowed or ALLOWED[dtype]


def small_llama(dtype: torch.dtype, kv_heads: int) -> Decoder:
    """Two layers as wide as Llama-2-7B's, over a small vocabulary."""
    hidden_size, heads, width, inner, vocab_size = 4096, 32, 128, 11008, 4096

    def linear(n: int, k: int, seed: int) -> Linear:
        generator = torch.Generator("cuda").manual_seed(seed)
        return Linear(weight=(torch.randn(n, k, generator=generator, device="cuda") / k**0.5).to(dtype))

    norm = Norm(kind="rms", weight=(drawn(hidden_size, seed=90) * 0.1 + 1).to(dtype).cuda(), eps=1e-5)
    layers = []
    for index in (0, 10):
        parts = tuple(linear(size * width, hidden_size, index + 1 + place) for place, size in enumerate((heads, kv_heads, kv_heads)))
        attention = Attention(
            parts=parts, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=width, scale=width**-0.5, rotary_dim=width,
            out=linear(hidden_size, hidden_size, index + 4),
        )  # fmt: skip
        gate, up, down = (linear(*sizes) for sizes in ((inner, 4096, index + 5), (inner, 4096, index + 6), (4096, inner, index + 7)))
        mlp = Mlp(gate=gate, up=up, down=down, activation="silu")
        layers.append(Layer(attention_norm=norm, attention=attention, mlp_norm=norm, mlp=mlp))
    return Decoder(
        family="small", embedding=drawn(vocab_size, hidden_size, seed=91, dtype=dtype).cuda(), layers=tuple(layers), final_norm=norm,
        head=linear(vocab_size, hidden_size, 99), rotary=lambda count: moved(cos_and_sin(count, width)),
    )  # fmt: skip


def with_layer_norms(decoder: Decoder) -> Decoder:
    """A layer norm with a bias in the place of every norm."""
    bias = (drawn(decoder.hidden_size, seed=92) * 0.1).to(decoder.dtype).cuda()
    norm = replace(decoder.final_norm, kind="layer", bias=bias)
    layers = tuple(replace(layer, attention_norm=norm, mlp_norm=norm) for layer in decoder.layers)
    return replace(decoder, layers=layers, final_norm=norm)


def filled(decoder: Decoder, batch: int, length: int) -> Buffers:
    """A cache of `length` random slots; rows begin at 0, 3, 6, … as long as they see a slot, and what they do not see is NaN."""
    buffers = Buffers(decoder, batch, length + 64)
    buffers.cache.normal_(generator=torch.Generator("cuda").manual_seed(5))
    starts = (3 * torch.arange(batch)).clamp(max=length - 1)
    buffers.starts.copy_(starts)
    for row, start in enumerate(starts.tolist()):
        buffers.cache[:, :, row, :, :start] = float("nan")
    buffers.cache[..., length:, :] = float("nan")
    buffers.length.fill_(length)
    buffers.first.fill_(length)
    buffers.positions.copy_(length - buffers.starts)
    buffers.tokens.copy_(100 + torch.arange(batch))
    return buffers


def check_step(decoder: Decoder, batch: int, choices: Fixed) -> tuple[float, float]:
    """Logits against the plain step in float64, from a graph replayed a thousand times, every replay poisoned before."""
    buffers = filled(decoder, batch, 300)
    expected = reference_step(decoder, filled(decoder, batch, 300), dtype=torch.float64)
    step = Step(decoder, buffers, choices)
    written = (step.logits, step.residual, step.second, step.qkv, step.attended, step.activated, *step.partial, step.scratch.sums)

    def poison() -> None:
        for each in written:
            each.fill_(float("nan"))

    poison()
    graph = captured(step.run)
    unlike = num_unlike(graph, step.logits, poison, REPLAYS)
    # Two layers and the head: a rounding of every activation on the way.
    allowed = 4 * ALLOWED[decoder.dtype]
    return (float("nan") if unlike else error_of(step.logits, expected)), allowed


def check_captured(decoder: Decoder, batch: int, length: int) -> tuple[float, float]:
    """A captured step by its own dispatch: the capture leaves the state as it was, and its tokens are those of launches one by one.

    Parts of the state and of the tokens that differ.
    """
    captured_step = make_step(decoder, filled(decoder, batch, length))
    buffers = captured_step.step.buffers
    before = [tensor.clone() for tensor in captured_step._state()]
    graph = captured_step.graph = captured_step._captured()
    unlike = sum(not torch.equal(tensor, old) for tensor, old in zip(captured_step._state(), before, strict=True))
    plain = make_step(decoder, filled(decoder, batch, length))
    plain.can_capture = False
    for _ in range(16):
        for step in (captured_step, plain):
            step.run_greedy()
    unlike += captured_step.graph is not graph
    for name in ("generated", "tokens", "positions", "length"):
        unlike += not torch.equal(getattr(buffers, name), getattr(plain.step.buffers, name))
    return float(unlike), 0.0


def check_rewritten(decoder: Decoder) -> tuple[float, float]:
    """Logits of a captured step against the plain step in float64, after every weight was written into in place: told at once (its graph of
    constants is replayed) and at the next step.
    """
    choices = Fixed(tile=GEMV, attention_tile=FORMS["online"], overlaps=can_overlap())
    step = CapturedStep(Step(decoder, filled(decoder, 1, 300), choices))
    step.run_greedy()
    errors = []
    for factor, at_once in ((1.5, True), (-0.5, False)):
        for layer in decoder.layers:
            for each in (layer.mlp.up, *layer.attention.parts, layer.mlp_norm):
                each.weight.mul_(factor)
        step.forget()
        if at_once:
            step.refresh()
        buffers = step.step.buffers
        plain = filled(decoder, 1, 300)
        for name in ("cache", "tokens", "positions", "starts", "length"):
            getattr(plain, name).copy_(getattr(buffers, name))
        expected = reference_step(decoder, plain, dtype=torch.float64)
        step.run_greedy()
        errors.append(error_of(step.logits, expected))
    return max(errors), 4 * ALLOWED[decoder.dtype]


def check_greedy(decoder: Decoder, batch: int, choices: Fixed, num_tokens: int = 32) -> tuple[float, float]:
    """Tokens of replayed greedy steps whose logit lies further below the plain step's largest than the errors explain: parts of all."""
    buffers, plain = filled(decoder, batch, 40), filled(decoder, batch, 40)
    step = Step(decoder, buffers, choices)
    graph = captured(step.run_greedy)
    fresh = filled(decoder, batch, 40)
    for name in ("cache", "tokens", "positions", "length"):
        getattr(buffers, name).copy_(getattr(fresh, name))
    wrong = 0
    for slot in range(num_tokens):
        graph.replay()
        logits = reference_step(decoder, plain, dtype=torch.float64)
        chosen = buffers.generated[slot]
        gap = logits.max(-1).values - logits.gather(1, chosen[:, None])[:, 0]
        wrong += int((gap > 8 * ALLOWED[decoder.dtype] * logits.abs().max()).sum())
        advance(plain, chosen)
    is_state_right = torch.equal(buffers.positions, plain.positions) and torch.equal(buffers.length, plain.length)
    return (wrong / (num_tokens * batch) if is_state_right else float("nan")), 0.0


def is_direct(case: Case) -> bool:
    """Whether the direct kernel takes these sizes, with any of the tiles above."""
    return case.k % 256 == 0 and all(n % 16 == 0 for n in case.n) and not case.transposed


def product_checks() -> Iterator[tuple[str, Check]]:
    rows_of = {
        "gemv": (1, 2, 4), "flat 8": (3, 8), "flat 16": (1, 16, 17), "flat split": (5,), "flat narrow": (9,), "flat chains": (4, 8),
        "direct": (2, 8, 16), "direct 8": (1, 9, 32), "library": (4,),
    }  # fmt: skip
    for name, case in CASES.items():
        for kind, tile in TILES.items():
            if tile.kernel == "direct" and not is_direct(case):
                continue
            for dtype in (BF16, FP16):
                for rows in rows_of[kind] if dtype == BF16 else rows_of[kind][-1:]:
                    this = replace(case, rows=rows, dtype=dtype)
                    yield f"product {name}, {kind}, {rows} rows, {NAMES[dtype]}", lambda case=this, tile=tile: check_product(case, tile)
    for kind, tile in TILES.items():
        if tile.kernel == "direct":
            continue
        this = replace(CASES["odd 1001x777"], rows=3, dtype=FP32)
        yield f"product odd 1001x777, {kind}, 3 rows, fp32", lambda case=this, tile=tile: check_product(case, tile)
    again = replace(CASES["down 4096x11008"], rows=8, dtype=BF16)
    yield "product down 4096x11008, split, 1,000 replays", lambda: check_product(again, TILES["flat split"], replays=REPLAYS)


def attention_checks() -> Iterator[tuple[str, Check]]:
    for name, sizes in ATTENTIONS.items():
        for form, tile in forms_of(sizes["heads"] // sizes["kv_heads"]).items():
            for dtype in (BF16, FP16):
                for length, starts in ((0, (0,)), (1, (0, 1)), (127, (0, 100)), (2049, (0, 2048))):
                    title = f"attention {name}, {form}, {length} slots, {NAMES[dtype]}"
                    make = lambda sizes=sizes, dtype=dtype, length=length, starts=starts: scene(length, starts, dtype=dtype, **sizes)  # noqa: E731
                    yield title, lambda make=make, tile=tile: check_attention(make(), tile)
    for group in (1, 2):
        for form, tile in forms_of(group).items():
            for dtype in (FP16, FP32):
                for name, scores in SCORES.items():
                    title = f"softmax {name}, {form}, group {group}, {NAMES[dtype]}"
                    allowed = 1e-4 if dtype == FP32 else None
                    yield title, lambda s=scores, g=group, d=dtype, t=tile, a=allowed: check_attention(scored(s(400), g, d), t, a)


def step_checks() -> Iterator[tuple[str, Check]]:
    for dtype, kv_heads in ((BF16, 32), (FP16, 8)):
        make = lambda dtype=dtype, kv_heads=kv_heads: small_llama(dtype, kv_heads)  # noqa: E731
        for kind, batch in (
            ("gemv", 1),
            ("gemv", 2),
            ("flat 8", 4),
            ("flat narrow", 4),
            ("flat chains", 8),
            ("flat split", 8),
            ("direct", 8),
            ("library", 16),
        ):
            forms = forms_of(32 // kv_heads)
            for form, overlaps in ((form, overlaps) for form in forms for overlaps in ((False, True) if can_overlap() else (False,))):
                choices = Fixed(tile=TILES[kind], attention_tile=forms[form], overlaps=overlaps)
                title = f"{kind}, {form}{', overlapping' if overlaps else ''}, batch {batch}, {kv_heads} kv heads, {NAMES[dtype]}"
                yield f"step {title}", lambda make=make, batch=batch, choices=choices: check_step(make(), batch, choices)
                yield f"greedy {title}", lambda make=make, batch=batch, choices=choices: check_greedy(make(), batch, choices)
        for batch, length in ((1, 40), (4, 500), (8, 700)):
            title = f"captured, batch {batch}, {length} slots, {kv_heads} kv heads, {NAMES[dtype]}"
            yield f"step {title}", lambda make=make, batch=batch, length=length: check_captured(make(), batch, length)
    for dtype in (BF16, FP16):
        make = lambda dtype=dtype: with_layer_norms(small_llama(dtype, 32))  # noqa: E731
        choices = Fixed(tile=GEMV, attention_tile=FORMS["online"], overlaps=can_overlap())
        title = f"layer norms within, batch 1, {NAMES[dtype]}"
        yield f"step {title}", lambda make=make, choices=choices: check_step(make(), 1, choices)
        yield f"step captured, {title}", lambda make=make: check_captured(make(), 1, 300)
        yield f"step rewritten, {title}", lambda make=make: check_rewritten(make())


def checks() -> dict[str, Check]:
    """By name."""
    return dict([*product_checks(), *attention_checks(), *step_checks()])


def main(words: list[str]) -> int:
    part, parts = 0, 1
    if words[:1] == ["--jobs"]:
        return shared_out(int(words[1]), words[2:])
    if words[:1] == ["--part"]:
        part, parts, words = int(words[1]), int(words[2]), words[3:]
    wrong = 0
    chosen = [(name, check) for name, check in checks().items() if not words or any(word in name for word in words)]
    for name, check in chosen[part::parts]:
        with torch.no_grad():
            try:
                error, allowed = check()
            except Exception as problem:
                error, allowed, name = float("nan"), 0.0, f"{name}: {type(problem).__name__}: {str(problem)[:300]}"
        wrong += not error <= allowed
        print(f"{'ok   ' if error <= allowed else 'WRONG'}  {error:9.2e} of {allowed:7.1e}  {name}", flush=True)
    print(f"{wrong} wrong of {len(chosen[part::parts])}")
    return min(wrong, 100)


def shared_out(jobs: int, words: list[str]) -> int:
    """Every `jobs`-th check in a process of its own; the number of wrong ones."""
    own = [sys.executable, __file__, "--part"]
    running = [subprocess.Popen([*own, str(part), str(jobs), *words]) for part in range(jobs)]
    return min(sum(abs(process.wait()) for process in running), 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
