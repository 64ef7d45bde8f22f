"""Nothing in silence: each field of a message that the sandbox takes is told back, acted on, or refused by its name."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

import pytest
from google.api import field_behavior_pb2
from google.auth.transport.requests import AuthorizedSession
from google.cloud import run_v2
from google.cloud.artifactregistry_v1 import types as artifact_registry
from google.cloud.devtools.cloudbuild_v1 import types as cloud_build
from google.protobuf import descriptor

from tests.sandbox.conftest import learner_with, project

Field = descriptor.FieldDescriptor
PLACE = "projects/{project}/locations/us-central1"
IMAGE = "docker.io/library/nginx"
STEP = {"name": "ubuntu"}


@dataclass(frozen=True)
class Taken:
    """A message that a method takes.

    Attributes:
        url: where it is made, with `{project}` and `{id}`.
        base: what a request needs at least.
        under: paths of the messages whose fields are sent as well.
        answered: where in the answer the message is.
        acted: fields that are acted on and not told back.
        output: fields that Google alone writes, and ignores in a request (google.aip.dev/203).
        words: what a refusal says instead of a field's name.
    """

    kind: Any
    url: str
    base: dict[str, Any]
    under: tuple[str, ...] = ()
    answered: str = ""
    acted: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    words: Mapping[str, str] = default(default_factory=dict)


TAKEN = {
    "repository": Taken(
        artifact_registry.Repository,
        f"https://artifactregistry.googleapis.com/v1/{PLACE}/repositories?repositoryId={{id}}",
        {"format": "DOCKER"},
        ("dockerConfig", "vulnerabilityScanningConfig"),
        "operation",
        ("name",),
        ("createTime", "updateTime", "sizeBytes", "satisfiesPzs", "satisfiesPzi", "registryUri"),
        {
            "kmsKeyName": "encrypted with a key",
            "cleanupPolicies": "Cleanup policy",
            "disallowUnspecifiedMode": "Repository mode must be specified",
            "mode": "remote repository",
        },
    ),
    "service": Taken(
        run_v2.Service,
        f"https://run.googleapis.com/v2/{PLACE}/services?serviceId={{id}}",
        {"template": {"containers": [{"image": IMAGE}]}},
        ("template", "template.containers", "template.containers.resources", "template.scaling"),
        "metadata",
        ("client", "clientVersion", "name"),
        (
            "deleteTime",
            "expireTime",
            "urls",
            "uri",
            "observedGeneration",
            "conditions",
            "latestReadyRevision",
            "latestCreatedRevision",
            "trafficStatuses",
            "satisfiesPzs",
        ),
        {"resources": "the limit a-key"},
    ),
    "build": Taken(
        cloud_build.Build,
        "https://cloudbuild.googleapis.com/v1/projects/{project}/builds",
        {"steps": [STEP]},
        ("steps", "options"),
        "metadata.build",
        # a step's name is in the base; what is to be replaced has been when a build is told
        ("name", "automapSubstitutions"),
        (),
        {
            "logsBucket": "storage.objects.create",
            "availableSecrets": "secrets from Secret Manager",
            "gitConfig": "git settings",
            "waitFor": "depends on",
        },
    ),
    "trigger": Taken(
        cloud_build.BuildTrigger,
        "https://cloudbuild.googleapis.com/v1/projects/{project}/triggers",
        {"name": "{id}", "build": {"steps": [STEP]}},
        ("build",),
        "",
        (),
        (),
        {
            "filename": "build_template",
            "gitFileSource": "build_template",
            "autodetect": "build_template",
            "triggerTemplate": "Cloud Source Repositories",
            # Both name a repository, and one that nobody has connected is refused.
            "github": "Repository mapping does not exist",
            "repositoryEventConfig": "was not found",
            "pubsubConfig": "Pub/Sub",
            "webhookConfig": "webhook",
            "sourceToBuild": "run by hand on a repository",
            "logsBucket": "storage.objects.create",
            "availableSecrets": "secrets from Secret Manager",
            "gitConfig": "git settings",
        },
    ),
}


def is_output(field: Field) -> bool:
    return field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def example(field: Field, depth: int = 0) -> Any:
    """A value of the field's type that no default is."""
    kind = field.message_type
    one: Any
    if kind is not None and kind.GetOptions().map_entry:
        return {"a-key": example(kind.fields_by_name["value"], depth + 1)}
    if kind is not None and kind.full_name == "google.protobuf.Timestamp":
        one = "2030-01-01T00:00:00Z"
    elif kind is not None and kind.full_name == "google.protobuf.Duration":
        one = "90s"
    elif kind is not None:
        inner = [each for each in kind.fields if not is_output(each)]
        one = {inner[0].json_name: example(inner[0], depth + 1)} if inner and depth < 3 else {}
    elif field.enum_type is not None:
        one = field.enum_type.values[-1].name
    elif field.type == Field.TYPE_BOOL:
        one = True
    elif field.type in (Field.TYPE_STRING, Field.TYPE_BYTES):
        one = "c29tZQ=="
    elif field.type in (Field.TYPE_DOUBLE, Field.TYPE_FLOAT):
        one = 0.5
    else:
        one = 7
    return [one] if field.is_repeated else one


