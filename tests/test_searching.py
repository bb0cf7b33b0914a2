import copy
import re

from pipeline import searching

STUDY = {
    "measure": "loss",
    "direction": "minimize",
    "sampler": "tpe",
    "pruner": "halving",
    "best": 2,
    "importances": {"train.optimizer.learning_rate": 0.8, "model.dropout": 0.2},
    "dimensions": [
        {"path": "model.dropout", "log": False, "choices": [0.1, 0.3]},
        {"path": "train.optimizer.learning_rate", "log": True, "choices": None},
    ],
    "trials": [
        {
            "number": number,
            "state": state,
            "value": value,
            "params": {"model.dropout": 0.1, "train.optimizer.learning_rate": 0.001 * (number + 1)},
            "epochs": epochs,
            "last": last,
            "started": 0.0,
            "seconds": 1.5,
            "reason": reason,
        }
        for number, (state, value, epochs, last, reason) in enumerate(
            [
                ("completed", 0.6, 9, 0.6, ""),
                ("pruned", None, 1, 0.9, "after epoch 1"),
                ("completed", 0.4, 9, 0.4, ""),
                ("failed", None, 0, None, "the loss is nan"),
                ("completed", 0.5, 9, 0.5, ""),
            ]
        )
    ],
}


def words_of(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_words_count_how_trials_ended_and_say_what_the_choice_is_worth():
    said = searching.words(STUDY)
    assert "5 trials by tpe, pruner halving: 3 completed, 1 pruned, 1 failed; 28 epochs in all" in said
    assert "Trial 2 was the best: loss 0.4000" in said and "optimistic" in said


def test_the_table_has_the_best_trials_first_and_those_that_failed_with_their_reason():
    rows = searching.described(STUDY)["rows"]
    assert [row["number"] for row in rows] == [2, 4, 0, 3]
    assert [row["chosen"] for row in rows] == [True, False, False, False]
    assert rows[0]["params"] == ["0.1", "0.003"] and rows[3]["value"] == "failed"
    assert rows[3]["reason"] == "the loss is nan"
    other = copy.deepcopy(STUDY) | {"direction": "maximize"}
    assert [row["number"] for row in searching.described(other)["rows"]] == [0, 4, 2, 3]


def test_the_plots_name_what_they_show():
    found = searching.described(STUDY)
    assert {"trial", "loss, validation", "pruned", "completed", "best so far"} <= set(words_of(found["history"]))
    assert {"optimizer.learning_rate", "dropout"} <= set(words_of(found["importances"]))
    first, second = found["slices"]  # what matters most comes first
    assert "optimizer.learning_rate" in words_of(first)
    assert {"dropout", "0.1", "0.3"} <= set(words_of(second))


def test_a_study_without_importances_or_of_one_trial_is_drawn_too():
    one = copy.deepcopy(STUDY) | {"importances": {}, "trials": STUDY["trials"][:1], "best": 0}
    found = searching.described(one)
    assert found["importances"] == "" and found["words"].startswith("1 trial by tpe")
    assert len(found["slices"]) == 2
