"""Every Artifact Registry method and every operation of the registry × every predefined role, over a real socket.

Who holds a role is a service account, and an identity of a pool, which the policy names in each of the forms in turn.

What is expected stands here as data, written from facts/artifact-registry.md: appendix B says what the roles hold,
appendix C and section 3.2 what the operations need. It shares nothing with sandbox/iam/roles.py.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.world import starter as starter
from sandbox import seed
from sandbox.artifact_registry.api import API
from sandbox.iam import federation, policies, pools, tokens
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

HOST = "us-central1-docker.pkg.dev"
SERVICE = "artifactregistry.googleapis.com"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def held(text: str) -> frozenset[str]:
    """`things.get,list` → things.get and things.list."""
    pairs = (word.split(".") for word in text.split())
    return frozenset(f"{thing}.{verb}" for thing, verbs in pairs for verb in verbs.split(","))


# Appendix B, the permissions under artifactregistry.*
_AGENTS = held(
    "attachments.get,list dockerimages.get,list files.download,get,list locations.get,list mavenartifacts.get,list "
    "npmpackages.get,list packages.get,list projectconfigs.get projectsettings.get pythonpackages.get,list "
    "repositories.downloadArtifacts,exportArtifacts,get,list,listEffectiveTags,listTagBindings "
    "repositories.readViaVirtualRepository rules.get,list tags.get,list versions.get,list"
)
_READER = _AGENTS
_WRITER = _READER | held(
    "aptartifacts.create attachments.create,delete files.update,upload kfpartifacts.create packages.update "
    "repositories.uploadArtifacts tags.create,update yumartifacts.create"
)
_REPO_ADMIN = _WRITER | held(
    "files.delete packages.delete repositories.deleteArtifacts rules.create,delete,update tags.delete "
    "versions.delete,update"
)
_ADMIN = _REPO_ADMIN | held(
    "projectconfigs.update projectsettings.update "
    "repositories.create,createTagBinding,delete,deleteTagBinding,getIamPolicy,setIamPolicy,update"
)
_VIEWER = _READER | held("repositories.getIamPolicy")
_NOTHING: frozenset[str] = frozenset()

ROLES: dict[str, frozenset[str]] = {
    "artifactregistry.reader": _READER,
    "artifactregistry.writer": _WRITER,
    "artifactregistry.repoAdmin": _REPO_ADMIN,
    "artifactregistry.admin": _ADMIN,
    "artifactregistry.createOnPushWriter": _WRITER | held("repositories.createOnPush"),
    "artifactregistry.createOnPushRepoAdmin": _REPO_ADMIN | held("repositories.createOnPush"),
    "artifactregistry.viewer": _VIEWER,
    "artifactregistry.serviceAgent": held(
        "repositories.downloadArtifacts,get,readViaVirtualRepository versions.delete"
    ),
    "artifactregistry.attachmentReader": held("attachments.get,list files.download"),
    "artifactregistry.attachmentWriter": held("attachments.create,delete,get,list files.download,upload"),
    "cloudbuild.builds.builder": _WRITER | held("repositories.createOnPush,deleteArtifacts"),
    "run.serviceAgent": _AGENTS | held("repositories.uploadArtifacts"),
    "containeranalysis.ServiceAgent": _AGENTS,
    # Not in appendix B: Google describes them as all, all but who may do what, and what reads.
    "owner": _ADMIN,
    "editor": _ADMIN - held("repositories.createTagBinding,deleteTagBinding,setIamPolicy"),
    "viewer": _VIEWER,
    # Roles of other services, which hold nothing of this one.
    **dict.fromkeys(
        [
            "billing.admin",
            "billing.user",
            "cloudbuild.builds.approver",
            "cloudbuild.builds.editor",
            "cloudbuild.connectionAdmin",
            "cloudbuild.connectionViewer",
            "containeranalysis.occurrences.viewer",
            "iam.roleAdmin",
            "iam.serviceAccountAdmin",
            "iam.serviceAccountCreator",
            "iam.serviceAccountKeyAdmin",
            "iam.serviceAccountTokenCreator",
            "iam.serviceAccountUser",
            "iam.workloadIdentityPoolAdmin",
            "iam.workloadIdentityUser",
            "logging.logWriter",
            "logging.privateLogViewer",
            "logging.viewer",
            "ondemandscanning.admin",
            "ondemandscanning.viewer",
            "resourcemanager.projectIamAdmin",
            "run.admin",
            "run.developer",
            "run.invoker",
            "secretmanager.admin",
            "secretmanager.secretAccessor",
            "serviceusage.serviceUsageAdmin",
            "serviceusage.serviceUsageConsumer",
            "storage.objectViewer",
        ],
        _NOTHING,
    ),
}

# Who may pull holds resourcemanager.projects.get with it, but for these: appendix B does not give it to the first, and
# of the other two it has the rights in Artifact Registry alone.
BLIND = {"artifactregistry.serviceAgent", "run.serviceAgent", "containeranalysis.ServiceAgent"}
# Holds it, and nothing of Artifact Registry.
SEES_PROJECT = "run.developer"

# Appendix C; the key is what follows `artifactregistry.projects.locations.`. On the project, not on a repository:
ON_PROJECT: dict[str, str] = {
    "list": "locations.list",
    "get": "locations.get",
    "repositories.create": "repositories.create",
    "repositories.list": "repositories.list",
    "artifactregistry.projects.getProjectSettings": "projectsettings.get",
}
ON_REPOSITORY: dict[str, str] = {
    "repositories.get": "repositories.get",
    "repositories.patch": "repositories.get,update",
    "repositories.delete": "repositories.delete",
    "repositories.getIamPolicy": "repositories.getIamPolicy",
    "repositories.setIamPolicy": "repositories.setIamPolicy",
    "repositories.dockerImages.get": "dockerimages.get",
    "repositories.dockerImages.list": "dockerimages.list",
    "repositories.files.get": "files.get",
    "repositories.files.list": "files.list",
    "repositories.genericArtifacts.upload": "repositories.uploadArtifacts",
    "repositories.mavenArtifacts.get": "mavenartifacts.get",
    "repositories.mavenArtifacts.list": "mavenartifacts.list",
    "repositories.npmPackages.get": "npmpackages.get",
    "repositories.npmPackages.list": "npmpackages.list",
    "repositories.packages.delete": "packages.delete",
    "repositories.packages.get": "packages.get",
    "repositories.packages.list": "packages.list",
    "repositories.packages.tags.create": "tags.create",
    "repositories.packages.tags.delete": "tags.delete",
    "repositories.packages.tags.get": "tags.get",
    "repositories.packages.tags.list": "tags.list",
    "repositories.packages.tags.patch": "tags.get,update",
    "repositories.packages.versions.batchDelete": "versions.delete",
    "repositories.packages.versions.delete": "versions.delete",
    "repositories.packages.versions.get": "versions.get",
    "repositories.packages.versions.list": "versions.list",
    "repositories.pythonPackages.get": "pythonpackages.get",
    "repositories.pythonPackages.list": "pythonpackages.list",
}
# Google's tables have no permission for these, or none that fits.
INFERRED_ON_PROJECT: dict[str, str] = {"artifactregistry.projects.updateProjectSettings": "projectsettings.update"}
INFERRED: dict[str, str] = {
    # Appendix C says files.get; but the attachment roles of appendix B download without it.
    "repositories.files.download": "files.download",
    "repositories.packages.patch": "packages.update",
    "repositories.packages.versions.patch": "versions.update",
}
# Whoever sees the repository sees its operations; to cancel one that is done changes nothing.
OPERATIONS: dict[str, str] = {"operations.get": "repositories.get", "operations.cancel": "repositories.get"}
NEEDED = {**ON_PROJECT, **INFERRED_ON_PROJECT, **ON_REPOSITORY, **INFERRED, **OPERATIONS}
# "test" needs none by definition: it says which of the asked permissions the caller has.
WITHOUT = {"repositories.testIamPermissions"}


@dataclass(frozen=True)
class Registry:
    """A running sandbox with two principals for each role, holding it on the project or on the repository.

    The tokens, and how policies name their holders, are by who holds the role (one of HOLDERS), the level and the role.
    """

    base: str
    project: str
    tokens: dict[tuple[str, str, str], str]
    members: dict[tuple[str, str, str], str]
    owner: str

    def call(self, token: str, verb: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return SESSION.request(verb, f"{self.base}{path}", headers=headers, timeout=30, **options)

    def image(self, rest: str) -> str:
        return f"/v2/{HOST}/{self.project}/ml-images/app/{rest}"

    def push(self, reference: str, content: bytes, token: str = "") -> requests.Response:
        return self.call(
            token or self.owner,
            "PUT",
            self.image(f"manifests/{reference}"),
            data=content,
            headers={"Content-Type": MANIFEST},
        )


SESSION = requests.Session()
SESSION.trust_env = False
HOLDERS = ("account", "identity")


def identity(number: int, pool: str) -> tuple[str, federation.Identity]:
    """How a policy names an identity of a pool, in one of the five forms, and the identity."""
    prefix = f"principalSet://iam.googleapis.com/{pool}"
    sets = (f"{prefix}/*", f"{prefix}/attribute.repository/ana/models", f"{prefix}/group/ml", f"{prefix}/group/more")
    one = federation.Identity(f"principal://iam.googleapis.com/{pool}/subject/repo:ana/models", sets)
    return (one.principal, *sets)[number % 5], one


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    home = tmp_path_factory.mktemp("rights")
    project = f"ml-workbook-{secrets.token_hex(3)}"
    state = World(home / "state", Clock())
    about = seed.prepare(state, home, project, "us-central1")
    parent = f"projects/{project}/locations/us-central1/repositories"
    # The policy of ml-images comes when it is there: a new repository starts without one.
    places = {"project": [f"projects/{project}"], "repository": [f"{parent}/nowhere"]}
    members, callers = {}, {}
    with state.writing() as rows:
        for number, (level, role) in enumerate(itertools.product(places, ROLES)):
            email = projects.add_service_account(rows, state, project, f"holder-{number}", role)
            members["account", level, role] = callers["account", level, role] = f"serviceAccount:{email}"
            pool = f"projects/{about['project_number']}/locations/global/workloadIdentityPools/pool-{number}"
            pools.save(rows, {"name": pool, "state": "ACTIVE"})
            named, one = identity(number, pool)
            members["identity", level, role], callers["identity", level, role] = named, one.member
            for who, resource in itertools.product(HOLDERS, places[level]):
                policies.grant(rows, state, resource, f"roles/{role}", members[who, level, role])
    minted = {key: tokens.mint(state, member) for key, member in callers.items()}
    owner = tokens.mint(state, f"serviceAccount:{about['learner']}")
    state.close()
    opened = starter.start(home, project=project, port=0)
    found = Registry(opened.url, project, minted, members, owner)
    try:
        enable = f"/serviceusage.googleapis.com/v1/projects/{project}/services/{SERVICE}:enable"
        assert found.call(owner, "POST", enable).status_code == 200
        made = found.call(owner, "POST", f"/{SERVICE}/v1/{parent}?repositoryId=ml-images", json={"format": "DOCKER"})
        assert made.status_code == 200
        bindings = [
            {"role": f"roles/{role}", "members": [member]}
            for (_, level, role), member in members.items()
            if level == "repository"
        ]
        url = f"/{SERVICE}/v1/{parent}/ml-images:setIamPolicy"
        assert found.call(owner, "POST", url, json={"policy": {"bindings": bindings}}).status_code == 200
        yield found
    finally:
        starter.stop(home)


def judge(name: str, needed: frozenset[str], role: str, level: str, answer: requests.Response) -> str:
    """What is wrong with one cell; nothing when it is as the appendices say."""
    on_project = name in {**ON_PROJECT, **INFERRED_ON_PROJECT}
    missing = needed - (ROLES[role] if level == "project" or not on_project else _NOTHING)
    refused = answer.status_code in (401, 403)
    if refused is not bool(missing):
        return f"{name} × {role} on the {level}: {answer.status_code}, missing {sorted(missing)}: {answer.text[:200]}"
    if missing and not any(f"artifactregistry.{one}" in answer.text for one in missing):
        return f"{name} × {role}: the refusal names none of {sorted(missing)}: {answer.text[:200]}"
    return ""


def test_no_role_is_left_out(registry: Registry) -> None:
    listed = registry.call(registry.owner, "GET", "/iam.googleapis.com/v1/roles?pageSize=1000").json()["roles"]
    assert {role["name"] for role in listed} == {f"roles/{name}" for name in ROLES}


def test_no_method_is_left_out() -> None:
    known = NEEDED.keys() | WITHOUT
    assert {method.id.removeprefix("artifactregistry.projects.locations.") for method in API.methods} == known


@pytest.mark.parametrize("who", HOLDERS)
@pytest.mark.parametrize("level", ["project", "repository"])
@pytest.mark.parametrize("method", API.methods, ids=lambda method: f"{method.id}-{method.path.split('/')[1]}")
def test_a_method_asks_for_what_appendix_c_says(registry: Registry, method: Any, level: str, who: str) -> None:
    name = method.id.removeprefix("artifactregistry.projects.locations.")
    needed = held(NEEDED.get(name, ""))
    # A repository that is not there: who may goes on to a 404 or 400, and nothing changes.
    path = method.path.format(
        project=registry.project,
        location="us-central1",
        repository="nowhere",
        package="app",
        version="sha256:0",
        tag="v1",
        image="app@sha256:0",
        file="sha256:0",
        npm_package="app:1.0.0",
        python_package="app:1.0.0",
        maven_artifact="org.example:app:1.0.0",
        operation="none",
    )
    body: dict[str, Any] | None = None if method.verb in ("GET", "DELETE") else {}
    wrong = []
    for role in ROLES:
        answer = registry.call(registry.tokens[who, level, role], method.verb, f"/{SERVICE}{path}", json=body)
        assert answer.status_code in (200, 400, 403, 404), answer.text
        # An operation's project is looked at too, and repositories that are not there have no operations.
        if name in OPERATIONS and level == "repository":
            continue
        wrong.append(judge(name, needed, role, level, answer))
    assert not list(filter(None, wrong))


@pytest.mark.parametrize("who", HOLDERS)
def test_an_operation_is_seen_by_who_sees_a_repository(registry: Registry, who: str) -> None:
    path = f"/{SERVICE}/v1/projects/{registry.project}/locations/us-central1/operations/none"
    for verb, rest in (("GET", ""), ("POST", ":cancel")):
        answers = {
            role: registry.call(registry.tokens[who, "repository", role], verb, path + rest).status_code
            for role in ROLES
        }
        assert answers == {role: 404 if "repositories.get" in ROLES[role] else 403 for role in ROLES}


# --- the registry -----------------------------------------------------------------------------------------------------

CONFIG = b"{}"
CONFIG_DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"


def manifest(salt: str) -> tuple[bytes, str]:
    """A manifest that no other salt gives, and its digest."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": CONFIG_DIGEST, "size": len(CONFIG)}
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "annotations": {"salt": salt}}
    content = json.dumps(body).encode()
    return content, f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(scope="module")
