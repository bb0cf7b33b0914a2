"""Decisions on a real registry, with versions that have no files: what is compared is given by the test."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import targets
from pipeline.errors import RegistryError
from pipeline.metrics import Interval
from pipeline.targets import Target
from pipeline.tracking import promotion, registry, store
from pipeline.tracking.promotion import Measured


@pytest.fixture
def models(project):
    return registry.Models(store.client(), "toy")


def version(models, sha256, code="c"):
    """A registered version without files."""
    client = models.client
    if not client.search_registered_models("name='toy'"):
        client.create_registered_model("toy")
    tags = {registry.SHA: sha256, registry.CODE: code}
    client.create_model_version("toy", "file:///nowhere", tags=tags)
    return next(item for item in reversed(models.versions()) if (item.sha256, item.code) == (sha256, code))


def decide(models, sha256, low, *, promote="auto", code="c", known_looks=None):
    def find():
        return models.with_sha256(sha256, code) or version(models, sha256, code)

    def compare(champion):
        return Interval(low + 0.01, low, low + 0.02)

    return promotion.apply(models, find, promote, compare, known_looks=known_looks)


def test_the_first_is_champion_and_only_a_certain_gain_replaces_it(models):
    first, decision, looks = decide(models, "a", 0.0)
    assert (decision.alias, decision.gain, looks) == ("champion", None, 1)
    _, decision, looks = decide(models, "b", 0.0)
    assert (decision.alias, decision.against, looks) == ("challenger", first.number, 2)
    _, decision, looks = decide(models, "b", -0.01)
    assert (decision.alias, looks) == ("challenger", 2)
    third, decision, looks = decide(models, "c", 0.001)
    assert (decision.alias, looks) == ("champion", 3)
    assert models.holder("champion") == third
    _, decision, _ = decide(models, "d", float("nan"))
    assert decision.alias == "challenger"
    assert models.looks() == 4


def test_a_challenger_that_wins_later_is_no_challenger_any_more(models):
    decide(models, "a", 0.0)
    decide(models, "b", -0.1)
    second, _, _ = decide(models, "b", 0.1)
    assert models.aliases() == {"champion": second.number}


def test_newer_serving_code_for_the_same_model_takes_its_place_without_a_look(models):
    decide(models, "a", 0.0)
    second, decision, looks = decide(models, "a", -1.0, code="newer")
    assert (second.number, decision.alias, looks) == (2, "champion", 1)


def test_a_champion_that_cannot_be_compared_with_stays(models):
    decide(models, "a", 0.0)

    def compare(champion):
        raise RegistryError("it does not load")

    _, decision, _ = promotion.apply(models, lambda: version(models, "b"), "auto", compare)
    assert decision.alias == "challenger"
    assert "does not load" in decision.reason


def test_what_changed_outside_is_put_on_record(models):
    decide(models, "a", 0.0)
    decide(models, "b", -0.1)
    models.client.set_registered_model_alias("toy", "champion", "2")  # by hand
    with Path(".danlu/registry/toy.history.jsonl").open("a") as file:
        file.write('{"time": 1, "al')  # torn by a kill
    decide(models, "c", -0.1)
    changes = [(entry["alias"], entry["from"], entry["to"]) for entry in models.history()]
    assert changes == [
        ("champion", None, 1),
        ("challenger", None, 2),
        ("champion", 1, 2),
        ("challenger", 2, 3),
    ]
    assert "by hand" in models.history()[2]["reason"]
    tags = models.client.get_registered_model("toy").tags
    kept = [json.loads(value)["to"] for key, value in sorted(tags.items()) if key.startswith("danlu.history.")]
    assert kept == [1, 2, 3]


def also_asked(sha256, alias="champion"):
    """What the database says, and MLflow must agree: an answer depends on nothing but the registry."""
    found = registry.all_well("toy", sha256, alias)
    assert registry._asked_well("toy", sha256, alias) == found
    return found


def test_all_is_well_only_with_files_a_champion_and_the_last_decision(models):
    assert not also_asked("a")
    decide(models, "a", 0.0)
    assert also_asked("a")
    assert not also_asked("b")
    decide(models, "b", -0.1)
    assert also_asked("b")
    assert not also_asked("a")
    models.client.set_model_version_tag("toy", "1", registry.FILES, "/nowhere")
    assert not also_asked("b")
    models.client.set_model_version_tag("toy", "1", registry.FILES, "/")
    models.client.delete_registered_model_alias("toy", "champion")
    assert not also_asked("b")
    assert also_asked("b", "any")


def test_the_gain_is_paired_and_its_sign_right():
    labels = ["a", "b"] * 50
    right = [(label, 0.9) for label in labels]
    mixed = [(label if k % 4 else "c", 0.6) for k, label in enumerate(labels)]
    today = Measured("t", list(map(str, range(100))), labels, right)
    found = promotion.gain(today, mixed, "accuracy")
    assert found.value == pytest.approx(0.25)
    assert 0 < found.low < 0.25 < found.high
    same = promotion.gain(today, right, "macro_f1")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    worse = promotion.gain(Measured("t", today.ids, labels, mixed), right, "accuracy")
    assert worse.high < 0


def test_of_labels_and_values_the_gain_is_of_all_probabilities_and_of_smaller_errors():
    ids = list(map(str, range(100)))
    labels = Target("labels", ("x", "y"))
    right = [("x", {"x": 0.9, "y": 0.2}), ("", {"x": 0.1, "y": 0.2})] * 50
    without = [(text, {"x": 0.5, "y": found["y"]}) for text, found in right]  # tells x of all
    today = Measured("t", ids, ["x", ""] * 50, right, targets.record(labels))
    assert promotion.gain(today, without, "micro_f1").low > 0
    older = [(text, {"x": found["x"]}) for text, found in right]  # did not know y
    assert promotion.gain(today, older, "exact_match").value == 0
    value = Target("value", ("value",), 0.0, 1.0)
    near = Measured("t", ids, ["0.0", "1.0"] * 50, [("", 0.1), ("", 0.9)] * 50, targets.record(value))
    far = [("", 0.4), ("", 0.6)] * 50
    assert promotion.gain(near, far, "mae").value == pytest.approx(0.3)
    assert promotion.gain(near, near.answers, "r2").value == 0


@pytest.mark.parametrize(
    ("kind", "champions"),
    [
        ("classes", [("", 0.4)]),
        ("classes", [("x", {"x": 0.4})]),
        ("labels", [("x", 0.4)]),
        ("value", [("x", 0.4)]),
        ("value", [("x", {"x": 0.4})]),
    ],
)
def test_a_champion_that_was_asked_for_something_else_is_not_compared_with(kind, champions):
    target = Target(kind, ("value",) if kind == "value" else ("x", "y"))
    record = None if kind == "classes" else targets.record(target)
    answers = {"classes": [("x", 0.9)], "labels": [("x", {"x": 0.9, "y": 0.1})], "value": [("", 1.0)]}[kind]
    today = Measured("t", ["1"], ["1.0" if kind == "value" else "x"], answers, record)
    with pytest.raises(RegistryError, match="found"):
        promotion.gain(today, champions, "mae" if kind == "value" else "macro_f1")


def test_the_test_set_has_one_word_whatever_its_order():
    key = promotion.test_key(["1", "2"], ["x", "y"], ["a", "b"])
    assert key == promotion.test_key(["2", "1"], ["y", "x"], ["b", "a"])
    assert key != promotion.test_key(["1", "2"], ["x", "y"], ["b", "a"])
    assert key != promotion.test_key(["1", "2"], ["x", "z"], ["a", "b"])


RACER = """
import random, sys, time
from pipeline.metrics import Interval
from pipeline.tracking import promotion, registry, store
worker = int(sys.argv[1])
pick = random.Random(worker)
models = registry.Models(store.client(), "toy")
for turn in range(int(sys.argv[2])):
    mine = f"{pick.random():.6f}-{worker}-{turn}"
    def find():
        tags = {registry.SHA: mine}
        made = models.client.create_model_version("toy", "file:///nowhere", tags=tags)
        return next(item for item in models.versions() if item.number == int(made.version))
    def compare(champion):
        gain = float(mine[:8]) - float(champion.sha256[:8])
        time.sleep(0.01)
        return Interval(gain, gain, gain)
    promotion.apply(models, find, "auto", compare)
    print(mine, flush=True)
