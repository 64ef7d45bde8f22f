"""The provenance of built images: BUILD occurrences with in-toto statements.

If the Container Analysis API is enabled, Cloud Build writes two for each image in a build's `images:`, in the formats
SLSA 0.1 and 1.0: https://cloud.google.com/build/docs/securing-builds/view-build-provenance. Fields:
grafeas/v1/build.proto, intoto_statement.proto and intoto_provenance.proto.

Google signs them, and names its own workers as the builder. Here they are not signed and name the workbook's builder,
so that nobody can mistake them for Google's. gcloud therefore shows `slsa_build_level: 1`, on Google 3.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.cloud.devtools.cloudbuild_v1 import types as builds
from grafeas.grafeas_v1 import types

from sandbox.api import messages
from sandbox.artifact_analysis import automatic_scans, occurrences
from sandbox.artifact_registry import image_names
from sandbox.state import projects
from sandbox.state.clock import timestamp
from sandbox.state.world import World

SERVICE: Final = "containeranalysis.googleapis.com"
BUILDER: Final = "https://localhost/artifact-registry-workbook/worker"
_NOTES: Final = "projects/verified-builder/notes"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
# The fields of a build that Cloud Build repeats as the recipe's arguments. # unverified: which fields exactly
_ARGUMENTS: Final = ("id", "name", "options", "sourceProvenance", "steps", "substitutions")


def record(world: World, build: Mapping[str, Any]) -> None:
    """Store the provenance of a finished build's images, if the API is enabled.

    Args:
        build: Google's Build message as JSON, with `results.images` and both times.
    """
    if build.get("status") != "SUCCESS" or not projects.is_enabled(world, build["projectId"], SERVICE):
        return
    found = list(occurrences_of(build, timestamp(world.now())))
    if found:
        with world.writing(tick=False) as rows:
            for occurrence in found:
                automatic_scans.put(rows, occurrence)


def occurrences_of(build: Mapping[str, Any], now: str) -> Iterable[dict[str, Any]]:
    """Yield two occurrences for each pushed image, in the order of `images:`."""
    pushed = build.get("results", {}).get("images", [])
    for digest in dict.fromkeys(image["digest"] for image in pushed if image.get("digest")):
        # A digest that was pushed with several tags is one image with several names.
        names = [f"https://{image['name']}" for image in pushed if image.get("digest") == digest]
        parent, resource = _place(names[0], digest)
        if not parent:
            continue
        subject = [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}} for name in names]
        for kind, body, statement in (
            ("intoto", "intotoStatement", _slsa_01(build, subject)),
            ("intoto_slsa_v1", "inTotoSlsaProvenanceV1", _slsa_10(build, subject)),
        ):
            yield _occurrence(parent, resource, f"{_NOTES}/{kind}_{build['id']}", body, statement, now)


def _place(name: str, digest: str) -> tuple[str, str]:
    """Return the parent of an image's occurrences and its resource; empty outside Artifact Registry."""
    image = image_names.parse(name.removeprefix("https://"))
    if image is None:
        return "", ""
    return f"projects/{image.project}/locations/{image.location}", f"https://{image.key}@{digest}"


def _occurrence(
    parent: str, resource: str, note: str, body: str, statement: dict[str, Any], now: str
) -> dict[str, Any]:
    payload = json.dumps(statement, separators=(",", ":")).encode()
    # The field is `_type` in JSON, and `type` in the message's Python class.
    fields = {"type" if key == "_type" else key: value for key, value in statement.items()}
    occurrence = {
        "name": occurrences.name_of(parent, resource, note),
        "resourceUri": resource,
        "noteName": note,
        "kind": "BUILD",
        "createTime": now,
        "updateTime": now,
        "build": {body: fields},
        "envelope": {"payload": base64.b64encode(payload).decode(), "payloadType": _PAYLOAD_TYPE},
    }
    rendered = messages.render(messages.parse(types.Occurrence.pb(), occurrence))
    rendered["build"][body]["_type"] = rendered["build"][body].pop("type")
    return rendered | {"createTime": now, "updateTime": now}