def filled(registry: Registry) -> Registry:
    """The registry with an image under the tag v1."""
    path = registry.image(f"blobs/uploads/?digest={CONFIG_DIGEST}")
    assert registry.call(registry.owner, "POST", path, data=CONFIG).status_code == 201
    assert registry.push("v1", manifest("v1")[0]).status_code == 201
    return registry


Operation = Callable[[Registry, str, str], requests.Response]


def simply(verb: str, rest: str) -> Operation:
    """A request that depends on nothing else."""
    return lambda found, token, _: found.call(token, verb, found.image(rest))


def scoped(actions: str) -> Operation:
    """The token endpoint, asked for a scope."""

    def ask(found: Registry, token: str, _: str) -> requests.Response:
        scope = f"repository:{HOST}/{found.project}/ml-images/app:{actions}"
        return found.call(token, "GET", "/v2/token", params={"service": "localhost", "scope": scope})

    return ask


def prepared(then: Callable[[Registry, str, str], requests.Response]) -> Operation:
    """An operation on a tag `salt` and a version of its own, which the owner pushes first."""

    def act(found: Registry, token: str, salt: str) -> requests.Response:
        assert found.push(f"tag-{salt}", manifest(salt)[0]).status_code == 201
        return then(found, token, salt)

    return act


def untagged(found: Registry, token: str, salt: str) -> requests.Response:
    content, digest = manifest(f"bare-{salt}")
    assert found.push(digest, content).status_code == 201
    return found.call(token, "DELETE", found.image(f"manifests/{digest}"))


