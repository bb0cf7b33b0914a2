from pathlib import Path

import pytest

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.sources import _place, elpv, image_folder, snownlp, text_files, text_table


@pytest.mark.parametrize("module", [elpv, snownlp, image_folder, text_files, text_table])
@pytest.mark.parametrize("path", ["../cats", "data/../../cats", "a\nb", "cats/${x}"])
def test_every_source_refuses_a_path_that_the_graph_cannot_hold(module, path: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=r"solar\.source: path: found .*expected"):
        config.parse(module.Config, {"path": path}, "tasks.solar.source")


@pytest.mark.parametrize("path", ["cats", "data/../cats", "/tmp/cats", "..cats/x", "图片/猫"])
def test_paths_inside_and_absolute_ones_are_accepted(path: str) -> None:
    assert config.parse(image_folder.Config, {"path": path}, "source").path == path


def test_a_missing_path_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _place.existing(str(tmp_path / "nowhere"), "tasks.cats.source")
    assert "tasks.cats.source.path" in str(caught.value) and "\n" not in str(caught.value)
