import pytest

from pipeline import artifacts


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    with artifacts.fresh(target) as building:
        (building / "a").write_text("1")
        assert not target.exists()
    with pytest.raises(RuntimeError), artifacts.fresh(target) as building:
        (building / "b").write_text("2")
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["a"]
    with artifacts.fresh(target) as building:
        assert list(building.iterdir()) == []
    assert list(target.iterdir()) == []


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "x.json"
    artifacts.write_json(path, {"b": 1, "a": "中"})
    assert artifacts.read_json(path) == {"a": "中", "b": 1}
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        artifacts.write_json(path, float("nan"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]