def loose_blob(found: Registry, token: str, salt: str) -> requests.Response:
    content = f"loose {salt}".encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    path = found.image(f"blobs/uploads/?digest={digest}")
    assert found.call(found.owner, "POST", path, data=content).status_code == 201
    return found.call(token, "DELETE", found.image(f"blobs/{digest}"))


DOWNLOAD, UPLOAD = "repositories.downloadArtifacts", "repositories.uploadArtifacts"
# Section 3.2: operation → what it needs, and the request.
V2: dict[str, tuple[str, Operation]] = {
    "pull a manifest": (DOWNLOAD, simply("GET", "manifests/v1")),
    "look at a manifest": (DOWNLOAD, simply("HEAD", "manifests/v1")),
    "pull a blob": (DOWNLOAD, simply("GET", f"blobs/{CONFIG_DIGEST}")),
    "look at a blob": (DOWNLOAD, simply("HEAD", f"blobs/{CONFIG_DIGEST}")),
    "list tags": (DOWNLOAD, simply("GET", "tags/list")),
    "list referrers": (DOWNLOAD, simply("GET", f"referrers/{CONFIG_DIGEST}")),
    "begin an upload": (UPLOAD, simply("POST", "blobs/uploads/")),
    "push a new tag": (
        f"{UPLOAD} tags.create",
        lambda found, token, salt: found.push(f"new-{salt}", manifest("v1")[0], token),
    ),
    "push without a tag": (
        UPLOAD,
        lambda found, token, salt: found.push(manifest(f"by-{salt}")[1], manifest(f"by-{salt}")[0], token),
    ),
    "move a tag": (
        f"{UPLOAD} tags.update",
        prepared(lambda found, token, salt: found.push(f"tag-{salt}", manifest("v1")[0], token)),
    ),
    "push the same again": (
        UPLOAD,
        prepared(lambda found, token, salt: found.push(f"tag-{salt}", manifest(salt)[0], token)),
    ),
    "delete a tag": (
        "tags.delete",
        prepared(lambda found, token, salt: found.call(token, "DELETE", found.image(f"manifests/tag-{salt}"))),
    ),
    "delete a version": ("versions.delete repositories.deleteArtifacts", untagged),
    "delete a blob": ("repositories.deleteArtifacts", loose_blob),
    "a token to pull": (DOWNLOAD, scoped("pull")),
    "a token to push": (f"{DOWNLOAD} {UPLOAD}", scoped("pull,push")),
    "a token to delete": ("repositories.deleteArtifacts", scoped("delete")),
}


