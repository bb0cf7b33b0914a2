import pytest

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.fit import suited
from pipeline.fit.settings import Config


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("classes", {"loss": {"name": "mse"}}, r"train\.loss\.name: found 'mse', which is for value.*cross_entropy"),
        ("labels", {"loss": {"name": "cross_entropy"}}, "such as binary_cross_entropy"),
        ("value", {"loss": {"name": "focal"}}, "for classes and labels; expected one for a target of kind value"),
        ("value", {"class_weights": "balanced"}, r"train\.class_weights: found 'balanced'; expected none"),
        (
            "value",
            {"sampling": "balanced"},
            r"train\.sampling: found 'balanced'; expected natural.* is a value",
        ),
        ("labels", {"sampling": {"a": 2.0}}, r"train\.class_weights makes the rare ones count more"),
    ],
)
def test_what_is_for_another_target_is_refused_by_name(kind, settings, words):
    with pytest.raises(ConfigError, match=words):
        suited.check(config.parse(Config, settings, "train"), kind)


@pytest.mark.parametrize("kind", ["classes", "labels", "value"])
def test_the_usual_settings_are_for_every_target(kind):
    suited.check(Config(), kind)


def test_labels_may_be_weighted():
    suited.check(config.parse(Config, {"class_weights": "balanced"}, "train"), "labels")
