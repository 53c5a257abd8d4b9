"""Units. Everything inside is SI, with the unit in the name (`time_s`, `bytes_per_s`, `clock_hz`); GB = 1e9 bytes.

One multiply-add is 2 FLOP. Only `report` and `cli` print microseconds, GB or TFLOP/s.
"""

MICRO, MILLI = 1e-6, 1e-3
MEBI = 2**20
SECONDS_PER_HOUR = 3600.0


def ceil_div(a: int, b: int) -> int:
    """Smallest integer >= a / b, for b > 0."""
    return -(-a // b)