@pytest.mark.parametrize("who", HOLDERS)
@pytest.mark.parametrize("level", ["project", "repository"])
@pytest.mark.parametrize("operation", V2)
def test_the_registry_asks_for_what_section_3_2_says(filled: Registry, operation: str, level: str, who: str) -> None:
    permissions, act = V2[operation]
    needed = frozenset(permissions.split())
    wrong = []
    for number, role in enumerate(ROLES):
        answer = act(filled, filled.tokens[who, level, role], f"{level}-{number}-{secrets.token_hex(2)}")
        if answer.request.method == "HEAD":
            # No body says which permission is missing.
            allowed = needed <= ROLES[role]
            wrong.append("" if (answer.status_code == 200) is allowed else f"{role}: {answer.status_code}")
            continue
        assert answer.status_code in (200, 201, 202, 403), answer.text
        wrong.append(judge(operation, needed, role, level, answer))
    assert not list(filter(None, wrong))


def catalogs(filled: Registry, level: str, who: str) -> dict[str, dict[str, list[str]]]:
    """What the catalog answers to each role's holder."""
    return {role: filled.call(filled.tokens[who, level, role], "GET", "/v2/_catalog").json() for role in ROLES}


def showing(image: str, roles: set[str]) -> dict[str, dict[str, list[str]]]:
    """What it answers where these roles alone show them the image."""
    return {role: {"repositories": [image] if role in roles else []} for role in ROLES}


