"""The template of GPU jobs on Kubernetes, held against Prefect's own; no cluster ever saw it."""

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml
from prefect.server.schemas.actions import WorkPoolCreate

from flows.deployment import jobs
from tests.compose import DOCKER

TEMPLATE = json.loads((DOCKER / "kubernetes" / "gpu-job.json").read_text())
FILE = yaml.safe_load((DOCKER / "kubernetes" / "prefect.yaml").read_text())
(DEPLOYMENT,) = FILE["deployments"]
POD = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def prefects() -> dict[str, Any]:
    """Prefect's own template for its Kubernetes worker, as its server ships it."""
    views = files("prefect.server.api.collections_data.views")
    known = json.loads(views.joinpath("aggregate-worker-metadata.json").read_text())
    return known["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]


def lacking(theirs: Any, ours: Any, place: str = "") -> list[str]:
    """Where ``ours`` has not what ``theirs`` has; a list of things with names is told by them."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            found
            for name, value in theirs.items()
            for found in lacking(value, ours.get(name), f"{place}/{name}")
        ]
    if isinstance(theirs, list) and isinstance(ours, list):
        return lacking(dict(enumerate(theirs)), dict(enumerate(ours)), place)
    return [] if theirs == ours else [place]


def test_the_template_is_prefects_but_for_where_secrets_come_from(prefects):
    theirs, ours = prefects["job_configuration"], TEMPLATE["job_configuration"]
    secrets = "/job_manifest/spec/template/spec/containers/0/env"
    assert lacking(theirs, ours) == [secrets]
    assert set(theirs) == set(ours)
    assert set(prefects["variables"]["properties"]) <= set(TEMPLATE["variables"]["properties"])


def test_prefects_server_takes_the_template():
    made = WorkPoolCreate(name="gpu-k8s", type="kubernetes", base_job_template=TEMPLATE)
    assert made.base_job_template == TEMPLATE


def test_what_the_template_and_the_deployment_say_is_of_the_types_that_are_declared(prefects):
    schema = TEMPLATE["variables"]
    jsonschema.Draft202012Validator.check_schema(schema)
    known = schema["properties"]
    defaults = {name: one["default"] for name, one in known.items() if "default" in one}
    values = {**defaults, **DEPLOYMENT["work_pool"]["job_variables"]}
    assert set(values) <= set(known)
    for checked in (schema, prefects["variables"]):
        jsonschema.validate(values, checked)
    named = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(TEMPLATE["job_configuration"])))
    assert named == set(known)


def test_a_job_has_a_card_no_rights_and_no_secret_of_its_own():
    (container,) = POD["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert POD["securityContext"]["runAsNonRoot"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in POD["volumes"]}
    for one in container["env"]:
        secret = re.search("KEY|AUTH|SECRET|PASSWORD|SALT", one["name"])
        assert ("valueFrom" in one) == bool(secret), one["name"]


def test_the_deployment_that_is_written_out_is_the_one_that_jobs_are_started_of():
    made = jobs("gpu-k8s")
    module, name = DEPLOYMENT["entrypoint"].split(":")
    assert made.entrypoint == f"{module.removesuffix('.py').replace('/', '.')}.{name}"
    assert DEPLOYMENT["name"] == made.name == DEPLOYMENT["work_pool"]["name"]
