"""A page that names every instance of a run beside the MLflow run that made it."""

import html
from collections.abc import Iterable

# Where `karma ui` serves MLflow, if the port is free.
PORT = 5000
STYLE = (
    "body{font:14px system-ui,sans-serif;margin:24px;color:#222;background:#fff}"
    "td{padding:2px 16px 2px 0}"
)


def page(title: str, address: str, rows: Iterable[tuple[str, str, dict[str, str] | None]]) -> str:
    """The page. ``rows`` are an instance, its key, and the experiment and run that made it, if
    this tracking server (``address``) knows them."""
    http = address.startswith(("http://", "https://"))
    server = address.rstrip("/") if http else f"http://127.0.0.1:{PORT}"
    note = "" if http else f"<p>The links hold while karma ui serves MLflow at {server}.</p>"
    body = "".join(_row(server, *row) for row in rows)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p>Every instance, the MLflow run that made it, and the key of its artefact.</p>{note}"
        f"<table>{body}</table></html>\n"
    )


def _row(server: str, name: str, key: str, known: dict[str, str] | None) -> str:
    said = html.escape(name)
    if known is not None:
        where = html.escape(f"{server}/#/experiments/{known['experiment']}/runs/{known['run']}")
        said = f'<a href="{where}">{said}</a>'
    return f"<tr><td>{said}</td><td><code>{html.escape(key[:16])}</code></td></tr>"