@pytest.mark.parametrize("who", HOLDERS)
@pytest.mark.parametrize("level", ["project", "repository"])
def test_the_catalog_shows_what_may_be_pulled_to_who_sees_the_project(filled: Registry, level: str, who: str) -> None:
    """Section 3.2: a role on a repository alone shows nothing, until the project may be seen (gcr-cleaner#80)."""
    image = f"{HOST}/{filled.project}/ml-images/app"
    pulling = {role for role in ROLES if DOWNLOAD in ROLES[role]}
    assert catalogs(filled, level, who) == showing(image, pulling - BLIND if level == "project" else set())
    url = f"/cloudresourcemanager.googleapis.com/v1/projects/{filled.project}"
    before = filled.call(filled.owner, "POST", f"{url}:getIamPolicy", json={}).json()["bindings"]
    seeing = {"role": f"roles/{SEES_PROJECT}", "members": [filled.members[who, level, role] for role in ROLES]}
    granted = {"policy": {"bindings": [*before, seeing]}}
    try:
        assert filled.call(filled.owner, "POST", f"{url}:setIamPolicy", json=granted).status_code == 200
        assert catalogs(filled, level, who) == showing(image, pulling)
    finally:
        restored = {"policy": {"bindings": before}}
        assert filled.call(filled.owner, "POST", f"{url}:setIamPolicy", json=restored).status_code == 200


def test_who_holds_nothing_here_gets_nowhere(tmp_path: Path, filled: Registry) -> None:
    """The matrix's own alarm: a role that holds nothing is refused in every column."""
    for who, (name, (_, act)) in itertools.product(HOLDERS, V2.items()):
        token = filled.tokens[who, "project", "run.invoker"]
        assert act(filled, token, f"none-{secrets.token_hex(3)}").status_code == 403, name
