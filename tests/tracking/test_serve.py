"""`mlflow models serve` itself, on loopback, asked as a stranger would."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline import config, register
from pipeline.tracking import store

pytestmark = pytest.mark.slow
MALFORMED = [
    b"",
    b"nonsense",
    b"[]",
    b"null",
    b"{}",
    b'{"inputs": []}',
    b'{"inputs": [null]}',
    b'{"inputs": [1]}',
    b'{"inputs": [["a", "b"]]}',
    b'{"inputs": [{"a": 1}]}',
    b'{"inputs": {"x": ["a"]}}',
    b'{"inputs": ["/etc/passwd", "\\u0000"]}',
    b'{"inputs": ["https://example.org/a.png", ""]}',
    b'{"inputs": ["\\ud800"]}',
    b'{"inputs": ["\xff"]}',
    b'{"dataframe_split": 5}',
    b'{"dataframe_split": {"data": []}}',
    b'{"dataframe_records": [[1, 2], [3]]}',
]


class Server:
    """A served champion on a free port of loopback."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {**os.environ, **store.DEFAULTS, "MLFLOW_TRACKING_URI": store.tracking_uri()}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        command = ["mlflow", "models", "serve", "--env-manager", "local", "-m", "models:/toy@champion"]
        command += ["-h", "127.0.0.1", "-p", str(self.port)]
        self.log = Path("serve.log").open("wb")  # noqa: SIM115 - closed with the server
        self.process = subprocess.Popen(
            command, env=environment, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def ready(self):
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, Path("serve.log").read_text()
                time.sleep(0.5)
        raise AssertionError(Path("serve.log").read_text())

    def ask(self, body):
        """Status and decoded answer."""
        url = f"http://127.0.0.1:{self.port}/invocations"
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode("utf-8", "replace")

    def libraries(self):
        """The memory maps of the server's processes."""
        mine = [p for p in Path("/proc").glob("[0-9]*") if _group(p) == self.process.pid]
        return "\n".join((process / "maps").read_text() for process in mine)

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def _group(process):
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except OSError:  # it has just ended
        return 0


@pytest.fixture
def serve():
    servers = []

    def start():
        register.main(config.task("toy"))
        servers.append(Server())
        servers[-1].ready()
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def check(server, rows, expected):
    """Right at batch sizes 1, 2 and 7, never a 5xx for a malformed request, and right again after them."""
    for size in (1, 2, 7):
        status, answer = server.ask(json.dumps({"inputs": rows[:size]}).encode())
        assert status == 200
        assert [row["label"] for row in answer["predictions"]] == expected[:size]
    for body in MALFORMED:
        status, answer = server.ask(body)
        assert 400 <= status < 500, (body, answer)
    assert server.ask(json.dumps({"inputs": rows[:1]}).encode())[0] == 200
    assert "onnxruntime" in server.libraries()
    assert "libtorch" not in server.libraries()


def test_images_are_served_as_base64(image_project, serve):
    server = serve()
    rows = [base64.b64encode(Path(f"data/raw/toy/files/{k}.png").read_bytes()).decode() for k in range(7)]
    check(server, rows, ["dark", "bright"] * 3 + ["dark"])
    status, answer = server.ask(json.dumps({"inputs": [rows[0], "data/raw/toy/files/1.png"]}).encode())
    assert status == 400
    assert "row 1" in answer


def test_texts_are_served_as_raw_sentences(text_project, serve):
    server = serve()
    won = register.winner(config.task("toy")).rows
    check(server, list(won["text"][:7]), list(won["answer"][:7]))


def test_a_server_of_a_tampered_bundle_does_not_start(image_project):
    register.main(config.task("toy"))
    graph = next(Path("mlruns").rglob("bundle/model.onnx"))
    content = bytearray(graph.read_bytes())
    content[40] ^= 1
    graph.write_bytes(content)
    server = Server()
    try:
        assert server.process.wait(180) != 0
        assert "changed after it was registered" in Path("serve.log").read_text()
    finally:
        if server.process.poll() is None:
            server.close()
        server.log.close()
