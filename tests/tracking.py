"""A little HTTP server that answers as MLflow's does to the calls that a parent run needs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INFO = {"run_id": "r1", "run_uuid": "r1", "experiment_id": "1", "status": "RUNNING"}
ANSWERS = {
    "experiments/get-by-name": {"experiment": {"experiment_id": "1", "name": "smoke"}},
    "runs/search": {},
    "runs/create": {"run": {"info": {**INFO, "start_time": 1, "lifecycle_stage": "active"}}},
    "runs/log-batch": {},
}


class Tracking(ThreadingHTTPServer):
    """Answers with ``status``; while that is not 200, it refuses the calls that begin as told."""

    daemon_threads = True

    def __init__(self, status: int, calls: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.calls = calls
        self.asked: list[str] = []

    def uri(self, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Tracking

    def answer(self) -> None:
        call = self.path.partition("?")[0].partition("/mlflow/")[2]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(call)
        refusal = {"error_code": "UNAUTHENTICATED", "message": f"no entry to {self.server.uri()}"}
        status = self.server.status if call.startswith(self.server.calls) else 200
        body = json.dumps(ANSWERS[call] if status == 200 else refusal).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@contextmanager
def tracking(status: int = 200, calls: str = "") -> Iterator[Tracking]:
    with Tracking(status, calls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
