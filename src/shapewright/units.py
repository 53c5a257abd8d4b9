"""Units. Everything inside is SI, with the unit in the name (`time_s`, `bytes_per_s`, `clock_hz`); GB = 1e9 bytes.

One multiply-add is `FLOPS_PER_MULTIPLY_ADD` = 2 FLOP. Only `report` and `cli` print microseconds, GB or TFLOP/s.
"""

KILO, MEGA, GIGA, TERA = 1e3, 1e6, 1e9, 1e12
MICRO, MILLI = 1e-6, 1e-3
MEBI, GIBI = 2**20, 2**30
SECONDS_PER_HOUR = 3600.0
FLOPS_PER_MULTIPLY_ADD = 2


def ceil_div(a: int, b: int) -> int:
    """Smallest integer >= a / b, for b > 0."""
    return -(-a // b)
