"""Real servers on loopback, in a thread, whose answers can be refused, lost or late.

One request is answered after the other, so that a conditional put to moto's S3 is as atomic as
S3's own, and a count of requests says where one is.
"""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

REFUSED, DROPPED, LOST = "refused", "dropped", "lost"


class Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Nothing on standard error."""


class Server:
    """Serves ``app`` and counts what it is asked, by method.

    ``disturb`` says of a request's number what becomes of it: nothing ("") as a rule; a 503
    (REFUSED); no answer, unhandled (DROPPED) or handled (LOST). Answers come ``late`` by seconds.
    Whoever has the name ``cut_off`` among its credentials is not answered.
    """

    def __init__(self, app: Any, environment: dict[str, str]) -> None:
        self.asked: Counter[str] = Counter()
        self.disturb: Callable[[int], str] = lambda _: ""
        self.cut_off = ""
        self.late = 0.0
        self._app = app
        self._server = make_server("127.0.0.1", 0, self._answer, request_handler=Quiet)
        self.address = f"http://127.0.0.1:{self._server.port}"
        self.environment = {n: v.format(address=self.address) for n, v in environment.items()}

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        self.asked[environ["REQUEST_METHOD"]] += 1
        fate = self.disturb(self.asked.total())
        if self.cut_off and self.cut_off in environ.get("HTTP_AUTHORIZATION", ""):
            fate = DROPPED
        if fate in (REFUSED, DROPPED):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Length", "0")])
            answer: Any = [b""]
        else:
            answer = self._app(environ, start)
        if fate in (DROPPED, LOST):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        time.sleep(self.late)
        return answer

    @contextmanager
    def serving(self) -> Iterator["Server"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
