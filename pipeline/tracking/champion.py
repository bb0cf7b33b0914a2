"""The champion, loaded in this process."""

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import DataError, PipelineError, RegistryError
from pipeline.tracking import packaging, registry, store

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def answer(name: str, kind: str, rows: Sequence[str]) -> "pd.DataFrame":
    """The answers of `models:/<name>@champion`: the columns of serving.table.

    In this process the checkout's modules stand in for the copies that the model brought; where they differ, a
    warning says so.

    Raises: RegistryError without a champion or when it refuses to load, DataError for a row that it refuses.
    """
    client = store.client()
    import mlflow
    from mlflow.exceptions import MlflowException

    version = registry.Models(client, name).holder("champion")
    if version is None:
        raise RegistryError(f"{name}: found no champion in {store.tracking_uri()}; expected one; run `danlu run` first")
    if version.code != packaging.code_sha256(kind):
        log.warning(
            "%s: champion version %d was registered with other serving code than this checkout's; a server may answer "
            "otherwise; `danlu run` registers it again",
            name,
            version.number,
        )
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
