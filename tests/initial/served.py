"""A server of published weights, which can also break off or hang."""

import http.server
import threading
from contextlib import contextmanager
from pathlib import Path


class Served(http.server.ThreadingHTTPServer):
    """Gives the files of a folder; `asked` are the requests, `short` the bytes after which it breaks off."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked, self.short, self.wait = folder, [], None, threading.Event()
        self.hangs = False

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)

    def _answer(self, whole):
        self.server.asked.append((self.command, self.path))
        path = self.server.folder / self.path.strip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if whole:
            self.wfile.write(content[: self.server.short])
            self.wfile.flush()
            if self.server.hangs:
                self.server.wait.wait(60)

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder: Path):
    server = Served(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.wait.set()
        server.shutdown()
        thread.join()
        server.server_close()
