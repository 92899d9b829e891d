"""Times what nobody should wait for: a language model's server that is dead, slow or refusing, and the agent itself.

``python benchmarks/agent_timings.py`` prints seconds; nothing is asserted. The servers are real sockets of this
process. The agent's own time is that of a session less what the segmenter and the language model took, on a synthetic
abdomen with the demo model.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "MedSAM3Segment"), str(ROOT / "MedSAM3Agent")]

from MedSAM3AgentLib.agent import Agent  # noqa: E402
from MedSAM3AgentLib.backends.protocol import BackendError, Question, QuestionKind  # noqa: E402
from MedSAM3AgentLib.backends.server import ServerBackend  # noqa: E402
from MedSAM3SegmentLib.errors import Cancelled  # noqa: E402
from MedSAM3SegmentLib.segmenter import Segmenter  # noqa: E402
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid  # noqa: E402

QUESTION = Question(QuestionKind.VERDICT, "Be brief.", "Is it?")


def seconds_of(work: Callable[[], object]) -> tuple[float, str]:
    """How long it took, and how it ended."""
    started = time.monotonic()
    try:
        work()
        end = "answered"
    except (BackendError, Cancelled) as error:
        end = f"{type(error).__name__}: {error}"
    return time.monotonic() - started, end


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


class Refusing(BaseHTTPRequestHandler):
    """Says no to everything."""

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Slow(Refusing):
    """Takes a request and says nothing."""

    def do_POST(self) -> None:
        threading.Event().wait(60)


def report_servers() -> None:
    print(f"{'server':34}{'seconds':>9}  end")
    rows: list[tuple[str, Callable[[], object]]] = [
        ("dead: nobody listens", lambda: ServerBackend(closed_port(), "m").ask(QUESTION)),
    ]
    with socket.socket() as full:
        # A backlog that is full leaves further connections unanswered, as a machine that is switched off does.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            line = socket.socket()
            line.setblocking(False)
            line.connect_ex(full.getsockname())
            waiting.append(line)
        address = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        rows.append(("dead: no answer to a connection", lambda: ServerBackend(address, "m").ask(QUESTION)))
        with (
            ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing,
            ThreadingHTTPServer(("127.0.0.1", 0), Slow) as slow,
        ):
            for server in (refusing, slow):
                server.daemon_threads = True
                server.block_on_close = False
                threading.Thread(target=server.serve_forever, daemon=True).start()
            rows.append(
                ("refusing", lambda: ServerBackend(f"http://127.0.0.1:{refusing.server_port}", "m").ask(QUESTION))
            )
            for wait in (0.0, 0.3, 2.0):
                rows.append((f"slow, cancelled after {wait:g} s", _cancelled(slow.server_port, wait)))
            for name, work in rows:
                taken, end = seconds_of(work)
                print(f"{name:34}{taken:9.2f}  {end}")
        for line in waiting:
            line.close()


def _cancelled(port: int, wait: float) -> Callable[[], object]:
    def work() -> object:
        until = time.monotonic() + wait
        backend = ServerBackend(f"http://127.0.0.1:{port}", "m")
        return backend.ask(QUESTION, lambda: time.monotonic() >= until)

    return work


def report_agent() -> None:
    segmenter = Segmenter.load("demo", "cpu")
    print(f"\n{'request':44}{'all':>8}{'segmenter':>11}{'own':>8}{'own of segmenter':>18}")
    for seed, text in ((100_000, "liver and spleen"), (100_001, "the tumor in the right kidney")):
        volume = make_phantom(seed, tilted_grid((24, 64, 64), (5.8, 5.8, 8.0))).volume
        for draws in (True, False):
            result = Agent(segmenter, draws_pages=draws).ask(volume, text)
            everything = sum(done.seconds["all"] for done in result.rounds)
            inside = sum(done.seconds["segmenting"] for done in result.rounds)
            own = everything - inside - sum(done.seconds["language model"] for done in result.rounds)
            name = f"{text}{'' if draws else ', no pages'}"
            print(f"{name:44}{everything:8.2f}{inside:11.2f}{own:8.2f}{100 * own / inside:16.1f} %", flush=True)


if __name__ == "__main__":
    report_servers()
    report_agent()
