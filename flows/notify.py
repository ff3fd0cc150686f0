"""The command ``karma notify``: a message to a chat when a deployed run has not gone well."""

import os
from typing import Annotated

import typer

from flows.options import HERE, Workspace
from flows.server import server
from karma.errors import RecipeError
from karma.store import Store

WEBHOOK = "KARMA_WEBHOOK"


def notify(
    workspace: Workspace = HERE,
    off: Annotated[bool, typer.Option("--off", help="Stop posting.")] = False,
) -> int:
    """Post to a webhook when a deployed run fails, ends with holes, or does not meet a gate.

    The webhook is read from KARMA_WEBHOOK, as it is a secret; it takes {"text": ...}, as those of
    Slack, Mattermost and Google Chat do. Prefect's server keeps it (as a block) and posts. Call
    this once per server; called again, it replaces the webhook.

    Example: karma notify
    """
    url = os.environ.get(WEBHOOK, "")
    if not off and not url.startswith(("https://", "http://")):
        raise RecipeError(
            WEBHOOK, "it is not set, or no address", "Put the webhook's https:// address there."
        )
    store = Store(workspace)
    store.create()
    with server(store.root):
        from flows import notification

        if off:
            notification.remove()
            print("Deployed runs are no longer posted anywhere.")
            return 0
        place = notification.put(url)
    print(f"{place} posts to the webhook when a deployed run fails, has holes or misses a gate.")
    return 0
