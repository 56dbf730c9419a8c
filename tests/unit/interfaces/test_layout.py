"""Lines of tables and texts: whole words, aligned columns, one line a row where no terminal is."""

from opsconductor.interfaces.cli.layout import cell_width, table_lines, wrapped

COLUMNS = ["id", "plan", "meaning"]
ROWS = [["1", "first look", "a sentence of some words that is longer than its column"], ["22", "b", ""]]


def test_a_row_is_one_line_where_there_is_no_terminal() -> None:
    assert table_lines(COLUMNS, ROWS, width=None) == [
        "id  plan        meaning",
        "1   first look  a sentence of some words that is longer than its column",
        "22  b",
    ]


def test_the_last_column_is_wrapped_between_words_below_itself() -> None:
    row = table_lines(COLUMNS, ROWS, width=44)[1].split("\n")
    assert row == [
        "1   first look  a sentence of some words",
        "                that is longer than its",
        "                column",
    ]


def test_a_last_column_without_room_goes_below_its_row() -> None:
    assert table_lines(COLUMNS, ROWS, width=32)[1].split("\n") == [
        "1   first look",
        "    a sentence of some words",
        "    that is longer than its",
        "    column",
    ]


def test_line_breaks_in_a_cell_do_not_break_the_table() -> None:
    assert table_lines(["a", "b"], [["x\ny", "p\n q"]], width=None)[1] == "x y  p q"


def test_words_longer_than_the_line_stay_whole() -> None:
    assert wrapped("see https://hooks.example.com/a-long-path now", 20, 4) == (
        "see\n    https://hooks.example.com/a-long-path\n    now"
    )


def test_wide_and_combining_letters_take_the_columns_a_terminal_gives_them() -> None:
    assert (cell_width("disk"), cell_width("磁盘"), cell_width("e\u0301")) == (4, 4, 1)
