"""Whether the reference step, over what a family's reader found, gives the logits that Hugging Face's own forward gives."""

import torch
from transformers import PreTrainedModel

from shapewright.decode.families import read_any_dtype
from shapewright.decode.layers import Decoder
from shapewright.decode.reference import advance, reference_step
from unit.decode.tiny import buffers_after, left_padded, next_logits, prefill

# One row fills the prompt, one is padded, one is a single token.
LENGTHS = (9, 4, 1)
NUM_STEPS = 4
# Largest difference of a logit, where logits have a standard deviation of about 2. RMS norms and rotary tables are fp32 in a float64
# model of Hugging Face's too.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}


def worst_difference(model: PreTrainedModel, decoder: Decoder | None = None, lengths: tuple[int, ...] = LENGTHS) -> float:
    """Largest difference of a logit over a few greedy steps, in the dtype of the model."""
    decoder = read_any_dtype(model) if decoder is None else decoder
    ids, mask = left_padded(model, list(lengths))
    first, cache = prefill(model, ids, mask)
    tokens = first.argmax(-1)
    buffers = buffers_after(decoder, cache, tokens, mask=mask, capacity=max(lengths) + NUM_STEPS)
    worst = 0.0
    for _ in range(NUM_STEPS):
        mask = torch.cat((mask, torch.ones_like(mask[:, :1])), 1)
        expected = next_logits(model, cache, tokens, mask)
        difference = (reference_step(decoder, buffers, dtype=model.dtype) - expected).abs().max()
        assert torch.isfinite(difference)
        worst = max(worst, difference.item())
        tokens = expected.argmax(-1)
        advance(buffers, tokens)
    return worst


def assert_agrees(model: PreTrainedModel) -> None:
    """Every logit within `TOLERANCE`, or the worst difference is told."""
    worst = worst_difference(model)
    assert worst <= TOLERANCE[model.dtype], f"logits differ by up to {worst:.3g}"
