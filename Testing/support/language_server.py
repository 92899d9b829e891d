"""A language model's server on a real socket that behaves as a test says, with what it was sent on record."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server says to one request.

    Attributes:
        body: bytes, or what becomes JSON.
        before: called before anything is sent, such as a wait.
        drop: close the connection instead of answering.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] | None = None
    drop: bool = False


@dataclass
class LanguageServer:
    """The server and what it was sent.

    Attributes:
        address: with ``/v1``.
        requests: bodies of the questions, in order.
        headers: of each.
        raw: bytes of each request, headers and body.
        connections: that were made to it, whatever came of them.
    """

    address: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    connections: int = 0


def said(text: str | None, finish: str = "stop", **more: Any) -> dict[str, Any]:
    """An answer as /chat/completions has it."""
    message = {"role": "assistant", "content": text, **more}
    return {
        "model": "a model",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }


@contextmanager
def language_server(
    behave: Callable[[dict[str, Any], int], Answer], tls: tuple[str, str] | None = None, host: str = "127.0.0.1"
) -> Iterator[LanguageServer]:
    """Serve until the block ends.

    Args:
        behave: given the body of a question and how many came before it; lists of models are always answered.
        tls: PEM files of a certificate and its key, or None for plain HTTP.
        host: what the address calls this computer.
    """
    server = LanguageServer("")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            self._send(Answer({"data": [{"id": "a-model"}]}))

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            head = "\n".join(f"{key}: {value}" for key, value in self.headers.items()).encode()
            server.raw.append(self.path.encode() + b"\n" + head + b"\n\n" + data)
            server.headers.append(dict(self.headers.items()))
            body = json.loads(data)
            server.requests.append(body)
            self._send(behave(body, len(server.requests) - 1))

        def _send(self, answer: Answer) -> None:
            if answer.before is not None:
                answer.before()
            if answer.drop:
                self.close_connection = True
                self.connection.close()
                return
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            try:
                self.send_response(answer.status)
                for key, value in answer.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass

    class Service(ThreadingHTTPServer):
        def verify_request(self, *_: object) -> bool:
            server.connections += 1
            return True

    with Service(("127.0.0.1", 0), Handler) as service:
        service.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            service.socket = context.wrap_socket(service.socket, server_side=True, do_handshake_on_connect=False)
        scheme = "http" if tls is None else "https"
        server.address = f"{scheme}://{host}:{service.server_address[1]}/v1"
        threading.Thread(target=service.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            service.shutdown()