def message_at(kind: descriptor.Descriptor, path: str) -> descriptor.Descriptor:
    for part in filter(None, path.split(".")):
        kind = next(field for field in kind.fields if field.json_name == part).message_type
    return kind


def fields() -> Iterator[tuple[str, str, Field]]:
    for name, taken in TAKEN.items():
        for path in ("", *taken.under):
            for each in message_at(taken.kind.pb().DESCRIPTOR, path).fields:
                if not is_output(each) and not (path == "" and each.json_name in taken.output):
                    yield name, path, each


def placed(base: dict[str, Any], path: str, field: Field) -> dict[str, Any]:
    """The base with one field more."""
    head, _, rest = path.partition(".")
    if not head:
        if field.json_name in base:
            return base
        return {**base, field.json_name: example(field)}
    below = base.get(head, {})
    if isinstance(below, list):
        return {**base, head: [placed(below[0], rest, field)]}
    return {**base, head: placed(below, rest, field)}


def told(answer: Any, path: str, field: Field) -> bool:
    for part in filter(None, path.split(".")):
        answer = answer.get(part, {}) if isinstance(answer, dict) else {}
        answer = answer[0] if isinstance(answer, list) and answer else answer
    return isinstance(answer, dict) and field.json_name in answer


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    with learner_with("run", "artifactregistry", "cloudbuild", "iam") as session:
        yield session


CASES = list(fields())


@pytest.mark.parametrize(
    ("name", "path", "field"), CASES, ids=[".".join(filter(None, (n, p, f.json_name))) for n, p, f in CASES]
)
def test_a_field_is_kept_acted_on_or_refused_by_name(
    learner: AuthorizedSession, name: str, path: str, field: Field
) -> None:
    taken = TAKEN[name]
    spare = f"f-{secrets.token_hex(5)}"
    url = taken.url.format(project=project(), id=spare)
    base = {key: spare if value == "{id}" else value for key, value in taken.base.items()}
    answer = learner.post(url, json=placed(base, path, field))
    body = answer.json()
    if answer.status_code != 200:
        said = body["error"]["message"]
        names = {field.name, field.json_name, re.sub(r"s$", "", field.json_name)}
        loose = {re.sub("[^a-z]", "", each.lower()) for each in names}
        named = any(each in re.sub("[^a-z]", "", said.lower()) for each in loose)
        assert named or taken.words.get(field.json_name, "\0") in said, said
        return
    if taken.answered == "operation":
        polled = learner.get(f"{url.partition('/projects')[0]}/{body['name']}").json()
        body = polled["response"]
    else:
        for part in filter(None, taken.answered.split(".")):
            body = body[part]
    assert told(body, path, field) or field.json_name in taken.acted, f"{field.full_name} was taken and not told back"
