"""An S3 server on loopback (moto's), which counts what it is asked and can refuse.

It answers one request after the other, so that a conditional put is as atomic as S3's.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "karma"


class Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Nothing on standard error."""


class S3:
    """The server; ``refuse`` says of a request's number whether it gets a 503."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.refuse: Callable[[int], bool] = lambda _: False
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, request_handler=Quiet)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "s3cret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        self.asked[environ["REQUEST_METHOD"]] += 1
        if self.refuse(self.asked.total()):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        return self._app(environ, start)

    @contextmanager
    def serving(self) -> Iterator["S3"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