"""


def quality(version):
    """In the race, a model's quality is the number that its sha256 starts with."""
    return float(version.sha256[:8])


@pytest.mark.slow
def test_eight_racing_processes_with_kills_leave_the_best_champion_and_a_history_that_explains_it(models):
    decide(models, "0.000000-start", 0.0)
    environment = {**os.environ, "PYTHONPATH": str(Path(store.__file__).parents[2])}
    turns = ["1000", "1000", *["4"] * 6]  # the first two would go on for minutes: their kill finds them at work
    commands = [[sys.executable, "-c", RACER, str(worker), turns[worker]] for worker in range(8)]
    racers = [subprocess.Popen(c, env=environment, stdout=subprocess.PIPE, text=True) for c in commands]
    try:
        for killed in racers[:2]:
            assert killed.stdout.readline()  # it has decided once, and is in the midst of the next
            killed.kill()
        codes = [racer.wait(250) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
            racer.stdout.close()
    assert codes == [-signal.SIGKILL] * 2 + [0] * 6
    decide(models, "0.000001-last", -1.0)  # whoever comes next settles what the killed ones left
    tags = {item.version: item.tags for item in models.client.search_model_versions("name='toy'")}
    decided = [item for item in models.versions() if tags[item.number].get(registry.DECIDED) == "true"]
    champion = models.holder("champion")
    assert len(decided) >= 26
    assert quality(champion) >= max(map(quality, decided))
    path = [entry for entry in models.history() if entry["alias"] == "champion"]
    assert all(after["from"] == before["to"] for before, after in itertools.pairwise(path))
    assert path[-1]["to"] == champion.number
    climb = [float(entry["sha256"][:8]) for entry in path if "sha256" in entry]
    assert climb == sorted(climb)
