"""Columns line up, remarks wrap inside the page."""

from shapewright.report.table import Block, Row, format_pairs, format_table, table_width


def test_columns_are_as_wide_as_their_content_over_all_blocks() -> None:
    blocks = [
        Block(title="first", rows=(Row(cells=("a", "1")),)),
        Block(title="second", rows=(Row(cells=("longer name", "1000"), remark="why so long"),)),
    ]
    assert format_table(("name", "count"), blocks, "<>", indent=4) == [
        "name         count",
        "",
        "first",
        "a                1",
        "",
        "second",
        "longer name   1000",
        "    why so long",
    ]


def test_width_is_the_width_of_the_lines() -> None:
    rows = [("a", "b"), ("ccc", "dd")]
    lines = format_table(rows[0], [Block(rows=(Row(cells=rows[1]),))], "<>")
    assert table_width(rows) == max(map(len, lines)) == 7


def test_remarks_wrap_with_their_indent() -> None:
    lines = format_table(("x",), [Block(rows=(Row(cells=("y",), remark="one two three four five"),))], "<", width=20, indent=6)
    assert lines[2:] == ["      one two three", "      four five"]


def test_columns_beyond_the_page_follow_on_a_second_line() -> None:
    rows = (Row(cells=("a", "1", "22", "333"), remark="why"), Row(cells=("bb", "4", "5", "6")))
    assert format_table(("n", "one", "two", "three"), [Block(rows=rows)], "<>>>", width=12, indent=2) == [
        "n   one  two", "    three", "a     1   22", "      333", "  why", "bb    4    5", "        6",
    ]  # fmt: skip


def test_a_long_word_stands_alone_and_whole() -> None:
    address = "https://example.org/a/long/address"
    assert format_pairs([("label", f"see {address} page 3"), ("b", "c")], 36) == ["label  see", "  " + address, "       page 3", "b      c"]
    assert format_pairs([("source", "https://example.org")], 20) == ["source", "    https://example.org"[3:]]


def test_text_goes_below_labels_that_leave_no_room() -> None:
    assert format_pairs([("a_very_long_label", "one two three"), ("b", "c")], 24) == [
        "a_very_long_label",
        "    one two three",
        "b",
        "    c",
    ]


def test_pairs_hang_beside_their_label() -> None:
    assert format_pairs([("a", "one two three four five six"), ("label", "x")], 27) == [
        "a      one two three four",
        "       five six",
        "label  x",
    ]
