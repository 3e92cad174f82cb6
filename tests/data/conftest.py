"""What the tests of the loaders share: a local server that can fail in every way, and what an error must look like."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from partlib.data import fetch
from partlib.errors import DataError


@contextmanager
def refused(message, error=DataError):
    """An error of one line that matches ``message``."""
    with pytest.raises(error, match=message) as caught:
        yield
    assert "\n" not in str(caught.value)


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.files``; ``server.breaks`` answers stop halfway; ``server.ranges``: whether Range is obeyed."""

    def do_GET(self):
        wanted = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.server.requests.append(wanted)
        if self.path not in self.server.files:
            return self.answer(404, b"nothing here")
        body = self.server.files[self.path]
        if wanted and self.server.ranges:
            return self.answer(206, body[wanted:]) if wanted < len(body) else self.answer(416, b"")
        return self.answer(200, body)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks > 0:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args):
        """Keep the test output quiet."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES", (0,) * 5)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.files, running.breaks, running.ranges, running.requests = {}, 0, True, []
    running.url = f"http://127.0.0.1:{running.server_address[1]}"
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()
