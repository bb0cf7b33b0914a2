"""What every source must be, whoever writes it: run over each module found in pipeline/sources/."""

import dataclasses
import importlib
import pkgutil
import types

import pytest

from pipeline import config, sources
from pipeline.errors import ConfigError

NAMES = sorted(module.name for module in pkgutil.iter_modules(sources.__path__) if not module.name.startswith("_"))


@pytest.fixture(params=NAMES)
def source(request: pytest.FixtureRequest) -> types.ModuleType:
    return importlib.import_module(f"pipeline.sources.{request.param}")


def test_it_says_its_kind_and_has_the_functions_that_fetch_calls(source: types.ModuleType) -> None:
    assert source.KIND in ("image", "text")
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


def test_its_description_names_licence_origin_and_version(source: types.ModuleType) -> None:
    path = f"pipeline/sources/{source.__name__.rpartition('.')[2]}.lock"
    description = source.describe(config.parse(source.Config, {"path": path}, "source"))
    assert set(description) == {"licence", "origin", "version"}
    assert all(isinstance(value, str) for value in description.values()) and description["licence"]
