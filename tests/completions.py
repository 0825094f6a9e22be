"""A scripted server with OpenAI's API that records its requests."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


class Server(ThreadingHTTPServer):
    """Answers with the result of `script`, which gets the question and the number of times it was asked before."""

    def __init__(self, script: Callable[[str, int], Reply]) -> None:
        self.script, self.seen, self.lock = script, [], threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def questions(self) -> list[str]:
        return sorted(body["messages"][-1]["content"] for body, _ in self.seen)

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        question = body["messages"][-1]["content"]
        with self.lock:
            before = self.questions().count(question)
            self.seen.append((body, headers))
        return self.script(question, before)

    def listed(self) -> Reply:
        return 404, {}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._send(*self.server.reply(body, dict(self.headers)))

    def do_GET(self) -> None:
        self._send(*self.server.listed())

    def _send(self, status: int, said: Any) -> None:
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def serving(script: Callable[[str, int], Reply]) -> Iterator[Server]:
    with running(Server(script)) as server:
        yield server


@contextmanager
def running(server: Server) -> Iterator[Server]:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str | None, reason: str = "stop") -> Reply:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
    return 200, {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
