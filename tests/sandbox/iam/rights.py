"""The data for tests of rights, and a world with callers that have each predefined role.

The expected permissions are copied from facts/artifact-registry.md: appendix B has those of the roles, appendix C and
section 3.2 those that the operations need. Nothing here is shared with sandbox/iam/roles.py.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox import seed
from sandbox.iam import federation, policies, pools, tokens
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandbox import in_process
from tests.sandbox.in_process import Session

HOST = "us-central1-docker.pkg.dev"
SERVICE = "artifactregistry.googleapis.com"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def held(text: str) -> frozenset[str]:
    """Return the permissions `things.get` and `things.list` for `things.get,list`."""
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
    # Not in appendix B: Google describes them as all permissions, all but those on access, and those that read.
    "owner": _ADMIN,
    "editor": _ADMIN - held("repositories.createTagBinding,deleteTagBinding,setIamPolicy"),
    "viewer": _VIEWER,
    # Roles of other services, without permissions of this one
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

# The roles that can pull but lack resourcemanager.projects.get: in appendix B the first does not have it, and of the
# other two the appendix has only the permissions in Artifact Registry.
BLIND = {"artifactregistry.serviceAgent", "run.serviceAgent", "containeranalysis.ServiceAgent"}
# A role with resourcemanager.projects.get, and no permission of Artifact Registry
SEES_PROJECT = "run.developer"

# Appendix C, by the part of the method's id after `artifactregistry.projects.locations.`. On the project:
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
# Google's tables have no suitable permission for these.
INFERRED_ON_PROJECT: dict[str, str] = {"artifactregistry.projects.updateProjectSettings": "projectsettings.update"}
INFERRED: dict[str, str] = {
    # Appendix C lists files.get, but the attachment roles of appendix B can download without it.
    "repositories.files.download": "files.download",
    "repositories.packages.patch": "packages.update",
    "repositories.packages.versions.patch": "versions.update",
}
# Callers that may get the repository may get its operations; cancelling a finished one changes nothing.
OPERATIONS: dict[str, str] = {"operations.get": "repositories.get", "operations.cancel": "repositories.get"}
NEEDED = {**ON_PROJECT, **INFERRED_ON_PROJECT, **ON_REPOSITORY, **INFERRED, **OPERATIONS}
# testIamPermissions needs none by definition: it returns the permissions that the caller has.
WITHOUT = {"repositories.testIamPermissions"}


@dataclass(frozen=True)
class Registry:
    """A world in which an account and an identity have each role, on the project or on the repository.

    Attributes:
        tokens: access tokens by holder (one of HOLDERS), level and role.
        members: the members in policies, likewise.
    """

    session: Session
    project: str
    tokens: dict[tuple[str, str, str], str]
    members: dict[tuple[str, str, str], str]
    owner: str

    def call(self, token: str, verb: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return self.session.request(verb, path, headers=headers, **options)

    def image(self, rest: str) -> str:
        return f"/v2/{HOST}/{self.project}/ml-images/app/{rest}"

    def push(self, reference: str, content: bytes, token: str = "") -> httpx.Response:
        return self.call(
            token or self.owner,
            "PUT",
            self.image(f"manifests/{reference}"),
            data=content,
            headers={"Content-Type": MANIFEST},
        )


HOLDERS = ("account", "identity")


def identity(number: int, pool: str) -> tuple[str, federation.Identity]:
    """Return an identity of a pool, and one of the five members by which a policy can name it."""
    prefix = f"principalSet://iam.googleapis.com/{pool}"
    sets = (f"{prefix}/*", f"{prefix}/attribute.repository/ana/models", f"{prefix}/group/ml", f"{prefix}/group/more")
    one = federation.Identity(f"principal://iam.googleapis.com/{pool}/subject/repo:ana/models", sets)
    return (one.principal, *sets)[number % 5], one


@contextlib.contextmanager
def opened(home: Path) -> Iterator[Registry]:
    """Open a world in this process, with an account and an identity of a pool for each role and level."""
    project = f"ml-workbook-{secrets.token_hex(3)}"
    state = World(home / "state", Clock())
    about = seed.prepare(state, home, project, "us-central1")
    parent = f"projects/{project}/locations/us-central1/repositories"
    # The policy of ml-images is set after its creation, since a new repository starts without one.
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
    with contextlib.closing(state), in_process.client(state, "admin") as session:
        found = Registry(session, project, minted, members, owner)
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


def difference(name: str, needed: frozenset[str], role: str, level: str, answer: httpx.Response) -> str:
    """Return how one response differs from the appendices, or an empty string."""
    on_project = name in {**ON_PROJECT, **INFERRED_ON_PROJECT}
    missing = needed - (ROLES[role] if level == "project" or not on_project else _NOTHING)
    refused = answer.status_code in (401, 403)
    if refused is not bool(missing):
        return f"{name} × {role} on the {level}: {answer.status_code}, missing {sorted(missing)}: {answer.text[:200]}"
    if missing and not any(f"artifactregistry.{one}" in answer.text for one in missing):
        return f"{name} × {role}: the refusal names none of {sorted(missing)}: {answer.text[:200]}"
    return ""
