"""Serves the pages of a workspace on loopback: MLflow's and Prefect's, until Ctrl-C."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from flows.server import PATIENCE, healthy, server
from karma.address import public
from karma.errors import StageError
from karma.store import Store


def serve(store: Store, uri: str, port: int) -> None:
    """Start what is needed, print the addresses, end cleanly on Ctrl-C or SIGTERM.

    Raises StageError if MLflow's server ends by itself.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server(store.root) as prefect:
        mlflow = None
        try:
            address = uri
            if uri.startswith("sqlite:"):
                port = _free(port)
                address = f"http://127.0.0.1:{port}"
                mlflow = _mlflow(store, uri, port)
                _wait(address, mlflow, store)
            print(f"MLflow:  {public(address)}", flush=True)
            print(f"Prefect: {prefect.removesuffix('/api') or 'as configured'}", flush=True)
            print("Ctrl-C ends both.", flush=True)
            while True:
                time.sleep(0.5)
                if mlflow is not None:
                    _alive(mlflow, store)
        except KeyboardInterrupt:
            print("ended")
        finally:
            if mlflow is not None:
                _stop(mlflow)


def _mlflow(store: Store, uri: str, port: int) -> subprocess.Popen[bytes]:
    from karma.record import prepare  # imports mlflow, which takes seconds

    prepare(uri)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", uri]
    command += ["--default-artifact-root", (store.root / "mlflow-artifacts").as_uri()]
    # By default MLflow answers to any name that begins with 10. as well, such as 10.example.org.
    command += ["--allowed-hosts", "127.0.0.1:*,localhost:*"]
    log = _log(store).open("w")
    return subprocess.Popen(
        command, stdout=log, stderr=log, start_new_session=True, preexec_fn=_end_with_parent
    )


def _alive(process: subprocess.Popen[bytes], store: Store) -> None:
    """Raises StageError if the server ended, which it does not do by itself."""
    if process.poll() is not None:
        raise StageError(f"MLflow's server ended; its output is in {_log(store)}")


def _log(store: Store) -> Path:
    return store.root / "mlflow.log"


def _stop(process: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """End a process, by force if it has not ended within ``patience`` seconds."""
    process.terminate()
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, even by kill -9 (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait(address: str, process: subprocess.Popen[bytes], store: Store) -> None:
    """Wait until the server answers. Raises StageError if it ends, or does not in time."""
    deadline = time.monotonic() + PATIENCE
    while not healthy(address):
        _alive(process, store)
        if time.monotonic() > deadline:
            raise StageError(f"MLflow's server does not answer; its output is in {_log(store)}")
        time.sleep(0.2)


def _free(port: int) -> int:
    """``port``, or another one if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
