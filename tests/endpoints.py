"""An endpoint that speaks chat completions, on this machine: it answers what a test says, and keeps what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answering = Callable[[dict[str, Any]], tuple[int, bytes]]


def completion(content: object, tokens: int | None = 100) -> bytes:
    """A chat completion as OpenAI's API has it."""
    body: dict[str, Any] = {
        "id": "c-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
    }
    if tokens is not None:
        body["usage"] = {"prompt_tokens": tokens - 10, "completion_tokens": 10, "total_tokens": tokens}
    return json.dumps(body).encode()


def says(sentence: object, tokens: int | None = 100) -> Answering:
    """Answers this sentence, whatever is asked."""
    return lambda asked: (200, completion(json.dumps({"sentence": sentence}), tokens))


class FakeEndpoint:
    """What was asked, and what is answered next."""

    def __init__(self) -> None:
        self.answering: Answering = says("Often chosen alongside “Alien”")
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.url = ""


@contextmanager
def endpoint() -> Iterator[FakeEndpoint]:
    """A server on a free port; clearing `hold` lets it wait with its answers."""
    fake = FakeEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            fake.asked.append(asked)
            fake.paths.append(self.path)
            fake.headers.append({name.lower(): value for name, value in self.headers.items()})
            fake.hold.wait(20)
            status, body = fake.answering(asked)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if status in (301, 307):
                self.send_header("location", f"{fake.url}/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                """Who asked has gone."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        fake.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
