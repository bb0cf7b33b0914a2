import os
import re
import sys
from pathlib import Path

import pytest

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.sources import _place, elpv, image_folder, snownlp, text_files, text_table


@pytest.mark.parametrize("module", [elpv, snownlp, image_folder, text_files, text_table])
@pytest.mark.parametrize("path", ["../cats", "data/../../cats", "a\nb", "cats/${x}"])
def test_every_source_refuses_a_path_that_the_graph_cannot_hold(module, path: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=r"solar\.source\.path: found .*expected"):
        config.parse(module.Config, {"path": path}, "tasks.solar.source")


@pytest.mark.parametrize("path", ["cats", "data/../cats", "/tmp/cats", "..cats/x", "图片/猫"])
def test_paths_inside_and_absolute_ones_are_accepted(path: str) -> None:
    assert config.parse(image_folder.Config, {"path": path}, "source").path == path


def test_a_missing_path_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _place.existing(str(tmp_path / "nowhere"), "tasks.cats.source")
    assert "tasks.cats.source.path" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["data", ".", "data/raw/cats", "data/report", "./data/models"])
def test_where_the_stages_write_is_no_source(path: str) -> None:
    with pytest.raises(ConfigError, match="where the stages write"):
        config.parse(image_folder.Config, {"path": path}, "source")


def test_the_stages_outputs_are_those_of_the_graph() -> None:
    graph = Path(__file__).parents[2].joinpath("dvc.yaml").read_text("utf-8")
    assert set(re.findall(r"- data/([a-z]+)", graph)) == _place.OUTPUTS


@pytest.mark.parametrize(("name", "words"), [("pipe.jpg", "a named pipe"), ("away.jpg", "leads nowhere")])
def test_what_dvc_cannot_hash_is_named_before_dvc_waits_for_it(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "cats").mkdir()
    _place.hashable(tmp_path, "tasks.cats.source")
    odd = tmp_path / "cats" / name
    os.mkfifo(odd) if name == "pipe.jpg" else odd.symlink_to("nothing")
    with pytest.raises(ConfigError, match=rf"tasks.cats.source.path: found .*{name}, .*{words}"):
        _place.hashable(tmp_path, "tasks.cats.source")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes UTF-8 alone")
def test_a_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\xfe.png")).touch()
    with pytest.raises(ConfigError, match=r"\\xff\\xfe\.png, a name that is not UTF-8"):
        _place.hashable(tmp_path, "source")
