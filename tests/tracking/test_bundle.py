import pytest

from pipeline.errors import RegistryError
from pipeline.tracking import bundle


@pytest.fixture
def built(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    sha256 = bundle.build(tmp_path / "one", {"classes": ["好", "b"]}, {"model.onnx": tmp_path / "a.txt"})
    return tmp_path / "one", sha256


def test_equal_files_and_settings_make_an_equal_bundle(built, tmp_path):
    folder, sha256 = built
    assert bundle.verify(folder, sha256)["classes"] == ["好", "b"]
    again = bundle.build(tmp_path / "two", {"classes": ["好", "b"]}, {"model.onnx": tmp_path / "a.txt"})
    other = bundle.build(tmp_path / "three", {"classes": ["b", "好"]}, {"model.onnx": tmp_path / "a.txt"})
    assert again == sha256 != other


@pytest.mark.parametrize("name", ["model.onnx", "danlu.json"])
def test_a_changed_file_is_refused(built, name):
    folder, sha256 = built
    content = bytearray((folder / name).read_bytes())
    content[0] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(RegistryError, match="changed after it was registered"):
        bundle.verify(folder, sha256)


def test_an_added_or_missing_file_is_refused(built):
    folder, sha256 = built
    (folder / "more").write_text("x")
    with pytest.raises(RegistryError, match="missing or added: more"):
        bundle.verify(folder, sha256)
    (folder / "more").unlink()
    (folder / "model.onnx").unlink()
    with pytest.raises(RegistryError, match=r"missing or added: model\.onnx"):
        bundle.verify(folder, sha256)
