"""Random sequences of calls at both halves keep the catalog whole: a model beside it says what must be there."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response

from sandbox.api.methods import Call
from sandbox.api.principal import Principal
from sandbox.artifact_registry import blobs, catalog, cleanup_job, integrity
from sandbox.artifact_registry.api import API
from sandbox.errors import ApiError, RegistryError
from sandbox.iam import policies
from sandbox.oci import blobs as blob_calls
from sandbox.oci import manifests, tags
from sandbox.oci.address import Address, RegistryCall, image_of
from sandbox.oci.token import Caller
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

WHOLE = os.environ.get("WORKBOOK_SOAK") == "1"
HOST = "us-central1-docker.pkg.dev"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CALLER = Caller(Principal("serviceAccount:soak@soak.iam.gserviceaccount.com"))
LAYERS = [bytes([number]) * (number + 1) * 10 for number in range(4)]
PACKAGES = st.sampled_from(["app", "team/nested"])
TAGS = st.sampled_from(["v1", "v2", "latest"])


@pytest.fixture(scope="module", autouse=True)
def world() -> Iterator[World]:
    """One world for all sequences; each has a repository of its own."""
    with tempfile.TemporaryDirectory() as folder:
        opened = World(Path(folder), Clock())
        with opened.writing() as rows:
            projects.create(rows, opened, "soak", "Soak", {})
            rows.execute("INSERT INTO services VALUES ('soak', 'artifactregistry.googleapis.com', 'x')")
            policies.grant(rows, opened, "projects/soak", "roles/owner", CALLER.principal.member)
        Sequences.world = opened
        yield opened
        opened.close()


class Sequences(RuleBasedStateMachine):
    """The calls, and what they must leave.

    Attributes:
        versions: (package, digest) to the digests of its blobs and of its children.
        tags: (package, tag) to digest.
    """

    world: World

    @initialize(immutable=st.booleans())
    def begin(self, immutable: bool) -> None:
        self.id = f"r-{secrets.token_hex(6)}"
        self.parent = "/v1/projects/soak/locations/us-central1/repositories"
        self.immutable = immutable
        self.versions: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
        self.tags: dict[tuple[str, str], str] = {}
        body = {"format": "DOCKER", "dockerConfig": {"immutableTags": immutable}}
        self.api("POST", "", body, repositoryId=self.id)
        self.name = f"projects/soak/locations/us-central1/repositories/{self.id}"

    def api(self, verb: str, path: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
        found = API.find(verb, f"{self.parent}{path}")
        assert found is not None, path
        method, params = found
        content = json.dumps(body).encode() if body is not None else b""
        answer = method.handle(
            Call(self.world, method, CALLER.principal, API.service, params, QueryParams(query), content, None)
        )
        assert not isinstance(answer, Response)
        return dict(answer)

    def ask(self, verb: str, package: str, reference: str, content: bytes = b"", kind: str = "") -> RegistryCall:
        address = Address(HOST, "/", "http://localhost", f"{HOST}/")
        image = image_of(HOST, f"soak/{self.id}/{package}")
        headers = Headers({"content-type": kind} if kind else {})
        return RegistryCall(self.world, address, "localhost", image, verb, headers, QueryParams(), reference, content)

    def path(self, package: str) -> str:
        return f"/{self.id}/packages/{package.replace('/', '%2F')}"

    def blob(self, content: bytes) -> dict[str, Any]:
        digest = blobs.digest_of(content)
        blobs.store(self.world, content, digest)
        with self.world.writing() as rows:
            blobs.record(rows, self.world, self.name, digest, len(content))
        return {"digest": digest, "size": len(content)}

    def put(self, package: str, tag: str | None, kind: str, body: dict[str, Any]) -> str | None:
        """Push; None where the tag may not move. A refused push leaves nothing."""
        content = json.dumps({"schemaVersion": 2, "mediaType": kind, **body}).encode()
        digest = blobs.digest_of(content)
        moved = tag is not None and self.tags.get((package, tag), digest) != digest
        if moved and self.immutable:
            with pytest.raises(RegistryError, match="immutability"):
                manifests.put(self.ask("PUT", package, str(tag), content, kind), CALLER)
            return None
        manifests.put(self.ask("PUT", package, tag or digest, content, kind), CALLER)
        if tag is not None:
            self.tags[package, tag] = digest
        return digest

    @rule(package=PACKAGES, layers=st.sets(st.sampled_from(range(4)), max_size=3), tag=st.none() | TAGS)
    def push_an_image(self, package: str, layers: set[int], tag: str | None) -> None:
        entries = [{"mediaType": "x/layer", **self.blob(LAYERS[number])} for number in sorted(layers)]
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", **self.blob(b"{}")}
        digest = self.put(package, tag, IMAGE, {"config": config, "layers": entries})
        if digest:
            self.versions[package, digest] = ({config["digest"], *(entry["digest"] for entry in entries)}, set())

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), tag=st.none() | TAGS)
    def push_an_index(self, data: st.DataObject, tag: str | None) -> None:
        package, _ = data.draw(st.sampled_from(sorted(self.versions)))
        there = sorted(digest for of, digest in self.versions if of == package)
        children = data.draw(st.lists(st.sampled_from(there), min_size=1, max_size=2, unique=True))
        entries = [{"mediaType": IMAGE, "digest": digest, "size": 1} for digest in children]
        digest = self.put(package, tag, INDEX, {"manifests": entries})
        if digest:
            self.versions[package, digest] = (set(), set(children))

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), tag=TAGS)
    def point_a_tag(self, data: st.DataObject, tag: str) -> None:
        package, digest = data.draw(st.sampled_from(sorted(self.versions)))
        packages = self.name + self.path(package).removeprefix(f"/{self.id}")
        body = {"version": f"{packages}/versions/{digest}"}
        current = self.tags.get((package, tag))
        if current is None:
            self.api("POST", f"{self.path(package)}/tags", body, tagId=tag)
        elif self.immutable and current != digest:
            with pytest.raises(ApiError, match="immutability"):
                self.api("PATCH", f"{self.path(package)}/tags/{tag}", body)
            return
        else:
            self.api("PATCH", f"{self.path(package)}/tags/{tag}", body)
        self.tags[package, tag] = digest

    @precondition(lambda self: self.tags)
    @rule(data=st.data(), registry=st.booleans())
    def delete_a_tag(self, data: st.DataObject, registry: bool) -> None:
        package, tag = data.draw(st.sampled_from(sorted(self.tags)))
        with contextlib.ExitStack() as stack:
            if self.immutable:
                stack.enter_context(pytest.raises((ApiError, RegistryError), match="immutability"))
            if registry:
                manifests.remove(self.ask("DELETE", package, tag), CALLER)
            else:
                self.api("DELETE", f"{self.path(package)}/tags/{tag}")
        if not self.immutable:
            del self.tags[package, tag]

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), how=st.sampled_from(["registry", "api", "force", "batch"]))
    def delete_a_version(self, data: st.DataObject, how: str) -> None:
        package, digest = data.draw(st.sampled_from(sorted(self.versions)))
        named = {key for key, target in self.tags.items() if key[0] == package and target == digest}
        held = any(digest in children for (of, _), (_, children) in self.versions.items() if of == package)
        stays = held or (named and (self.immutable or how != "force"))
        path = f"{self.path(package)}/versions"
        with contextlib.ExitStack() as stack:
            # Of an index's child the call is answered, and its operation fails; a tag refuses the call.
            tagged = named and (self.immutable or how != "force")
            if (how == "registry" and stays) or (how in ("api", "force") and tagged):
                stack.enter_context(pytest.raises((ApiError, RegistryError)))
            if how == "registry":
                manifests.remove(self.ask("DELETE", package, digest), CALLER)
            elif how == "batch":
                names = [f"{self.name}{path.removeprefix(f'/{self.id}')}/{digest}"]
                done = self.api("POST", f"{path}:batchDelete", {"names": names})
                assert done["metadata"].get("failedVersions", []) == (names if stays else [])
            else:
                done = self.api("DELETE", f"{path}/{digest}", force=str(how == "force").lower())
                assert ("error" in done) is bool(held)
        if not stays:
            del self.versions[package, digest]
            for key in named:
                del self.tags[key]

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def delete_a_package(self, data: st.DataObject) -> None:
        package, _ = data.draw(st.sampled_from(sorted(self.versions)))
        if self.immutable and any(of == package for of, _ in self.tags):
            with pytest.raises(ApiError, match="immutability"):
                self.api("DELETE", self.path(package))
            return
        self.api("DELETE", self.path(package))
        self.versions = {key: value for key, value in self.versions.items() if key[0] != package}
        self.tags = {key: value for key, value in self.tags.items() if key[0] != package}

    @rule(number=st.sampled_from(range(4)), package=PACKAGES)
    def delete_a_blob(self, number: int, package: str) -> None:
        digest = blobs.digest_of(LAYERS[number])
        needed = any(digest in of for of, _ in self.versions.values())
        with self.world.reading() as rows:
            there = blobs.find(rows, self.name, digest) is not None
        with contextlib.ExitStack() as stack:
            if needed or not there:
                stack.enter_context(pytest.raises(RegistryError))
            blob_calls.remove(self.ask("DELETE", package, digest), CALLER)

    @rule(kind=st.sampled_from(["TAGGED", "UNTAGGED", "ANY"]))
    def a_cleanup_policy_runs(self, kind: str) -> None:
        policy = {"id": "p", "action": "DELETE", "condition": {"tagState": kind}}
        self.api("PATCH", f"/{self.id}", {"cleanupPolicies": {"p": policy}}, updateMask="cleanupPolicies")
        cleanup_job.run(self.world)
        self.api("PATCH", f"/{self.id}", {}, updateMask="cleanupPolicies")
        # No parent holds what goes, nor an immutable tag; children whose parent goes now have to wait for the next run.
        tagged = {(package, digest) for (package, _), digest in self.tags.items()}
        held = {(package, child) for (package, _), (_, children) in self.versions.items() for child in children}
        wanted = {key for key in self.versions if kind == "ANY" or (kind == "TAGGED") is (key in tagged)}
        going = wanted - held - (tagged if self.immutable else set())
        self.versions = {key: value for key, value in self.versions.items() if key not in going}
        self.tags = {key: digest for key, digest in self.tags.items() if (key[0], digest) not in going}

    @rule()
    def unused_blobs_are_collected_two_days_later(self) -> None:
        self.world.clock.advance(dt.timedelta(days=2))
        blobs.collect(self.world, idle=0)
        with self.world.reading() as rows:
            found = rows.execute("SELECT digest FROM repository_blobs WHERE repository = ?", (self.name,))
            kept = {row["digest"] for row in found}
        assert kept == self.needed()
        assert all(integrity.path_of(self.world, digest).exists() for digest in kept)

    def teardown(self) -> None:
        """Delete the repository: a cleanup that runs over all would else take longer with every sequence."""
        if not hasattr(self, "name"):
            return
        self.api("DELETE", f"/{self.id}")
        with self.world.reading() as rows:
            for table in ("versions", "tags", "repository_blobs"):
                assert not rows.execute(f"SELECT 1 FROM {table} WHERE repository = ?", (self.name,)).fetchall()  # noqa: S608

    def needed(self) -> set[str]:
        """Digests of all that the versions are and consist of."""
        return set().union(*(of for of, _ in self.versions.values())) | {digest for _, digest in self.versions}

    def listed(self, path: str, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            answer = self.api("GET", path, pageSize="2", **({"pageToken": token} if token else {}))
            found += answer.get(key, [])
            token = answer.get("nextPageToken", "")
            if not token:
                return found

    @invariant()
    def both_halves_hold_what_the_model_holds(self) -> None:
        if not hasattr(self, "name"):
            return
        images = {
            tuple(one["name"].rpartition("/")[2].split("@"))
            for one in self.listed(f"/{self.id}/dockerImages", "dockerImages")
        }
        assert images == {(package.replace("/", "%2F"), digest) for package, digest in self.versions}
        packages = {package for package, _ in self.versions}
        assert len(self.listed(f"/{self.id}/packages", "packages")) == len(packages)
        for package in packages:
            mine = {tag: digest for (of, tag), digest in self.tags.items() if of == package}
            told = {
                one["name"].rpartition("/")[2]: one["version"].rpartition("/")[2]
                for one in self.listed(f"{self.path(package)}/tags", "tags")
            }
            assert told == mine
            answer = tags.list_tags(self.ask("GET", package, ""), CALLER)
            assert json.loads(bytes(answer.body))["tags"] == sorted(mine)
        needed = self.needed()
        assert {one["name"].rpartition("/")[2] for one in self.listed(f"/{self.id}/files", "files")} == needed
        with self.world.reading() as rows:
            sizes = [blobs.find(rows, self.name, digest) for digest in needed]
            assert all(sizes)
            assert catalog.stored_bytes(rows, self.name) == sum(one.size for one in sizes if one)


Sequences.TestCase.settings = settings(
    max_examples=10_000 if WHOLE else 40,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestSequences = Sequences.TestCase