def _steps(build: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the images of the steps, with the digests that were used."""
    used = build.get("results", {}).get("buildStepImages", [])
    found = []
    for place, step in enumerate(build.get("steps", ())):
        digest = used[place] if place < len(used) else ""
        known = {"digest": {"sha256": digest.removeprefix("sha256:")}} if digest else {}
        found.append({"uri": f"{step['name']}@{digest}" if digest else step["name"], **known})
    return list({one["uri"]: one for one in found}.values())


def _git(build: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the repository, the ref and the commit of a build that was triggered by a push; else empty strings."""
    pushed = build.get("sourceProvenance", {}).get("resolvedGitSource")
    if not pushed:
        return "", "", ""
    values = build.get("substitutions", {})
    tag, branch = values.get("TAG_NAME", ""), values.get("BRANCH_NAME", "")
    ref = f"refs/tags/{tag}" if tag else f"refs/heads/{branch}" if branch else ""
    return pushed["url"].removesuffix(".git"), ref, pushed["revision"]


def _source(build: Mapping[str, Any]) -> list[dict[str, Any]]:
    resolved = build.get("sourceProvenance", {}).get("resolvedStorageSource")
    if not resolved:
        return []
    return [{"uri": f"gs://{resolved['bucket']}/{resolved['object']}#{resolved['generation']}"}]


def _slsa_01(build: Mapping[str, Any], subject: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the statement of SLSA 0.1, https://slsa.dev/provenance/v0.1."""
    repository, _, commit = _git(build)
    source = [{"uri": repository, "digest": {"sha1": commit}}] if repository else _source(build)
    arguments = {key: build[key] for key in _ARGUMENTS if build.get(key)}
    known = messages.render(messages.parse(builds.Build.pb(), arguments))
    return {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.1",
        "subject": subject,
        "slsaProvenance": {
            "builder": {"id": f"{BUILDER}@v0.1"},
            "materials": [*source, *_steps(build)],
            "metadata": {
                "buildInvocationId": build["id"],
                "buildStartedOn": build["startTime"],
                "buildFinishedOn": build["finishTime"],
            },
            "recipe": {
                "type": "https://cloudbuild.googleapis.com/CloudBuildYaml@v0.1",
                "definedInMaterial": "-1",
                "arguments": {"@type": "type.googleapis.com/google.devtools.cloudbuild.v1.Build", **known},
            },
        },
    }


def _slsa_10(build: Mapping[str, Any], subject: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the statement of SLSA 1.0, https://slsa.dev/spec/v1.0/provenance.

    The fields and their order are those of statements that users of Google have published.
    """
    repository, ref, commit = _git(build)
    given = dict(build.get("substitutions", {}))
    external: dict[str, Any] = {"substitutions": {key: value for key, value in given.items() if key.startswith("_")}}
    internal: dict[str, Any] = {"systemSubstitutions": _system(build, given)}
    source = _source(build)
    if repository:
        source = [{"uri": f"git+{repository}{f'@{ref}' if ref else ''}", "digest": {"gitCommit": commit}}]
        path = given.get("TRIGGER_BUILD_CONFIG_PATH", "")
        external["buildConfigSource"] = {"path": path, "ref": ref, "repository": f"git+{repository}"}
    if build.get("buildTriggerId"):
        place = build["name"].rpartition("/builds/")[0]
        internal["triggerUri"] = f"{place}/triggers/{build['buildTriggerId']}"
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": subject,
        "predicate": {
            "buildDefinition": {
                "buildType": "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1",
                "externalParameters": external,
                "internalParameters": internal,
                "resolvedDependencies": [*source, *_steps(build)],
            },
            "runDetails": {
                "builder": {"id": BUILDER},
                "metadata": {
                    "invocationId": f"https://cloudbuild.googleapis.com/v1/{_by_id(build)}",
                    "startedOn": build["startTime"],
                    "finishedOn": build["finishTime"],
                },
                "byproducts": [{}],
            },
        },
    }


def _by_id(build: Mapping[str, Any]) -> str:
    """Return the build's name, with the project's id in place of its number."""
    return "/".join(["projects", build["projectId"], *build["name"].split("/")[2:]])


def _system(build: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    _, number, _, location, *_ = build["name"].split("/")
    account = str(build.get("serviceAccount", "")).rpartition("/")[2]
    found = {key: value for key, value in given.items() if not key.startswith("_")}
    found |= {"BUILD_ID": build["id"], "LOCATION": location, "PROJECT_NUMBER": number}
    return found | ({"SERVICE_ACCOUNT": account, "SERVICE_ACCOUNT_EMAIL": account} if account else {})
