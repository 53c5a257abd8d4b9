"""Plans: what a file expands to, and what it is told where it cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.measure.plan import Plan, load_plan, parse_plan
from shapewright.measure.points import GemmPoint, settings_of


def gemm(body: str, top: str = "") -> Plan:
    return parse_plan(f'{top}\n[[points]]\nkind = "gemm"\n{body}\n')


def sizes(plan: Plan) -> list[tuple[int, int, int]]:
    return [(point.m, point.n, point.k) for point in plan.points if isinstance(point, GemmPoint)]


def test_lists_and_ranges_are_a_product_the_last_field_fastest() -> None:
    plan = gemm("m = [1, 2]\nn = 8\nk = {from = 16, to = 32, step = 8}")
    assert sizes(plan) == [(1, 8, 16), (1, 8, 24), (1, 8, 32), (2, 8, 16), (2, 8, 24), (2, 8, 32)]
    assert (plan.name, plan.seed, plan.timeout_s) == ("plan", 0, 120.0)


def test_the_end_of_a_range_counts_in_only_where_a_step_meets_it() -> None:
    assert [m for m, _, _ in sizes(gemm("m = {from = 1, to = 6, step = 2}\nn = 8\nk = 8"))] == [1, 3, 5]


def test_fields_are_computed_and_constraints_leave_points_out() -> None:
    plan = gemm('m = [1, 2, 3]\nk = [8, 16]\nset = {n = "k * 4 / 2", split = "0"}\nwhere = ["m % 2 == 1", "m * n <= 48 and batch == 1"]')
    assert sizes(plan) == [(1, 16, 8), (1, 32, 16), (3, 16, 8)]


def test_a_point_that_comes_twice_is_measured_once() -> None:
    block = '[[points]]\nkind = "gemm"\nm = [1, 2, 1]\nn = 8\nk = 8\n'
    assert len(parse_plan(block + block).points) == 2


def test_draws_keep_limits_multiples_and_weights() -> None:
    plan = gemm(
        "m = {log_uniform = [16, 4096], multiple = [1, 64], weights = [0, 1]}\nn = {uniform = [100, 200], multiple = 8}\nk = 8\n"
        'layout = {choice = ["NT", "NN"], weights = [1, 0]}\nsample = 200'
    )
    found = sizes(plan)
    assert len(found) == len(set(found)) == 200
    assert all(m % 64 == 0 and 64 <= m <= 4096 and n % 8 == 0 and 104 <= n <= 200 for m, n, _ in found)
    assert {point.layout for point in plan.points if isinstance(point, GemmPoint)} == {"NT"}


def test_a_log_uniform_draw_halves_at_the_geometric_middle() -> None:
    drawn = [m for m, _, _ in sizes(gemm("m = {log_uniform = [1, 1048576]}\nn = {uniform = [1, 100000]}\nk = 8\nsample = 2000"))]
    assert 0.45 < sum(m < 1024 for m in drawn) / len(drawn) < 0.55


def test_a_sample_of_a_product_is_a_subset_and_a_larger_one_is_all_of_it() -> None:
    body = "m = {from = 1, to = 50}\nn = [8, 16]\nk = 8\n"
    every = set(sizes(gemm(body)))
    some = sizes(gemm(body + "sample = 30"))
    assert len(some) == 30 and set(some) <= every and set(sizes(gemm(body + "sample = 1000"))) == every


def test_a_sample_of_a_huge_product_is_drawn_without_making_it() -> None:
    huge = "m = {from = 1, to = 100000}\nn = {from = 1, to = 100000}\nk = {from = 1, to = 100000}\nsample = 50\n"
    assert len(gemm(huge + 'where = ["m % 2 == 0"]').points) == 50


def test_shuffle_mixes_the_order_by_the_seed() -> None:
    body = "m = {from = 1, to = 100}\nn = 8\nk = 8\nshuffle = true"
    first, again, other = (sizes(gemm(body, f"seed = {seed}")) for seed in (1, 1, 2))
    assert first == again != other and sorted(first) == sorted(other) and first != sorted(first)


def test_a_plan_says_how_many_points_take_turns() -> None:
    assert gemm("m = 1\nn = 8\nk = 8").together == 24
    assert gemm("m = 1\nn = 8\nk = 8", "together = 48").together == 48
    for value in ("0", "true", "2.5"):
        with pytest.raises(InputError, match="together is"):
            gemm("m = 1\nn = 8\nk = 8", f"together = {value}")


def test_a_block_draws_the_same_whatever_follows_it() -> None:
    block = '[[points]]\nkind = "gemm"\nm = {uniform = [1, 100000]}\nn = 8\nk = 8\nsample = 5\n'
    assert parse_plan(block).points == parse_plan(block + block).points[:5]


def test_the_draws_of_a_seed_never_change() -> None:
    plan = gemm("m = {log_uniform = [16, 65536], multiple = [1, 8, 64]}\nn = {uniform = [1, 99]}\nk = 8\nsample = 3", "seed = 7")
    assert sizes(plan) == [(60, 61, 8), (52712, 25, 8), (32, 94, 8)]


REFUSED = {
    "": "holds no points; expected [[points]] blocks",
    "points = 3": "holds no points",
    "points = [3]": "block 1: is 3; expected a table",
    "x = ": "is no TOML",
    "a = 1": "unknown key 'a'",
    "seed = 1.5\n" + '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1': "seed is 1.5; expected a whole number",
    "timeout_s = -1\n" + '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1': "timeout_s is -1; expected seconds above 0",
    'name = "../x"\n' + '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1': "name is '../x'; expected letters",
    '[[points]]\nkind = "gem"': "block 1: unknown kind 'gem'; did you mean gemm?",
    "[[points]]\nm = 3": "block 1: unknown kind None",
    "[[points]]\nkind = [1]": "block 1: unknown kind [1]",
    '[[points]]\nkind = "host"\nwhat = "launch"\n[[points]]\nkind = "gemm"\nm = 1\nn = -3\nk = 1': "block 2: n is -3; expected a whole",
    '[[points]]\nkind = "gemm"\nm = 1\nk = 1': "block 1: n is missing; a gemm point needs n",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1.5': "block 1: k is 1.5; expected a whole number",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1979-05-27': "block 1: k is datetime",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nK = 1': "block 1: unknown field of a gemm point 'K'; did you mean k",
    '[[points]]\nkind = "gemm"\nm = []\nn = 1\nk = 1': "block 1: m is an empty list",
    '[[points]]\nkind = "gemm"\nm = {from = 9, to = 1}\nn = 1\nk = 1': "block 1: m goes from 9 to 1 by 1; expected from <= to",
    '[[points]]\nkind = "gemm"\nm = {from = 1, to = 9, step = 0}\nn = 1\nk = 1': "block 1: m goes from 1 to 9 by 0",
    '[[points]]\nkind = "gemm"\nm = {from = 1, too = 9}\nn = 1\nk = 1': "block 1: unknown key of m 'too'; did you mean to?",
    '[[points]]\nkind = "gemm"\nm = {form = 1}\nn = 1\nk = 1': "block 1: m is {'form': 1}; expected {from, to, step}",
    '[[points]]\nkind = "gemm"\nm = {uniform = [1, 9]}\nn = 1\nk = 1': "block 1: m is drawn at random, but sample is missing",
    '[[points]]\nkind = "gemm"\nm = {uniform = [1, 9]}\nn = 1\nk = 1\nsample = 10': "block 1: sample is 10, but after 9 points 1000 draws",
    '[[points]]\nkind = "gemm"\nm = {uniform = [9, 1]}\nn = 1\nk = 1\nsample = 1': "block 1: m.uniform is [9, 1]; expected 1 <= low",
    '[[points]]\nkind = "gemm"\nm = {uniform = [65, 127], multiple = 64}\nn = 1\nk = 1\nsample = 1': "no multiple of it lies from 65",
    '[[points]]\nkind = "gemm"\nm = {uniform = [1, 9], multiple = [1, 2], weights = [1]}\nn = 1\nk = 1\nsample = 1': "m.weights is [1]",
    '[[points]]\nkind = "gemm"\nm = {choice = []}\nn = 1\nk = 1\nsample = 1': "m.choice is an empty list",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1\nsample = 0': "block 1: sample is 0; expected the number of points",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1\nshuffle = 1': "block 1: shuffle is 1; expected true or false",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1\nset = "n"': "block 1: set is 'n'; expected a table",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1\nwhere = ["q > 1"]': "block 1: 'q > 1': unknown field 'q'",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1\nwhere = [3]': "block 1: 3 is no expression",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1\nwhere = ["m / 0 > 1"]': "block 1: 'm / 0 > 1' cannot be computed: division by zero",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1\nwhere = ["m > 1"]': "holds no point; its constraints leave none",
    '[[points]]\nkind = "gemm"\nm = 1\nk = 1\nset = {n = "k / 3"}': "block 1: n is 0.333",
    '[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1\nlayout = "TT"': "block 1: unknown layout 'TT'",
    '[[points]]\nkind = "gemm"\nm = {from = 1, to = 2000000000}\nn = {from = 1, to = 9}\nk = 1': "asks for 18000000000 points; at most",
    '[[points]]\nkind = "gemm"\nm = {uniform = [1, 9]}\nn = 1\nk = 1\nsample = 5000001': "asks for 5000001 points",
    "x = " + "[" * 5000: "is no TOML",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_measured_is_said_by_file_block_and_field(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_plan(path)
    assert "plan.toml: " in str(caught.value) and REFUSED[text] in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_plan(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_plan(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(InputError, match=r"binary\.toml: is no text"):
        load_plan(tmp_path / "binary.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (2**24 + 2))
    with pytest.raises(InputError, match="is larger than 16 MB"):
        load_plan(tmp_path / "large.toml")


def test_the_name_is_the_files_own_where_none_is_given(tmp_path: Path) -> None:
    path = tmp_path / ".my plan.toml"
    path.write_text('[[points]]\nkind = "host"\nwhat = ["launch", "replay"]\n')
    assert load_plan(path).name == "my_plan" and len(load_plan(path).points) == 2


lists = st.lists(st.integers(1, 4096), min_size=1, max_size=5, unique=True)


@settings(max_examples=50, deadline=None)
@given(m=lists, n=lists, first=st.integers(1, 100), length=st.integers(0, 60), step=st.integers(1, 9))
def test_the_number_of_points_is_the_product_of_the_values(m: list[int], n: list[int], first: int, length: int, step: int) -> None:
    plan = gemm(f"m = {m}\nn = {n}\nk = {{from = {first}, to = {first + length}, step = {step}}}")
    assert len(plan.points) == len(m) * len(n) * (length // step + 1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**40), count=st.integers(1, 40), low=st.integers(1, 500), span=st.integers(600, 10**6))
def test_samples_are_exact_repeatable_and_inside_their_limits(seed: int, count: int, low: int, span: int) -> None:
    body = f"m = {{log_uniform = [{low}, {low + span}], multiple = [1, 8, 64]}}\nn = [8, 16]\nk = 8\nsample = {count}"
    first, again = gemm(body, f"seed = {seed}"), gemm(body, f"seed = {seed}")
    assert first == again and len(set(first.points)) == count
    assert all(low <= m <= low + span for m, _, _ in sizes(first))


@settings(max_examples=100, deadline=None)
@given(value=st.recursive(st.integers() | st.floats() | st.booleans() | st.text(max_size=9), lambda part: st.lists(part, max_size=3)))
def test_any_value_of_a_field_gives_points_or_an_input_error(value: Any) -> None:
    try:
        plan = gemm(f"m = {_toml(value)}\nn = 8\nk = 8")
    except InputError as error:
        assert str(error)
    else:
        assert all(1 <= m < 2**31 for m, _, _ in sizes(plan))


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(each):08x}" for each in value if not 0xD800 <= ord(each) < 0xE000) + '"'
    return str(value) if not isinstance(value, float) or math.isfinite(value) else "inf"


def test_a_plan_mixes_the_points_of_all_its_blocks() -> None:
    block = '[[points]]\nkind = "gemm"\nm = {{from = {0}, to = {1}}}\nn = 64\nk = 64\n'
    blocks = block.format(1, 50) + block.format(51, 100)
    plain, mixed = parse_plan(blocks), parse_plan("shuffle = true\n" + blocks)
    assert set(mixed.points) == set(plain.points)
    assert mixed.points != plain.points
    assert any(int(settings_of(point)["m"]) > 50 for point in mixed.points[:20])
    assert parse_plan("shuffle = true\n" + blocks).points == mixed.points
    with pytest.raises(InputError, match="shuffle is 1"):
        parse_plan("shuffle = 1\n" + blocks)


def test_rows_give_fields_that_vary_together() -> None:
    plan = parse_plan('[[points]]\nkind = "gemm"\ncolumns = ["n", "k"]\nvalues = [[8, 16], [24, 32]]\nm = [1, 2]')
    assert [(point.m, point.n, point.k) for point in plan.points] == [(1, 8, 16), (2, 8, 16), (1, 24, 32), (2, 24, 32)]  # pyright: ignore


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ('columns = ["n"]\nvalues = [[8, 9]]', "does not fit"),
        ('columns = ["n"]', "values is None"),
        ('values = [[8]]', "columns is None"),
        ('columns = ["nn"]\nvalues = [[8]]', "column"),
        ('columns = ["m"]\nvalues = [[8]]', "given twice"),
        ('columns = ["n", "n"]\nvalues = [[8, 8]]', "given twice"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_refused(lines: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        parse_plan(f'[[points]]\nkind = "gemm"\nm = 1\nk = 8\n{lines}')


def test_rows_are_drawn_from_where_a_field_is_random() -> None:
    text = '[[points]]\nkind = "gemm"\nsample = 20\nm = {uniform = [1, 999]}\ncolumns = ["n", "k"]\nvalues = [[8, 16], [24, 32]]'
    assert {(point.n, point.k) for point in parse_plan(text).points} == {(8, 16), (24, 32)}  # pyright: ignore


@pytest.mark.parametrize(("said", "rest_s"), [("", 0.0), ("rest_s = 0.05\n", 0.05), ("rest_s = 0\n", 0.0)])
def test_a_plan_may_let_the_card_rest(said: str, rest_s: float) -> None:
    assert parse_plan(f'{said}[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1').rest_s == rest_s


@pytest.mark.parametrize("said", ["-1", '"a"', "inf", "true"])
def test_a_rest_is_a_number_of_seconds(said: str) -> None:
    with pytest.raises(InputError, match="rest_s"):
        parse_plan(f'rest_s = {said}\n[[points]]\nkind = "gemm"\nm = 1\nn = 1\nk = 1')
