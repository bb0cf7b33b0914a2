"""The flow that prefect.yaml puts on a schedule: the same as `danlu run`, in the worker's process."""

from prefect import flow

from flows import settings, train


@flow(name="nightly", persist_result=False)
def nightly(task: str | None = None, until: str | None = None) -> None:
    """Brings every task, or one, up to date.

    Raises: RuntimeError with the exit code, so that the run counts as failed.
    """
    settings.apply()
    code = train.run(task, until)
    if code:
        raise RuntimeError(f"danlu run ended with {code}; what failed stands in .danlu/logs")
