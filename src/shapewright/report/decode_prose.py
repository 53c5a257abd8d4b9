"""What docs/decode.md says besides its numbers."""

INTRODUCTION = """# Decoding

One new token reads every weight once: a 7B model in bf16 moves 13 GB for it, and the bandwidth of the memory sets the limit. Hugging
Face's `generate` launches hundreds of kernels a token and prepares each step on the host. `shapewright.decode` runs the same model over
the same weights with few kernels and none of that. This page is written by `scripts/write_decode.py` from the rows in
[`benchmarks/h200/decode`](../benchmarks/h200/decode); every number stands in a row there or is computed from rows, and models have
random weights.
"""
ONE_LINE = """```python
import shapewright.decode as swd

model = swd.accelerate(model)  # in place; model.generate(...) as before
ids = swd.decode(model, ids, max_new_tokens=256)  # a loop of its own, greedy or sampling, with less on the host
swd.restore(model)  # as it was
```

`pip install '.[decode]'` installs what it needs.
"""
HOW_IT_WORKS = """## How it works

- **No weight moves.** Kernels take the pointers of q, k and v (gate and up) and choose by program which of them to read; GPT-2's
  transposed weights are read as they are. So `.to()`, `save_pretrained`, tied weights and a second model need nothing, and `restore`
  undoes it all.
- **Five to seven kernels a layer**: norm + QKV; rotary embedding, append to the cache and attention over splits of the keys; output +
  residual; norm + gate and up with the activation; down + residual. Besides them a step has the embedding, norm + logits, and in the
  loop the choice of the token, which also moves the positions.
- **An RMS norm is no kernel.** The product before it writes x · w beside x, and each of its programs the sum of squares of its own
  outputs; the product after it multiplies its sums by 1 / rms. So no kernel waits for one number. It stands apart where the table says so
  (with many rows the sums are many), and in fp16, whose range x · w may leave.
- **Nor is a layer norm with one row.** W ((x - mean) · scale · w + b) is scale · (W (x · w) - mean · W w) + W b: the matrix-vector kernel
  sums mean and scale up on its way through x. It is given W w and W b, which are made of the weights while a prompt is computed (2 ms for
  OPT-6.7B): weights written into in place count from the next `generate` on. A step of OPT-6.7B takes 2 % less than with kernels for its
  norms, one of Pythia-410M 13 %. From two rows on, and before the matrix units, they stand apart.
- **One CUDA graph a set of buffers.** Lengths, positions and first slots stand on the device, so that nothing is compiled or captured
  again while a text grows.
- **Programmatic dependent launch** (from compute capability 9.0 on). A kernel lets the next one start as soon as all of its own
  programs run; the matrix-vector kernel asks for its weights, which no kernel writes, before it waits for its input, and attention for
  its first keys. So the memory stays busy between kernels. The flat product waits first: asking early, in whatever form, was slower there.
- **Deep in registers.** A program of the matrix-vector kernel holds the first tiles of its weight in registers, or on their way there,
  before that wait, and keeps as many on their way while it sums.
- **Nothing is asked for at the end.** Bias, residual and the next norm's weight are asked for before a program's sums, the new key and
  value before attention's loop: after them they were two latencies of the memory in every product, 1.2 % of a step with one row.
- **A table decides** by (GPU, norm, epilogue, n, k, dtype, rows) which kernel and tile a product takes: a matrix-vector kernel on the
  ordinary units, a flat product padded to 8 or 16 rows on the matrix units, a product whose weight goes straight from memory into their
  registers (k in another order, so that 16 bytes of a row are what two instructions want of a thread), or the library. On an H200 that is
  the matrix-vector kernel for one row and two, with the third for the attention's output of two, and the flat one from there on, with the
  library for OPT's wide product of 32 rows and for long k at 64. A flat tile adds to several sums that need not wait for one another.
  `shapewright decode profile` measures such a table, inside whole steps; a GPU without one takes defaults.
- **Few programs must not crowd.** A product of 4096 outputs is 128 flat programs, one a multiprocessor, and they start before the kernel
  ahead of them is done: on the multiprocessors that are done first, two or three on one and none on others. With so many tiles on their
  way that only one fits, or where the product before lets them start late, a step of 4 or 8 rows takes 2 to 4 % less. From 16 rows on a
  tile has 64 outputs, and k in two ranges makes as many programs again.
- **One softmax, online.** With one maximum for all (FlashDecoding++) partial sums just add; the kernel has that form, exact on any input
  because it falls back. On an H200 a step was 0.0 to 0.4 % faster with it where no score left its bounds, and attention is done twice
  where one does ([log](log.md)): it is not what runs.
- **`generate` as before.** The model's prefill and all that is not one new token a row run Hugging Face's own code on a cache whose
  buffers do not move. Greedy decoding and sampling go through a loop with the semantics of `_sample`, which queues the next step before
  it reads whether the last one was the end; beams, assistants and loops of your own call the same accelerated forward, or run plain.
"""
MISSED = """### What the missed goals ask for

Shares of what reading the same bytes allows on the card of the rows; beside a goal over hf stands the faster of `generate` and the loop. A
gain over Hugging Face's `generate` asks for more of the limit the quicker the host is that runs it. What a step lacks of its limit it
loses mostly at the ends of kernels, where memory waits until the next may read what this one wrote; flat products (4 rows and more) lose
more there than matrix-vector ones, for they ask for their weight only then. Then in attention over many short rows, and in layer norms of
more than one row. The [log](log.md) has what was tried. Rows from before the rests (below) scatter at long contexts besides: they are the
difference of two calls with a prefill each, and one of 4096 tokens takes 10 ms of 120 more or less by what ran just before it.
"""
RUNS_PLAIN = """## What runs plain

With one `DecodeWarning` a model and reason, and `swd.why_not(model)` to ask: families other than dense Llama (2, 3, Mistral, Qwen 2
and 3 among them), OPT, GPT-NeoX and GPT-2; models that are quantised, split over devices, in training mode or with adapters that are not
merged; hooks or replaced forwards inside; rotary embeddings that change with the length; heads below 8 or above 256; layers of
different sizes; OPT with a projection or norms after; calls that ask for attentions or hidden states, with gradients on or under
autocast; a cache of the caller's own; batches above 64.
"""
HOW_MEASURED = """## How it is measured

    shapewright decode llama-2-7b opt-6.7b --grid s4 --versus hf,hf-eager,hf-static-compile,gpt-fast

All engines of a cell live in one process over the same weights and prompts and run in turn, every other repeat backwards. The time of N
steps is a call for W + N tokens less a call for W tokens: prefill, the way into `generate` and a graph's first runs cancel. Time to the
first token is a call for one. Warm-up runs from making the engine to its first W tokens: compilation, capture and tuning. Memory is
what the allocator held at most, the neighbours' left out. A GPU rests before each timed call for as long as the prompt took (rows up to
commit 4f0e1ff are without that). A gain is of rows that ran in turn. Hosts differ: where a cell was measured in several runs, the others
are shown as they ran fastest, with the gain of that run, and ours as it ran last.

- `hf`: `generate` as it is, sdpa; `eager`: with eager attention; `static`: static cache, which compiles, with just the slots of the
  cell; `gpt-fast`: a compiled loop without a host in it; `generate`, `loop`: ours.
- `read`: a kernel that reads as many bytes as a step must (weights, and the keys and values of the batch) and does nothing else, in the
  same turns. Its rate is the limit; the limit of a cell is those bytes at that rate.
- OPT has 2048 learned positions; longer cells need more of them, which the config is given and its rows say.
"""
PREDICTED = """## Predicted

`shapewright explain --phase decode` for the context in the middle of the timed steps, tokens/s. *eager*: transformers' kernels one by
one, or the host that launches them, whichever takes longer, beside `hf`; *compiled*: pointwise operators fused and no host, beside
`static`; *bytes*: the bytes of the step at the bandwidth of the datasheet, beside the read and ours.
"""
PYTHIA = """## Pythia

Figure 13 of the co-design paper finds Pythia-1B faster than Pythia-410M, for it has fewer layers. Tokens/s, and what remains of it:
"""
