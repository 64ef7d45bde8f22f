"""The API and registry work of notebooks 01 to 05 and 08, as one learner's clients do it.

Cells that build, deploy or move the clock are left out: images are pushed ready-made, and one sandbox has one clock.
Each call names the status that it must get, including the many refusals that the notebooks provoke.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

HOST = "us-central1-docker.pkg.dev"
# The names that tests/sandbox/test_every_route.py looks for in another project.
REPOSITORY, IMAGE = "private", "app"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
POLICIES = json.loads((Path(__file__).parents[2] / "cleanup-policy.json").read_text(encoding="utf-8"))
# All learners' images have the same base. Each learner uploads its layer, and the sandbox stores it once.
BASE = random.Random(0).randbytes(400_000)  # noqa: S311 - contents, no secrets


class Wrong(Exception):
    """A response differs from the one in the notebook."""


@dataclass
class Learner:
    """One learner's connection to the sandbox, and the seconds of each call.

    Attributes:
        calls: the kind (`api` or `registry`) and the seconds of each call.
        tags: the digest that each tag of the image should point at.
    """

    number: int
    project: str
    port: int
    token: str
    calls: list[tuple[str, float]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.number)  # noqa: S311 - contents, no secrets
        self.line = HTTPConnection("localhost", self.port, timeout=120)
        self.repositories = f"projects/{self.project}/locations/us-central1/repositories"
        self.held = f"{self.repositories}/{REPOSITORY}"
        self.image = f"{self.held}/packages/{IMAGE}"

    # --- calls ---

    def call(
        self, verb: str, path: str, body: bytes = b"", kind: str = "", *, status: int, authorization: str | None = None
    ) -> tuple[HTTPResponse, bytes]:
        """Make a call that must get this status, following the redirect of a download as clients do."""
        headers = {"Content-Type": kind} if kind else {}
        if authorization is None:
            authorization = f"Bearer {self.token}"
        if authorization:
            headers["Authorization"] = authorization
        began = time.perf_counter()
        self.line.request(verb, path, body, headers)
        answer = self.line.getresponse()
        content = answer.read()
        if answer.status == 302:
            self.line.request(verb, answer.headers["Location"])
            answer = self.line.getresponse()
            content = answer.read()
        self.calls.append(("registry" if path.startswith("/v2/") else "api", time.perf_counter() - began))
        if answer.status != status:
            raise Wrong(f"{self.project}: {verb} {path}: {answer.status} instead of {status}: {content[:300]!r}")
        return answer, content

    def api(self, verb: str, path: str, body: Any = None, *, status: int = 200, service: str = "") -> Any:
        """Call one of Google's APIs, Artifact Registry unless another is named, and return the JSON."""
        sent = b"" if body is None else json.dumps(body).encode()
        kind = "application/json" if sent else ""
        host = f"{service or 'artifactregistry'}.googleapis.com"
        _, content = self.call(verb, f"/{host}/v1/{path}", sent, kind, status=status)
        return json.loads(content)

    def done(self, operation: dict[str, Any], error: str = "") -> None:
        """Poll an operation until it is done, as gcloud and the Python clients do, and check its error."""
        while not operation.get("done"):
            operation = self.api("GET", operation["name"])
        message = operation.get("error", {}).get("message", "")
        if error not in message or bool(error) != bool(message):
            raise Wrong(f"{self.project}: {operation} instead of {error!r}")

    # --- requests of docker ---

    def path(self, repository: str, image: str, rest: str) -> str:
        """Return a path below an image in the registry."""
        return f"/v2/{HOST}/{self.project}/{repository}/{image}/{rest}"

    def blob(self, repository: str, image: str, content: bytes) -> dict[str, Any]:
        """Push a blob in a POST, a PATCH and a PUT, and return its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        began, _ = self.call("POST", self.path(repository, image, "blobs/uploads/"), status=202)
        place = began.headers["Location"]
        sent, _ = self.call("PATCH", place, content, "application/octet-stream", status=202)
        place = sent.headers["Location"]
        self.call("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", status=201)
        return {"mediaType": LAYER, "digest": digest, "size": len(content)}

    def push(self, tag: str, *, repository: str = REPOSITORY, image: str = IMAGE, size: int = 20_000) -> str:
        """Push an image of two layers under a tag, remember where the tag points, and return the digest."""
        layers = [self.blob(repository, image, content) for content in (BASE[: size * 20], self.chance.randbytes(size))]
        text = json.dumps({"architecture": "amd64", "os": "linux", "created": tag, "who": self.number}).encode()
        config = {**self.blob(repository, image, text), "mediaType": CONFIG}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}).encode()
        return self.put(tag, manifest, repository=repository, image=image)

    def put(
        self, tag: str, manifest: bytes, kind: str = MANIFEST, *, repository: str = REPOSITORY, image: str = IMAGE
    ) -> str:
        """Put a manifest under a tag, and return its digest."""
        self.call("PUT", self.path(repository, image, f"manifests/{tag}"), manifest, kind, status=201)
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        if (repository, image) == (REPOSITORY, IMAGE):
            self.tags[tag] = digest
        return digest

    def get(self, reference: str) -> bytes:
        """Return the manifest that a tag or a digest refers to."""
        return self.call("GET", self.path(REPOSITORY, IMAGE, f"manifests/{reference}"), status=200)[1]

    def pull(self, reference: str) -> None:
        """Pull an image's manifest and blobs, and check each blob's digest."""
        manifest = json.loads(self.get(reference))
        for blob in (manifest["config"], *manifest["layers"]):
            _, content = self.call("GET", self.path(REPOSITORY, IMAGE, f"blobs/{blob['digest']}"), status=200)
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != blob["digest"]:
                raise Wrong(f"{self.project}: other bytes than those of {blob['digest']}")

    def point(self, tag: str, digest: str) -> None:
        """Point a tag at a version, as `gcloud artifacts docker tags add` does."""
        wanted = {"name": f"{self.image}/tags/{tag}", "version": f"{self.image}/versions/{digest}"}
        if tag in self.tags:
            self.api("PATCH", f"{wanted['name']}?updateMask=version", wanted)
        else:
            self.api("POST", f"{self.image}/tags?tagId={tag}", wanted)
        self.tags[tag] = digest

    def create(self, name: str, **more: Any) -> None:
        """Create a repository and wait for it."""
        body = {"format": "DOCKER", "labels": {"workbook-run": f"run-{self.number}"}, **more}
        self.done(self.api("POST", f"{self.repositories}?repositoryId={name}", body))

    def delete(self, name: str) -> None:
        """Delete a repository or a version and wait until it is gone."""
        self.done(self.api("DELETE", name))

    # --- the notebooks ---

    def work_through(self) -> None:
        """Do the work of the six notebooks once, in a project that has no repository."""
        self.tags.clear()
        self.set_up_the_project()
        self.create_a_repository()
        self.sign_in()
        self.build_and_push()
        self.tag_images()
        self.clean_up()

    def set_up_the_project(self) -> None:
        """Do notebook 01."""
        project, usage = f"projects/{self.project}", "serviceusage"
        self.api("GET", project, service="cloudresourcemanager")
        again = {"projectId": self.project}
        self.api("POST", "projects", again, service="cloudresourcemanager", status=409)
        self.api("GET", f"{project}/billingInfo", service="cloudbilling")
        wanted = ["artifactregistry.googleapis.com", "cloudresourcemanager.googleapis.com"]
        self.api("POST", f"{project}/services:batchEnable", {"serviceIds": wanted}, service=usage)
        self.api("GET", f"{project}/services?filter=state:ENABLED", service=usage)
        self.api("GET", f"{project}/locations?pageSize=100")
        self.api("POST", f"{project}/services/artifact-registry.googleapis.com:enable", {}, service=usage, status=403)
        self.api("POST", f"{project}/services/iam.googleapis.com:enable", {}, service=usage)
        stray = f"{project}/services/binaryauthorization.googleapis.com"
        self.api("POST", f"{stray}:enable", {}, service=usage)
        self.api("POST", f"{stray}:disable", {}, service=usage)

    def create_a_repository(self) -> None:
        """Do notebook 02."""
        self.create(REPOSITORY, description="Docker images for ML model servers")
        found = self.api("GET", self.held)
        self.api("GET", f"{self.repositories}?pageSize=100")
        self.create(f"{REPOSITORY}-release", dockerConfig={"immutableTags": True})
        self.api("POST", f"{self.repositories}?repositoryId=ML_Images", {"format": "DOCKER"}, status=400)
        self.api("POST", f"{self.repositories}?repositoryId={REPOSITORY}", {"format": "DOCKER"}, status=409)
        labels = found["labels"] | {"team": "ml"}
        self.api("PATCH", f"{self.held}?updateMask=labels", {"labels": labels})
        self.create(f"{REPOSITORY}-team", dockerConfig={"immutableTags": True})
        for name in (f"{REPOSITORY}-release", f"{REPOSITORY}-team"):
            self.delete(f"{self.repositories}/{name}")

    def sign_in(self) -> None:
        """Do notebook 03: the ways to sign in, and five refusals."""
        self.call("GET", "/v2/", status=401, authorization="")
        basic = base64.b64encode(f"oauth2accesstoken:{self.token}".encode()).decode()
        scope = f"repository:{HOST}/{self.project}/{REPOSITORY}/{IMAGE}:pull,push"
        self.call("GET", f"/v2/token?service={HOST}&scope={scope}", status=200, authorization=f"Basic {basic}")
        upload = self.path(REPOSITORY, "probe", "blobs/uploads/")
        self.call("POST", upload, status=401, authorization="")
        self.call("POST", upload, status=401, authorization="Bearer an-old-token")
        self.call("POST", self.path("no-such-repository", "probe", "blobs/uploads/"), status=404)
        self.call("POST", f"/v2/{HOST}/not-{self.project}/{REPOSITORY}/probe/blobs/uploads/", status=403)
        self.api("GET", f"{self.held}/dockerImages?pageSize=100")

    def build_and_push(self) -> None:
        """Do notebook 04 with ready-made images."""
        first = self.push("1.0.0")
        self.push("1.0.1")
        for tag in ("1.0.0", "1.0.1"):
            self.call("HEAD", self.path(REPOSITORY, IMAGE, f"manifests/{tag}"), status=200)
        self.api("GET", f"{self.held}/dockerImages?pageSize=100")
        self.api("GET", f"{self.held}/dockerImages/{IMAGE}@{first}")
        self.pull(first)
        self.put("latest", self.get("1.0.1"))

    def tag_images(self) -> None:
        """Do notebook 05: promotion, rollback, an index, immutable tags."""
        self.put("sha-4f2a9c1", self.get("1.0.1"))
        second = self.push("sha-9d3e0b7")
        for tag in ("staging", "1.1.0"):
            self.point(tag, second)
        self.point("production", self.tags["1.0.1"])
        self.point("production", self.tags["staging"])
        self.point("production", self.tags["sha-4f2a9c1"])
        self.api("GET", f"{self.image}/tags?pageSize=100")
        children = [
            {"mediaType": MANIFEST, "digest": self.push(f"1.0.0-{cpu}", image="ml-labels", size=500), "size": 700}
            for cpu in ("amd64", "arm64")
        ]
        for child in children:
            _, content = self.call(
                "GET", self.path(REPOSITORY, "ml-labels", f"manifests/{child['digest']}"), status=200
            )
            child["size"] = len(content)
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode()
        self.put("1.0.0", index, INDEX, image="ml-labels")
        labels = f"{self.held}/packages/ml-labels"
        self.api("DELETE", f"{labels}/tags/1.0.0-arm64")
        self.done(self.api("DELETE", f"{labels}/versions/{children[1]['digest']}"), "parent")
        release = f"{REPOSITORY}-release"
        self.create(release, dockerConfig={"immutableTags": True})
        self.push("1.0.0", repository=release, size=500)
        self.api("DELETE", f"{self.repositories}/{release}/packages/{IMAGE}/tags/1.0.0", status=400)
        self.delete(f"{self.repositories}/{release}")
        self.point("sha-1c0ffee", self.tags["1.0.0"])
        self.point("production", self.tags["1.1.0"])

    def clean_up(self) -> None:
        """Do notebook 08 without moving the clock."""
        for number in (*(f"a00000{one}" for one in range(1, 7)), *(f"b00000{one}" for one in range(1, 4))):
            self.push(f"sha-{number}")
        for page in ("dockerImages", "packages", f"packages/{IMAGE}/versions", f"packages/{IMAGE}/tags"):
            self.api("GET", f"{self.held}/{page}?pageSize=1000")
        doomed = f"{self.image}/versions/{self.tags['sha-a000001']}"
        self.api("DELETE", doomed, status=400)
        self.delete(f"{doomed}?force=true")
        del self.tags["sha-a000001"]
        wrong = {"cleanupPolicies": {"both": {"id": "both", "action": "KEEP", "mostRecentVersion": {}}}}
        self.api("PATCH", f"{self.held}?updateMask=cleanupPolicies", wrong, status=400)
        for dry in (True, False):
            wanted = {"cleanupPolicies": cleanup_policies(), "cleanupPolicyDryRun": dry}
            self.api("PATCH", f"{self.held}?updateMask=cleanupPolicies,cleanupPolicyDryRun", wanted)
        self.create(f"{REPOSITORY}-untagged")
        self.delete(f"{self.repositories}/{REPOSITORY}-untagged")
        self.point("1.1.1", self.tags["sha-b000001"])

    # --- the result ---

    def state(self) -> dict[str, Any]:
        """Return what is in the project, as its APIs list it."""
        held = self.api("GET", self.held)
        versions = self.api("GET", f"{self.image}/versions?pageSize=1000")["versions"]
        tags = self.api("GET", f"{self.image}/tags?pageSize=1000")["tags"]
        enabled = self.api("GET", f"projects/{self.project}/services?filter=state:ENABLED", service="serviceusage")
        return {
            "repositories": [
                one["name"].rpartition("/")[2] for one in self.api("GET", self.repositories)["repositories"]
            ],
            "labels": held["labels"],
            "policies": sorted(held["cleanupPolicies"]),
            "dry run": held.get("cleanupPolicyDryRun", False),
            "versions": sorted(one["name"].rpartition("/")[2] for one in versions),
            "tags": {one["name"].rpartition("/")[2]: one["version"].rpartition("/")[2] for one in tags},
            "services": sorted(one["name"].rpartition("/")[2] for one in enabled["services"]),
        }

    def check(self) -> dict[str, Any]:
        """Return the state, or raise `Wrong` if the notebooks would leave another one."""
        state = self.state()
        wanted = {
            "repositories": [REPOSITORY],
            "labels": {"workbook-run": f"run-{self.number}", "team": "ml"},
            "policies": sorted(one["name"] for one in POLICIES),
            "dry run": False,
            "versions": sorted(set(self.tags.values())),
            "tags": self.tags,
        }
        for name, value in wanted.items():
            if state[name] != value:
                raise Wrong(f"{self.project}: {name}: {state[name]} instead of {value}")
        services = {f"{name}.googleapis.com" for name in ("artifactregistry", "iam", "cloudresourcemanager")}
        if missing := services - set(state["services"]):
            raise Wrong(f"{self.project}: {missing} are off")
        if "binaryauthorization.googleapis.com" in state["services"]:
            raise Wrong(f"{self.project}: the stray API is on")
        return state


def cleanup_policies() -> dict[str, Any]:
    """Return cleanup-policy.json as gcloud sends it: a mapping with the API's names."""
    found = {}
    for one in POLICIES:
        policy = {"id": one["name"], "action": one["action"]["type"].upper()}
        if condition := one.get("condition"):
            policy["condition"] = {**condition, "tagState": condition["tagState"].upper()}
            if condition.get("olderThan"):
                policy["condition"]["olderThan"] = f"{int(condition['olderThan'].removesuffix('d')) * 86400}s"
        if "mostRecentVersions" in one:
            policy["mostRecentVersions"] = one["mostRecentVersions"]
        found[one["name"]] = policy
    return found
