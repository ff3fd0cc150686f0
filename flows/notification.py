"""A Prefect automation that posts to a webhook when a run of karma's deployments goes wrong."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.events.schemas.events import ResourceSpecification

from karma.address import public
from tasks.client import asking

NAME = "karma: a run that has not gone well"
BLOCK = "karma"
# States are those of Prefect and, of flows/scheduled.py, those that have names of their own.
STATES = ("Failed", "Crashed", "TimedOut", "Holes", "GateNotMet")
SUBJECT = "KARMA: {{ flow_run.name }}: {{ flow_run.state.name }}"
BODY = "{{ flow_run.state.message }}\n{{ flow_run | ui_url }}"


def put(url: str) -> str:
    """Let the server post to ``url``, and nowhere else; the server's address.

    Raises InputError if the server cannot be used.
    """
    with asking() as client:
        settings = {"name": "KARMA", "url": url, "json_data": {"text": "{{subject}}\n{{body}}"}}
        block = CustomWebhookNotificationBlock.model_validate(settings)
        kept: Any = block.save(BLOCK, overwrite=True)
        _remove(client)
        client.create_automation(_automation(kept))
        return public(str(client.api_url))


def remove() -> None:
    """Forget the webhook. Raises InputError if the server cannot be used."""
    with asking() as client:
        _remove(client)
        with suppress(ValueError):  # there is none
            CustomWebhookNotificationBlock.delete(f"custom-webhook/{BLOCK}")


def _automation(block: UUID) -> AutomationCore:
    return AutomationCore(
        name=NAME,
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in STATES},
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.karma"}
            ),
            for_each={"prefect.resource.id"},
        ),
        actions=[SendNotification(block_document_id=block, subject=SUBJECT, body=BODY)],
    )


def _remove(client: SyncPrefectClient) -> None:
    for found in client.read_automations_by_name(NAME):
        client.delete_automation(found.id)
