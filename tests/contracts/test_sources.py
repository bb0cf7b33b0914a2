"""What every source must be, whoever writes it: run over each module found in pipeline/sources/."""

import dataclasses
import importlib
import pkgutil
import types
from pathlib import Path

import pytest

from pipeline import config, sources
from pipeline.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
NAMES = sorted(module.name for module in pkgutil.iter_modules(sources.__path__) if not module.name.startswith("_"))
LOCKED = [path.stem for path in (ROOT / "pipeline/sources").glob("*.lock")]  # sample data of an installed package


@pytest.fixture(params=NAMES)
def source(request: pytest.FixtureRequest) -> types.ModuleType:
    return importlib.import_module(f"pipeline.sources.{request.param}")


def name_of(source: types.ModuleType) -> str:
    return source.__name__.rpartition(".")[2]


def kind_of(source: types.ModuleType) -> str:
    return str(source.KIND or config.parse(source.Config, {"path": "somewhere"}, "source").kind)


def test_it_says_its_kind_and_has_the_functions_that_fetch_calls(source: types.ModuleType) -> None:
    assert kind_of(source) in ("image", "text")
    assert callable(source.read) and callable(source.describe)
    assert source.KIND == "image" or callable(source.files)


def test_its_config_is_frozen_and_names_the_path_that_the_graph_watches(source: types.ModuleType) -> None:
    parsed = config.parse(source.Config, {"path": "somewhere"}, "source")
    assert parsed.path == "somewhere"
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed.path = "elsewhere"


def test_a_misspelt_setting_is_refused(source: types.ModuleType) -> None:
    with pytest.raises(ConfigError, match="did you mean 'path'"):
        config.parse(source.Config, {"path": "x", "paht": "y"}, "source")


@pytest.mark.parametrize("path", ["../cats", "data/../../cats", "a\nb", "cats/${x}", "data/raw/cats"])
def test_a_path_that_the_graph_cannot_hold_is_refused(source: types.ModuleType, path: str) -> None:
    with pytest.raises(ConfigError, match=r"solar\.source\.path: found .*expected"):
        config.parse(source.Config, {"path": path}, "tasks.solar.source")


def test_its_description_names_licence_origin_and_version(source: types.ModuleType) -> None:
    path = f"pipeline/sources/{name_of(source)}.lock"
    description = source.describe(config.parse(source.Config, {"path": path}, "source"))
    assert {"licence", "origin", "version"} <= set(description)
    assert all(isinstance(description[key], str) for key in ("licence", "origin", "version"))
    assert description["licence"] and description["origin"]


def test_a_users_own_states_licence_and_origin(source: types.ModuleType) -> None:
    if name_of(source) in LOCKED:
        pytest.skip("sample data, whose terms are known")
    stated = {"path": "somewhere", "licence": "CC-BY-4.0", "origin": "https://example.org"}
    description = source.describe(config.parse(source.Config, stated, "source"))
    assert (description["licence"], description["origin"]) == ("CC-BY-4.0", "https://example.org")


def test_nothing_there_is_an_error_in_one_line_and_nothing_is_made(
    source: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name_of(source) in (*LOCKED, "torchvision"):
        pytest.skip("its data are installed, or fetched")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        list(source.read(config.parse(source.Config, {"path": "nowhere"}, "source")))
    assert "nowhere" in str(caught.value) and "expected" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_its_page_names_it(source: types.ModuleType) -> None:
    assert f"name: {name_of(source)}" in (ROOT / "docs/sources.md").read_text("utf-8")
