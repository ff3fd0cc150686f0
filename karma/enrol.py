"""Brings MLflow's registry to what ``registry`` says it is to hold.

Each step looks before it makes, so that it can be cut off anywhere and be done again.
"""

from collections.abc import Callable
from typing import Any

BEST = "best"


def enrol(
    client: Any, model: dict[str, Any], known: Callable[[str], dict[str, str] | None]
) -> None:
    """Register the versions of ``model`` that this server knows, and point ``best`` to one.

    ``client`` is an ``MlflowClient``; ``known`` gives the run and the logged model of a key. Raises
    MlflowException.
    """
    name = model["name"]
    there = [(row, made) for row in model["versions"] if (made := known(row["key"])) is not None]
    rows = [(row, made) for row, made in there if made["model"]]
    if not rows:
        return
    _registered(client, name, _words(model))
    versions = {v.source: v for v in client.search_model_versions(f"name = '{name}'")}
    for row, made in rows:
        source = f"models:/{made['model']}"
        version = versions.get(source) or _version(client, name, source, row, made)
        score = "" if row["score"] is None else f"{row['score']:.6g}"
        if score and version.tags.get(model["by"]) != score:
            client.set_model_version_tag(name, version.version, model["by"], score)
        if row["key"] == model["best"]:
            client.set_registered_model_alias(name, BEST, version.version)


def _words(model: dict[str, Any]) -> str:
    return (
        f"{model['of']} of the recipe {model['recipe']}, all seeds. {BEST}: by {model['by']}, "
        "among the models of the last run; a tag of each version has its value. latest: the "
        "version that was registered last."
    )


def _registered(client: Any, name: str, words: str) -> None:
    """Make the registered model, or bring its description up to date."""
    found = client.search_registered_models(f"name = '{name}'", max_results=1)
    if not found:
        try:
            client.create_registered_model(name, description=words)
        except Exception:
            # Another workspace may have made it in between.
            if not client.search_registered_models(f"name = '{name}'", max_results=1):
                raise
    elif found[0].description != words:
        client.update_registered_model(name, words)


def _version(client: Any, name: str, source: str, row: dict[str, Any], made: dict[str, str]) -> Any:
    return client.create_model_version(
        name,
        source,
        made["run"],
        {tag: row[tag] for tag in ("instance", "seed", "key", "digest")},
        description=f"{row['instance']}, artefact {row['digest'][:16]}",
        await_creation_for=0,
        model_id=made["model"],
    )
