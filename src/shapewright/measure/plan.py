"""Plans: a TOML file that says which points to measure, as products of values, constraints and seeded random draws.

    name = "neighbours"                     # names the run file; by default the plan's own
    seed = 7                                # of everything random
    timeout_s = 60                          # of one point
    together = 48                           # layers or models that take turns in one group (default 24), memory permitting
    rest_s = 0.05                           # idle before each point, so that the card's power limit stays out of short bursts (default 0)
    warm_s = 0.05                           # of its own calls before each point is timed, as in a long run at the power limit (default 0)
    shuffle = true                          # mixes the points of all blocks, so that a part of the run is a fair part

    [[points]]
    kind = "gemm"                           # then the fields of that kind: a value, a list, a range or a draw (plan_values.py)
    m = [2048, 8192]
    k = {from = 4096, to = 4352, step = 8}
    layout = ["NT", "NN"]
    n = 1
    set = {n = "4 * k"}                     # fields computed from others, in this order
    where = ["m * n <= 2**30"]              # points that fail one are left out
    columns = ["batch", "call"]             # fields that vary together: each of the `values` is one row of them
    values = [[1, "mm"], [32, "bmm"]]
    sample = 100                            # that many random points of the block; needed where a field is drawn
    shuffle = true                          # mixes their order

Lists, ranges and rows make every combination, the last field fastest. A point that comes twice is measured once. The same file gives the
same points in the same order everywhere. Errors are `InputError`s: `plan.toml: block 2: n is -3; expected ...`; more than 5,000,000
combinations are refused before any is made.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError, ShapewrightError, shown, unknown_name
from ..expressions import Expression, Value
from .plan_values import Draw, Field, field_of
from .points import POINT_TYPES, TOGETHER, Point, point_of

MAX_POINTS = 5_000_000
MAX_PLAN_BYTES = 16 * 2**20
#: Draws that may fail a constraint, or repeat a point, for each one that is asked for.
TRIES_A_POINT = 1000
_TOP_KEYS = ("name", "seed", "timeout_s", "together", "rest_s", "warm_s", "shuffle", "points")
_BLOCK_KEYS = ("kind", "columns", "values", "set", "where", "sample", "shuffle")

Values = dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure. `timeout_s`: seconds that one point may take; `together`: points of an interleaved kind that take turns;
    `rest_s`: seconds of idleness before each plain point; `warm_s`: seconds of its own calls before it is timed."""

    name: str
    seed: int
    timeout_s: float
    together: int
    rest_s: float
    warm_s: float
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One `[[points]]` of a plan."""

    kind: str
    fields: Mapping[str, Field]
    rows: Sequence[Values]
    """Values of the fields that vary together; one empty row where none do."""
    defaults: Values
    computed: Mapping[str, Expression]
    where: Sequence[Expression]
    sample: int | None
    shuffle: bool

    @property
    def num_combinations(self) -> int:
        """Combinations of lists, ranges and rows."""
        return len(self.rows) * math.prod(1 if isinstance(each, Draw) else len(each) for each in self.fields.values())

    @property
    def is_random(self) -> bool:
        return any(isinstance(each, Draw) for each in self.fields.values())


def load_plan(path: Path | str) -> Plan:
    """The plan in the file `path`."""
    path = Path(path)
    try:
        return parse_plan(_text(path), default_name=path.stem)
    except ShapewrightError as error:
        raise InputError(": ".join(filter(None, (error.where, error.what))), where=str(path), hint=error.hint, field=error.field) from None


def parse_plan(text: str, *, default_name: str = "plan") -> Plan:
    """The plan that a TOML text holds."""
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise InputError(f"is no TOML: {str(error).partition(chr(10))[0][:150]}", hint="see `name = ...` and `[[points]]`") from None
    for key in given:
        if key not in _TOP_KEYS:
            raise unknown_name("key", key, _TOP_KEYS)
    seed, blocks = _seed(given.get("seed", 0)), _blocks(given.get("points"))
    total = sum(_planned(block) for block in blocks)
    if total > MAX_POINTS:
        raise InputError(f"asks for {total} points", hint=f"at most {MAX_POINTS} are expanded; use larger steps or sample = N")
    points: dict[Point, None] = {}
    for number, block in enumerate(blocks, start=1):
        try:
            points.update(dict.fromkeys(_points(block, random.Random(f"{seed}/{number}"))))
        except ShapewrightError as error:
            raise _in_block(error, number) from None
    if not points:
        raise InputError("holds no point", hint="its constraints leave none; widen them")
    name = _name(given.get("name", default_name), is_given="name" in given)
    ordered = list(points)
    if _shuffle(given):
        random.Random(f"{seed}/order").shuffle(ordered)
    timeout_s, together = _seconds("timeout_s", given.get("timeout_s", 120)), _together(given.get("together", TOGETHER))
    rest_s, warm_s = (_seconds(key, given.get(key, 0), may_be_zero=True) for key in ("rest_s", "warm_s"))
    return Plan(name=name, seed=seed, timeout_s=timeout_s, together=together, rest_s=rest_s, warm_s=warm_s, points=tuple(ordered))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as source:
            data = source.read(MAX_PLAN_BYTES + 1)
        if len(data) > MAX_PLAN_BYTES:
            raise InputError(f"is larger than {MAX_PLAN_BYTES // 2**20} MB", hint="expected a plan in TOML")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file", hint="name a plan in TOML") from None
    except UnicodeDecodeError:
        raise InputError("is no text", hint="expected a plan in TOML") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", hint="expected a plan in TOML") from None


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"seed is {shown(value)}", hint="expected a whole number")
    return value


def _seconds(name: str, value: Any, *, may_be_zero: bool = False) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf or (value == 0 and not may_be_zero):
        raise InputError(f"{name} is {shown(value)}", hint=f"expected seconds {'from 0 on' if may_be_zero else 'above 0'}")
    return float(value)


def _together(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"together is {shown(value)}", hint="expected how many layers or models take turns")
    return value


def _shuffle(given: Mapping[str, Any]) -> bool:
    """Whether a plan or a block asks for a mixed order."""
    found = given.get("shuffle", False)
    if not isinstance(found, bool):
        raise InputError(f"shuffle is {shown(found)}", hint="expected true or false")
    return found


def _name(value: Any, *, is_given: bool) -> str:
    if not is_given:
        return re.sub(r"[^A-Za-z0-9._-]", "_", str(value)).lstrip(".") or "plan"
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", value):
        raise InputError(f"name is {shown(value)}", hint="expected letters, digits, '.', '_' and '-': it names the run file")
    return value


def _blocks(given: Any) -> list[Block]:
    if not isinstance(given, list) or not given:
        raise InputError("holds no points", hint="expected [[points]] blocks with a kind")
    blocks = []
    for number, each in enumerate(given, start=1):
        try:
            blocks.append(_block(each))
        except ShapewrightError as error:
            raise _in_block(error, number) from None
    return blocks


def _block(given: Any) -> Block:
    if not isinstance(given, dict):
        raise InputError(f"is {shown(given)}", hint="expected a table with a kind and its fields")
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in POINT_TYPES:
        raise unknown_name("kind", kind, POINT_TYPES, field="kind")
    known = {each.name: each for each in fields(POINT_TYPES[kind])}
    for name in (*given, *_table(given, "set")):
        if name not in known and name not in _BLOCK_KEYS:
            raise unknown_name(f"field of a {kind} point", name, (*known, *_BLOCK_KEYS), field=name)
    computed = {name: Expression(text) for name, text in _table(given, "set").items()}
    where = given.get("where", [])
    block = Block(
        kind=kind,
        fields={name: field_of(name, value) for name, value in given.items() if name in known},
        rows=_rows(given, known),
        defaults={name: each.default for name, each in known.items() if each.default is not MISSING},
        computed=computed,
        where=[Expression(text) for text in (where if isinstance(where, list) else [where])],
        sample=_sample(given.get("sample")),
        shuffle=_shuffle(given),
    )
    if block.is_random and block.sample is None:
        drawn = next(name for name, each in block.fields.items() if isinstance(each, Draw))
        raise InputError(f"{drawn} is drawn at random, but sample is missing", hint="say how many points: sample = 100", field="sample")
    return block


def _rows(given: Mapping[str, Any], known: Mapping[str, Any]) -> Sequence[Values]:
    """The values of each row by the names of the columns."""
    columns, rows = given.get("columns"), given.get("values")
    if columns is None and rows is None:
        return [{}]
    if not isinstance(columns, list) or not columns or not all(isinstance(name, str) for name in columns):
        raise InputError(f"columns is {shown(columns)}", hint='expected names of fields, such as ["n", "k"]', field="columns")
    for name in columns:
        if name not in known:
            raise unknown_name("column", name, known, field="columns")
        if name in given or columns.count(name) > 1:
            raise InputError(f"{name} is given twice", hint="a field stands alone or is a column", field="columns")
    if not isinstance(rows, list) or not rows:
        raise InputError(f"values is {shown(rows)}", hint="expected a list of rows, a value for each column", field="values")
    for row in rows:
        if not isinstance(row, list) or len(row) != len(columns) or any(isinstance(value, list | dict) for value in row):
            raise InputError(f"row {shown(row)} does not fit the columns", hint=f"expected {len(columns)} plain values", field="values")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _table(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name, {})
    if not isinstance(found, dict):
        raise InputError(f"{name} is {shown(found)}", hint='expected a table such as {n = "k * 4"}')
    return found


def _sample(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"sample is {shown(value)}", hint="expected the number of points", field="sample")
    return value


def _planned(block: Block) -> int:
    """Points that the block may become, constraints left aside."""
    if block.sample is None:
        return block.num_combinations
    return block.sample if block.is_random else min(block.sample, block.num_combinations)


def _points(block: Block, source: random.Random) -> Sequence[Point]:
    """The points of a block, each once."""
    if block.sample is None:
        found = list(dict.fromkeys(_all(block)))
    elif not block.is_random and block.num_combinations <= MAX_POINTS:
        every = list(dict.fromkeys(_all(block)))
        found = every if len(every) <= block.sample else source.sample(every, block.sample)
    else:
        found = _drawn(block, block.sample, source)
    if block.shuffle:
        source.shuffle(found)
    return found


def _all(block: Block) -> Iterator[Point]:
    names = list(block.fields)
    fields = [each for each in block.fields.values() if not isinstance(each, Draw)]
    for row, values in itertools.product(block.rows, itertools.product(*fields)):
        point = _point(block, {**dict(zip(names, values, strict=True)), **row})
        if point is not None:
            yield point


def _drawn(block: Block, count: int, source: random.Random) -> list[Point]:
    """`count` different points at random, lists and ranges drawn evenly."""
    found: dict[Point, None] = {}
    misses = 0
    while len(found) < count:
        values = {name: each.value(source) if isinstance(each, Draw) else source.choice(each) for name, each in block.fields.items()}
        if any(block.rows):
            values |= source.choice(block.rows)
        point = _point(block, values)
        if point is not None and point not in found:
            found[point] = None
            misses = 0
            continue
        misses += 1
        if misses > TRIES_A_POINT:
            what = f"sample is {count}, but after {len(found)} points {TRIES_A_POINT} draws in a row gave no new one"
            raise InputError(what, hint="lower sample, or widen the draws and constraints", field="sample")
    return list(found)


def _point(block: Block, values: Values) -> Point | None:
    """The point with these values; None where a constraint leaves it out."""
    known = {**block.defaults, **values}
    for name, expression in block.computed.items():
        known[name] = values[name] = _plain(expression(known))
    for each in block.where:
        if not each(known):
            return None
    return point_of({"kind": block.kind, **values})


def _plain(value: Any) -> Value:
    """A computed value; a quotient without remainder is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_block(error: ShapewrightError, number: int) -> InputError:
    return InputError(f"block {number}: {error.what}", hint=error.hint, field=error.field)
