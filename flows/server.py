"""The Prefect server of a workspace: shared by all who use it, gone when nobody does.

Every user of the server holds a shared lock on one file; the server tries to take it alone and
ends when it can. The kernel frees a lock when its holder dies, so a server outlives no run by more
than a second, whatever killed it, and a second run on the same workspace finds the first one's.
A server that the user has configured (PREFECT_API_URL or a profile) is used instead.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from karma.errors import StageError
from karma.locks import try_lock
from karma.store import read_json, write_atomically

if TYPE_CHECKING:
    from starlette.middleware.trustedhost import TrustedHostMiddleware

PATIENCE = 180  # seconds; a first start on a busy machine makes the database and takes a while

# These say that the user runs a Prefect of their own.
CONFIGURED = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")


@contextmanager
def server(workspace: Path) -> Iterator[str]:
    """The address of the API, in the environment too, for as long as the block lasts.

    Must be entered before prefect is imported.
    """
    _settings(workspace)
    if configured():
        yield os.environ.get("PREFECT_API_URL", "")
        return
    folder = workspace.absolute() / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "start.lock").open("w") as start, (folder / "users.lock").open("w") as users:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        url = _running(folder) or _start(folder)
        fcntl.flock(start, fcntl.LOCK_UN)
        os.environ["PREFECT_HOME"] = str(folder)
        os.environ["PREFECT_API_URL"] = url
        try:
            yield url
        finally:
            del os.environ["PREFECT_API_URL"], os.environ["PREFECT_HOME"]


def configured() -> bool:
    """Whether the user runs a Prefect of their own, by the environment or the active profile."""
    if any(name in os.environ for name in CONFIGURED):
        return True
    try:
        profiles = (Path.home() / ".prefect" / "profiles.toml").read_text(encoding="utf-8")
        document = tomllib.loads(profiles)
    except (OSError, ValueError):
        return False
    active = document.get("profiles", {}).get(document.get("active"), {})
    return "PREFECT_API_URL" in active


def _settings(workspace: Path) -> None:
    """What we want of Prefect unless the user has said otherwise."""
    if not configured():
        # A server of our own that died does not come back: each request would wait a minute for it.
        os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        # What a person has to know is said by the console; Prefect's page shows the rest.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_LOGGERS_PREFECT_LEVEL": "WARNING",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(workspace.absolute() / "prefect" / "results"),
    }.items():
        os.environ.setdefault(name, value)


def address(workspace: Path) -> str | None:
    """The API of the Prefect server that is up for a workspace, or that is configured, if any."""
    if configured():
        return os.environ.get("PREFECT_API_URL", "")
    return _running(workspace.absolute() / "prefect")


def _running(folder: Path) -> str | None:
    """The address of the folder's server, if it is up.

    A workspace that was copied brings along where the server of the other one is.
    """
    known = read_json(folder / "server.json")
    ours = known is not None and known.get("folder") == str(folder.resolve())
    return known["url"] if known and ours and healthy(known["url"]) else None


def healthy(url: str) -> bool:
    """Whether the server whose pages begin with ``url`` says that it is well."""
    try:
        with urllib.request.urlopen(  # noqa: S310 - a server of our own: http, on loopback
            f"{url}/health", timeout=5
        ) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _start(folder: Path) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}",
        "PYTHONSAFEPATH": "1",  # nothing is imported from the folder in which the run was started
    }
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(folder), str(port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C ends the run, which then lets go of the server
        )
    deadline = time.monotonic() + PATIENCE
    while not healthy(url):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise StageError(f"Prefect's server did not start; its output is in {log}")
        time.sleep(0.3)
    known = {"url": url, "pid": process.pid, "folder": str(folder.resolve())}
    write_atomically(folder / "server.json", json.dumps(known).encode())
    return url


def _watch(users: TextIO) -> None:
    """End this process as soon as nobody holds the lock."""
    while not try_lock(users):
        time.sleep(0.5)
    os._exit(0)


def guarded() -> "TrustedHostMiddleware":
    """Prefect's API and pages for requests to loopback, or to a name in KARMA_PREFECT_HOSTS.

    Prefect itself answers to any Host header. A page elsewhere whose name is made to point here
    (DNS rebinding) would be of the server's own origin, which no check of origins stops.
    """
    from prefect.server.api.server import create_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    names = [name for name in os.environ.get("KARMA_PREFECT_HOSTS", "").split(",") if name]
    # Around Prefect's application, not in it: automations call that by a host name of their own.
    return TrustedHostMiddleware(
        create_app(), allowed_hosts=["127.0.0.1", "localhost", *names], www_redirect=False
    )


def main() -> None:
    """Serve Prefect's API and pages on loopback for the users of the folder."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    # Open for good: the lock is asked for as long as the process lives.
    users = (folder / "users.lock").open("r")
    threading.Thread(target=_watch, args=(users,), daemon=True).start()

    import uvicorn

    uvicorn.run(guarded(), host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main()
