"""The section `validate` of a task, with what the task's files in expectations/ add to it."""

import dataclasses
from types import ModuleType
from typing import Any

from pipeline.config import Task
from pipeline.expectations import Rule
from pipeline.validation import _labels, _own_rules, _rules

ALWAYS = ("id", "path", "label", "group", "split", "bytes", "neighbours")  # columns of every kind


def read(task: Task) -> tuple[ModuleType, Any, list[Rule]]:
    """The kind's module, its Config and the user's own rules.

    Raises: ConfigError for whatever is wrong in the section or in a file, before any work starts.
    """
    module, config = task.of_kind("validate", "validation")
    config = dataclasses.replace(config, labels=_labels.read(task.name, config.labels))
    taken = (*_rules.SHARED, *_rules.FIXED, *module.NAMES)
    return module, config, _own_rules.read(task.name, (*ALWAYS, *module.COLUMNS), taken)
