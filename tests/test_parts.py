"""Tables in parts: nothing lost, types kept, and new rows at the end rewrite the end alone."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline import parts

SCHEMA = pa.schema([("id", pa.string()), ("label", pa.string()), ("bytes", pa.int64())])


def rows(count: int, start: int = 0) -> list[dict]:
    return [{"id": f"n/{k:06}", "label": "x" if k % 2 else None, "bytes": k} for k in range(start, start + count)]


def digests(folder):
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path.stat().st_size for path in parts.files(folder)}


def test_nothing_is_lost_and_the_order_is_kept(tmp_path):
    assert parts.write(rows(10_000), SCHEMA, tmp_path / "t") == 10_000
    table = parts.read(tmp_path / "t")
    assert table["bytes"].tolist() == list(range(10_000))
    assert table["label"].isna().sum() == 5_000
    assert pd.concat(parts.each(tmp_path / "t", ["bytes"]))["bytes"].tolist() == list(range(10_000))


def test_an_empty_table_keeps_its_columns(tmp_path):
    parts.write([], SCHEMA, tmp_path / "t")
    assert list(parts.read(tmp_path / "t").columns) == ["id", "label", "bytes"]
    parts.write_frame(pd.DataFrame({"id": pd.array([], dtype="str")}), tmp_path / "f")
    assert parts.read(tmp_path / "f").empty


def test_one_percent_at_the_end_rewrites_little(tmp_path):
    parts.write(rows(20_000), SCHEMA, tmp_path / "a")
    parts.write(rows(20_200), SCHEMA, tmp_path / "b")
    before, after = digests(tmp_path / "a"), digests(tmp_path / "b")
    new = sum(size for digest, size in after.items() if digest not in before)
    assert new <= 0.05 * sum(after.values())


def test_a_row_in_the_middle_rewrites_its_part_alone(tmp_path):
    table = rows(20_000)
    parts.write(table, SCHEMA, tmp_path / "a")
    parts.write([*table[:9_000], {"id": "new", "label": "x", "bytes": 0}, *table[9_000:]], SCHEMA, tmp_path / "b")
    assert len(digests(tmp_path / "b").keys() - digests(tmp_path / "a").keys()) <= 2


def test_there_are_few_parts_of_a_large_table():
    position = count = 0
    while position < 10_000_000:
        position, count = position + parts.size(position), count + 1
    assert count < 1_000
    assert all(parts.size(p) <= max(parts.SMALLEST, p / parts.PARTS * 2) for p in range(0, 10_000_000, 997))


def test_frames_and_rows_are_cut_alike(tmp_path):
    table = rows(5_000)
    parts.write(table, SCHEMA, tmp_path / "a")
    parts.write_frame(pd.DataFrame(table), tmp_path / "b")
    lengths = [[len(frame) for frame in parts.each(tmp_path / name)] for name in "ab"]
    assert lengths[0] == lengths[1]


def test_rows_by_number(tmp_path):
    parts.write(rows(5_000), SCHEMA, tmp_path / "t")
    reader = parts.Reader(tmp_path / "t", ["bytes"])
    wanted = np.array([4_999, 0, 17, 17, 3_000])
    assert reader.take(wanted)["bytes"].to_pylist() == wanted.tolist()
    shuffled = np.random.default_rng(0).permutation(5_000)
    assert reader.take(shuffled)["bytes"].to_pylist() == shuffled.tolist()
    assert len(reader) == 5_000 and len(reader.take(wanted[:0])) == 0


def test_a_column_without_a_value_keeps_its_type(tmp_path):
    frame = pd.DataFrame({"id": [f"{k}" for k in range(600)]}).assign(note=pd.array([None] * 599 + ["x"], dtype="str"))
    parts.write_frame(frame, tmp_path / "t")
    found = parts.read(tmp_path / "t")
    assert found["note"].dtype == frame["note"].dtype and found["note"].notna().sum() == 1
