"""Which kernels one layer of a Hugging Face model runs, in order, with the GPU time of each: the ground truth for `operators/`.

    python scripts/profile_layers.py OUT_DIR

Needs torch, transformers and a GPU. Models have one layer and random bf16 weights; b=4, s=2048, SDPA unless said otherwise. Rows are
kernel launches in order, by `part` (inference, forward, backward): `us` is the kernel's own duration from torch.profiler (median of three
passes), `op` the aten operator that launched it and `shapes` its inputs. Layers as a whole and optimizers are measured by `shapewright
bench`; the rows with `wall` and `optimizers` in benchmarks/h200/layers were made by an earlier script (commit eb6df91).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch
import transformers
from torch.profiler import ProfilerActivity, profile

BATCH, SEQUENCE = 4, 2048


def llama(hidden_size: int, heads: int, kv_heads: int, intermediate_size: int, vocab_size: int, **more: object) -> dict:
    sizes = {"hidden_size": hidden_size, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    return {**sizes, "intermediate_size": intermediate_size, "vocab_size": vocab_size, **more}


def neox(hidden_size: int, heads: int, vocab_size: int, **more: object) -> dict:
    sizes = {"hidden_size": hidden_size, "num_attention_heads": heads, "intermediate_size": 4 * hidden_size}
    return {**sizes, "vocab_size": vocab_size, **more}


FALCON = {"hidden_size": 4544, "num_attention_heads": 71, "vocab_size": 65024, "multi_query": True, "parallel_attn": True,
          "bias": False, "new_decoder_architecture": False}  # fmt: skip
OPT = {"hidden_size": 2560, "num_attention_heads": 32, "ffn_dim": 10240, "vocab_size": 50272, "word_embed_proj_dim": 2560,
       "max_position_embeddings": 2048}  # fmt: skip
MODELS = {
    "llama-2-7b": ("llama", llama(4096, 32, 32, 11008, 32000)),
    "llama-2-7b-10922": ("llama", llama(4096, 32, 32, 10922, 32000)),
    "llama-2-7b-10923": ("llama", llama(4096, 32, 32, 10923, 32000)),
    "llama-3-8b": ("llama", llama(4096, 32, 8, 14336, 128256)),
    "gpt2-xl": ("gpt2", {"n_embd": 1600, "n_head": 25, "n_positions": 2048, "vocab_size": 50257}),
    "gpt3-2.7b-20": ("gpt_neox", neox(2560, 20, 50257, use_parallel_residual=False)),
    "gpt3-2.7b-32": ("gpt_neox", neox(2560, 32, 50257, use_parallel_residual=False)),
    "gpt3-2.7b-40": ("gpt_neox", neox(2560, 40, 50257, use_parallel_residual=False)),
    "pythia-410m": ("gpt_neox", neox(1024, 16, 50304)),
    "pythia-1b": ("gpt_neox", neox(2048, 8, 50304)),
    "opt-2.7b": ("opt", OPT),
    "qwen2-7b": ("qwen2", llama(3584, 28, 4, 18944, 152064)),
    "falcon-7b": ("falcon", FALCON),
    "phi-2": ("phi", neox(2560, 32, 51200, partial_rotary_factor=0.4)),
    "gemma-2b": ("gemma", llama(2048, 8, 1, 16384, 256000, head_dim=256)),
    "gemma-2-9b": ("gemma2", llama(3584, 16, 8, 14336, 256000, head_dim=256)),
    "bert-large": ("bert", neox(1024, 16, 30522, max_position_embeddings=2048)),
    "mixtral": ("mixtral", llama(4096, 32, 8, 14336, 32000)),
}


def build(kind: str, options: dict, attention: str, layers: int = 1):
    """A model of `layers` layers with random bf16 weights, in training mode."""
    config = transformers.AutoConfig.for_model(kind, **options)
    for name in ("num_hidden_layers", "n_layer"):
        if hasattr(config, name):
            setattr(config, name, layers)
    config._attn_implementation = attention
    cls = transformers.AutoModelForMaskedLM if kind == "bert" else transformers.AutoModelForCausalLM
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = cls.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)
    return model.train()


def launches(prof) -> list[dict]:
    """Kernels in launch order, each with the aten operator that launched it."""
    rows = []
    for event in prof.events():
        launched = getattr(event, "kernels", ()) or ()
        rows += [(event.time_range.start, event.name, event.input_shapes, kernel.name, kernel.duration) for kernel in launched]
    rows.sort(key=lambda row: row[0])
    return [{"op": op, "shapes": shapes, "kernel": name[:200], "us": us} for _, op, shapes, name, us in rows]


def profiled(*steps, reset=lambda: None) -> list[list[dict]]:
    """Launches of each of `steps` with the median duration of three passes, in which they run in turn after `reset`."""
    passes: list[list[list[dict]]] = [[] for _ in steps]
    for _ in range(3):
        reset()
        for step, kept in zip(steps, passes, strict=True):
            torch.cuda.synchronize()
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=True) as prof:
                step()
                torch.cuda.synchronize()
            kept.append(launches(prof))
    return [median_launches(kept) for kept in passes]


def median_launches(passes: list[list[dict]]) -> list[dict]:
    """One pass with the median duration of each launch; the last pass as it was if they did not run the same kernels."""
    if len({len(rows) for rows in passes}) > 1:
        return passes[-1]
    return [{**first, "us": statistics.median(rows[i]["us"] for rows in passes)} for i, first in enumerate(passes[0])]


def study(name: str, kind: str, options: dict, attention: str, out) -> None:
    """Rows of one model: the launches of inference, forward and backward, then their sums."""
    model = build(kind, options, attention)
    ids = torch.randint(0, 30000, (BATCH, SEQUENCE), device="cuda")
    state: dict = {}

    def forward():
        state["loss"] = model(input_ids=ids, labels=ids).loss

    def inference():
        with torch.no_grad():
            state["logits"] = model(input_ids=ids).logits

    def backward():
        state["loss"].backward()

    def both():
        forward()
        backward()

    for _ in range(3):
        both()
    parts = {"inference": profiled(inference)[0]}
    state.pop("logits", None)
    parts["forward"], parts["backward"] = profiled(forward, backward, reset=lambda: model.zero_grad(set_to_none=True))
    for part, rows in parts.items():
        for index, row in enumerate(rows):
            out.write(json.dumps({"model": name, "attention": attention, "part": part, "index": index, **row}) + "\n")
    summary = {"model": name, "attention": attention, "kernels_us": {part: sum(r["us"] for r in rows) for part, rows in parts.items()},
               "launches": {part: len(rows) for part, rows in parts.items()}}  # fmt: skip
    out.write(json.dumps(summary) + "\n")
    out.flush()
    print(name, attention, summary["kernels_us"], summary["launches"], flush=True)


def decode_step(out) -> None:
    """Launches of one eager decode step of a 7B model."""
    model = build("llama", {**MODELS["llama-2-7b"][1], "max_position_embeddings": 4096}, "sdpa", layers=32).eval()
    ids = torch.randint(0, 30000, (1, 128), device="cuda")
    with torch.no_grad():
        past = model(input_ids=ids, use_cache=True).past_key_values
        token = ids[:, -1:]

        def step():
            model(input_ids=token, past_key_values=past, use_cache=True)

        for _ in range(5):
            step()
        rows = profiled(step)[0]
    row = {"model": "llama-2-7b", "decode": True, "launches": len(rows), "kernels_us": sum(r["us"] for r in rows)}
    out.write(json.dumps(row) + "\n")
    per_layer = rows[len(rows) // 2 : len(rows) // 2 + 40]
    for index, kernel in enumerate(per_layer):
        out.write(json.dumps({"model": "llama-2-7b", "part": "decode", "index": index, **kernel}) + "\n")
    print("decode", row, flush=True)


def compiled(name: str, out) -> None:
    """Launches of forward and backward under `torch.compile`."""
    kind, options = MODELS[name]
    model = build(kind, options, "sdpa")
    run = torch.compile(model)
    ids = torch.randint(0, 30000, (BATCH, SEQUENCE), device="cuda")

    def both():
        run(input_ids=ids, labels=ids).loss.backward()

    for _ in range(3):
        both()
    rows = profiled(both)[0]
    for index, row in enumerate(rows):
        out.write(json.dumps({"model": name, "attention": "sdpa", "part": "compiled_train", "index": index, **row}) + "\n")
    print("compiled", name, sum(r["us"] for r in rows), len(rows), flush=True)


def attempt(label: str, task, out) -> None:
    """Run `task`; one that fails becomes a row and must not lose the others."""
    try:
        task()
    except Exception as error:
        out.write(json.dumps({"model": label, "error": repr(error)[:500]}) + "\n")
        print(label, "FAILED", repr(error)[:300], flush=True)
    torch.cuda.empty_cache()


def main() -> None:
    folder = Path(sys.argv[1])
    with (folder / "layer_kernels.jsonl").open("w") as out:
        environment = {
            "gpu": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "transformers": transformers.__version__,
            "batch": BATCH,
            "sequence": SEQUENCE,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        out.write(json.dumps({"environment": environment}) + "\n")
        for name, (kind, options) in MODELS.items():
            for attention in ("sdpa", "eager") if name in ("llama-2-7b", "gpt2-xl", "gpt3-2.7b-32") else ("sdpa",):
                attempt(name, partial(study, name, kind, options, attention, out), out)
        attempt("llama-2-7b decode", partial(decode_step, out), out)
        for name in ("llama-2-7b", "gpt2-xl"):
            attempt(f"{name} compiled", partial(compiled, name, out), out)


if __name__ == "__main__":
    main()
