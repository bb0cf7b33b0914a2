"""The champion, loaded in this process."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import DataError, PipelineError, RegistryError
from pipeline.tracking import registry, store

if TYPE_CHECKING:
    import pandas as pd


def answer(name: str, rows: Sequence[str]) -> "pd.DataFrame":
    """The answers of `models:/<name>@champion`: columns label, probability, probabilities.

    Raises: RegistryError without a champion or when it refuses to load, DataError for a row that it refuses.
    """
    client = store.client()
    import mlflow
    from mlflow.exceptions import MlflowException

    if registry.Models(client, name).holder("champion") is None:
        raise RegistryError(f"{name}: found no champion in {store.tracking_uri()}; expected one; run `danlu run` first")
    with warnings.catch_warnings(record=True):
        try:
            model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
        except PipelineError as error:
            raise RegistryError(f"{name}: {error}") from None
        except (MlflowException, OSError) as error:
            line = " ".join(str(error).split())[:300]
            raise RegistryError(f"{name}: the champion does not load: {line}; register it again") from None
        try:
            table: pd.DataFrame = model.predict(list(rows))
        except MlflowException as error:
            raise DataError(f"{name}: {' '.join(error.message.rpartition('Error: ')[2].split())[:300]}") from None
    return table
