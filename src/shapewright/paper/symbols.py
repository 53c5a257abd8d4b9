"""Table I of the paper: its symbols, and what this package calls the same thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One symbol; `name`: our field of it, as in Python, JSON and (with dashes) flags; `of`: the class that has the field."""

    symbol: str
    meaning: str
    name: str
    of: str


SYMBOLS = (
    Symbol(symbol="a", meaning="attention heads of a layer", name="num_attention_heads", of="ModelShape"),
    Symbol(symbol="b", meaning="sequences of one micro-batch", name="micro_batch", of="Workload"),
    Symbol(symbol="h", meaning="width of the hidden state", name="hidden_size", of="ModelShape"),
    Symbol(symbol="L", meaning="layers", name="num_hidden_layers", of="ModelShape"),
    Symbol(symbol="s", meaning="tokens of a sequence", name="sequence", of="Workload"),
    Symbol(symbol="t", meaning="GPUs that share each layer", name="tensor_parallel", of="Workload"),
    Symbol(symbol="v", meaning="entries of the vocabulary", name="vocab_size", of="ModelShape"),
)
