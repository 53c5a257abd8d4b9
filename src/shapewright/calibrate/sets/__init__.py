"""Published and own measurements as sets of scored rows, one module a kind: `load(folder) -> tuple[ScoredSet, ...]`."""
