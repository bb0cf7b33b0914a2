import csv
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DataError
from pipeline.sources import _records


def read(
    path: Path, content: bytes, form: Any = "csv", header: Any = "first_line", encoding: Any = "utf-8"
) -> list[Any]:
    """[line, {column: text}] of each record, or [line, reason]."""
    path.write_bytes(content)
    found = []
    for record in _records.read(path, form, header, encoding):
        cells = {name: cell.text if cell else None for name, cell in record.cells.items()}
        found.append((record.line, record.refused or cells))
    return found


def test_quotes_commas_and_lines_inside_cells(tmp_path: Path) -> None:
    content = '\ufefft,l\r\n"好，吃,""真""",p\r\n"两\n行",n\r\n5" 屏,p'.encode()
    assert read(tmp_path / "a.csv", content) == [
        (2, {"t": '好，吃,"真"', "l": "p"}),
        (3, {"t": "两\n行", "l": "n"}),
        (5, {"t": '5" 屏', "l": "p"}),
    ]


def test_a_quote_that_never_closes_costs_one_line(tmp_path: Path) -> None:
    rows = ['"open,p' if k == 3 else f"text {k},p" for k in range(3000)]
    found = read(tmp_path / "a.csv", ("t,l\n" + "\n".join(rows)).encode())
    assert [line for line, cells in found if isinstance(cells, str)] == [5]
    assert len(found) == 3000


def test_a_quote_that_another_row_closes_costs_the_first_row_alone(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", b't,l\n"open,p\nmid,n\n"closed",p\nend,n\n')
    assert [line for line, cells in found if isinstance(cells, str)] == [2]
    assert [line for line, _ in found] == [2, 3, 4, 5]


def test_a_quote_that_closes_with_other_columns_costs_no_row_between(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", b't,l\n"open,p\nmid,n\n"\nend,n\n')
    assert [(line, cells) for line, cells in found if isinstance(cells, dict)] == [
        (3, {"t": "mid", "l": "n"}),
        (5, {"t": "end", "l": "n"}),
    ]
    assert [line for line, _ in found] == [2, 3, 4, 5]


def test_a_cell_of_many_lines_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = 0

    def counted(*arguments: Any, **settings: Any) -> Any:
        nonlocal readers
        readers += 1
        return reader(*arguments, **settings)

    reader = csv.reader
    monkeypatch.setattr(csv, "reader", counted)
    cell = "\n".join(f'""他说第{k}行"",然后' for k in range(900))
    found = read(tmp_path / "a.csv", ("t,l\n" + f'"{cell}",p\n').encode())
    assert len(found) == 1 and not isinstance(found[0][1], str)
    assert readers <= 4  # not one for each of its lines, each of which would read all lines before it


def test_a_cell_of_more_lines_than_one_may_span_costs_its_lines(tmp_path: Path) -> None:
    longest = _records.LONGEST_RECORD
    for lines, whole in ((longest + 1, True), (longest + 2, False)):
        found = read(tmp_path / "a.csv", ("t,l\n" + '"' + "x\n" * (lines - 1) + 'x",p\nend,n\n').encode())
        assert (len(found) == 2) is whole and found[-1][1] == {"t": "end", "l": "n"}


def test_lines_that_end_in_a_lone_carriage_return_are_told_as_that(tmp_path: Path) -> None:
    for content in (b"t,l\ra,p\rb,n\r", b"t,l\ra,p\rb,n"):
        with pytest.raises(DataError, match=r":1: found broken CSV: lines that end in a lone carriage return"):
            read(tmp_path / "a.csv", content)
    assert read(tmp_path / "a.csv", b't,l\n"a\rb",p\n') == [(2, {"t": "a\rb", "l": "p"})]


def test_wrong_columns_and_blank_lines_are_refused(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", b"t,l\na\na,b,c\n\n") == [
        (2, "1 columns where the first line has 2"),
        (3, "3 columns where the first line has 2"),
        (4, "blank line"),
    ]


def test_cells_are_cut_before_they_are_decoded(tmp_path: Path) -> None:
    text = "t,l\n丂亐,正\n镕，囧,负\n"
    for encoding in ("gb18030", "utf-16"):
        found = read(tmp_path / "a.csv", text.encode(encoding), encoding=encoding)
        assert [cells for _, cells in found] == [{"t": "丂亐", "l": "正"}, {"t": "镕，囧", "l": "负"}]


def test_tsv_knows_quotes_around_whole_cells_alone(tmp_path: Path) -> None:
    content = '1\t"他说""好"""\n0\t"半开\n1\t好"\n'.encode()
    assert [cells["2"] for _, cells in read(tmp_path / "a.tsv", content, "tsv", "none")] == ['他说"好"', '"半开', '好"']


def test_broken_json_is_refused_line_by_line(tmp_path: Path) -> None:
    lines = ['{"t": "好", "n": 1, "z": null}', '{"t":', '{"t": NaN}', '{"t": 1, "t": 2}', "[1]", "", "[" * 100_000]
    found = read(tmp_path / "a.jsonl", "\n".join(lines).encode(), "jsonl")
    assert found[0] == (1, {"t": "好", "n": "1", "z": None})
    reasons = [reason for _, reason in found[1:]]
    assert [reason.split(":")[0] for reason in reasons if reason.startswith("broken")] == ["broken JSON"] * 4
    assert reasons[3:5] == ["JSON list where an object is expected", "blank line"]


def test_half_a_character_in_json_is_flagged(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"t": "\\ud83d"}\n{"t": "\\ud83d\\ude00"}\n')
    cells = [record.cells["t"] for record in _records.read(tmp_path / "a.jsonl", "jsonl", "first_line", "utf-8")]
    assert [(cell.ok, "\ufffd" in cell.text) for cell in cells if cell] == [(False, True), (True, False)]


def test_a_cell_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", b"t,l\n" + b"x" * 10_000_000 + b",p\n")
    assert len(found[0][1]["t"]) == 10_000_000


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "found no line"), (b"t,t\n", "'t' twice"), (b'"t\n', ":1: found broken")]
)
def test_a_table_without_a_usable_header_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.csv", content)
