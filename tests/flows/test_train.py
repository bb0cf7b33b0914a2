"""What a run needs before it starts Prefect."""

import socket

import pytest

from flows import train
from pipeline.errors import PipelineError


def test_a_prefect_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound and not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", address)
        with pytest.raises(PipelineError, match=rf"PREFECT_API_URL: found {address}.*make ui") as caught:
            train.require_server()
    assert "\n" not in str(caught.value)


def test_without_one_prefect_starts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    train.require_server()
