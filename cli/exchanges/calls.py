"""The calls of `workbook record-exchanges` in order: those of the workbook's clients, and refusals.

They cost nothing, and create only one empty repository, which they delete. `<…>` is a placeholder for a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from helpers.target import LABEL


@dataclass(frozen=True)
class Call:
    """One call: the sandbox's name of the operation, and a case of it. `needs` is an API that must be enabled."""

    operation: str
    case: str
    method: str
    url: str
    body: Any = None
    anonymous: bool = False
    needs: str = ""


_USAGE: Final = "https://serviceusage.googleapis.com/v1/projects/<project>/services"
_MANAGER: Final = "https://cloudresourcemanager.googleapis.com/v1/projects"
_LOCATIONS: Final = "https://artifactregistry.googleapis.com/v1/projects/<project>/locations"
_FOREIGN: Final = "https://artifactregistry.googleapis.com/v1/projects/not-<project>/locations"
_ALL: Final = f"{_LOCATIONS}/<region>/repositories"
_ONE: Final = f"{_ALL}/<repository>"
_NONE: Final = f"{_ALL}/no-such-repository"
_PACKAGE: Final = f"{_ONE}/packages/no-such-image"
_HOST: Final = "https://<region>-docker.pkg.dev/v2"
_IMAGE: Final = f"{_HOST}/<project>/<repository>/no-such-image"
_IAM: Final = "https://iam.googleapis.com/v1"
_DOCKER: Final = {"format": "DOCKER"}
_LABELLED: Final = {**_DOCKER, "description": "An exchange", "labels": {LABEL: "exchanges"}}
_WORDS: Final = {"description": "Another"}
_NO_ROLE: Final = {"policy": {"bindings": [{"role": "roles/no.such", "members": ["allUsers"]}]}}


def _usage(operation: str, case: str, method: str, path: str, body: Any = None) -> Call:
    return Call(f"serviceusage.services.{operation}", case, method, f"{_USAGE}/{path}", body)


def _repositories(
    operation: str, case: str, method: str, url: str, body: Any = None, *, anonymous: bool = False
) -> Call:
    return Call(f"artifactregistry.projects.locations.repositories.{operation}", case, method, url, body, anonymous)


def _registry(operation: str, case: str, url: str, body: Any = None, *, anonymous: bool = False) -> Call:
    return Call(operation, case, operation.partition(" ")[0], url, body, anonymous)


def _permissions(permission: str) -> dict[str, list[str]]:
    return {"permissions": [permission]}


DELETE: Final = _repositories("delete", "deleted", "DELETE", _ONE)

CALLS: Final = (
    _usage("get", "enabled", "GET", "artifactregistry.googleapis.com"),
    _usage("get", "no such service", "GET", "no-such.googleapis.com"),
    _usage("enable", "no such service", "POST", "no-such.googleapis.com:enable", {}),
    Call("cloudresourcemanager.projects.get", "yours", "GET", f"{_MANAGER}/<project>"),
    Call("cloudresourcemanager.projects.get", "not yours", "GET", f"{_MANAGER}/not-<project>"),
    Call("cloudresourcemanager.projects.get", "no credentials", "GET", f"{_MANAGER}/<project>", anonymous=True),
    Call("artifactregistry.projects.locations.get", "a region", "GET", f"{_LOCATIONS}/<region>"),
    Call("artifactregistry.projects.locations.get", "no such region", "GET", f"{_LOCATIONS}/nowhere"),
    Call(
        "artifactregistry.projects.locations.operations.get",
        "not there",
        "GET",
        f"{_LOCATIONS}/<region>/operations/none",
    ),
    _repositories("create", "a bad name", "POST", f"{_ALL}?repositoryId=ML_Images", _DOCKER),
    _repositories("create", "no format", "POST", f"{_ALL}?repositoryId=<repository>", {}),
    _repositories("create", "created", "POST", f"{_ALL}?repositoryId=<repository>", _LABELLED),
    _repositories("create", "taken", "POST", f"{_ALL}?repositoryId=<repository>", _DOCKER),
    _repositories("get", "there", "GET", _ONE),
    _repositories("get", "not there", "GET", _NONE),
    _repositories("get", "not your project", "GET", f"{_FOREIGN}/<region>/repositories/<repository>"),
    _repositories("get", "no credentials", "GET", _ONE, anonymous=True),
    _repositories("patch", "a description", "PATCH", f"{_ONE}?updateMask=description", _WORDS),
    _repositories("patch", "an unknown field", "PATCH", f"{_ONE}?updateMask=colour", {"colour": "red"}),
    _repositories("patch", "not there", "PATCH", f"{_NONE}?updateMask=description", _WORDS),
    _repositories("getIamPolicy", "never set", "GET", f"{_ONE}:getIamPolicy"),
    _repositories("setIamPolicy", "an unknown role", "POST", f"{_ONE}:setIamPolicy", _NO_ROLE),
    _repositories(
        "testIamPermissions",
        "one",
        "POST",
        f"{_ONE}:testIamPermissions",
        _permissions("artifactregistry.repositories.get"),
    ),
    _repositories(
        "testIamPermissions", "a wildcard", "POST", f"{_ONE}:testIamPermissions", _permissions("artifactregistry.*")
    ),
    _repositories("dockerImages.list", "none", "GET", f"{_ONE}/dockerImages"),
    _repositories("dockerImages.list", "a bad page token", "GET", f"{_ONE}/dockerImages?pageToken=nonsense"),
    _repositories("packages.list", "none", "GET", f"{_ONE}/packages"),
    _repositories("packages.get", "not there", "GET", _PACKAGE),
    _repositories("packages.versions.list", "no such package", "GET", f"{_PACKAGE}/versions"),
    _repositories("packages.tags.get", "not there", "GET", f"{_PACKAGE}/tags/1.0.0"),
    _repositories("packages.tags.delete", "not there", "DELETE", f"{_PACKAGE}/tags/1.0.0"),
    _registry("GET /v2/", "no credentials", f"{_HOST}/", anonymous=True),
    _registry("GET /v2/", "signed in", f"{_HOST}/"),
    _registry("GET /v2/NAME/tags/list", "no such image", f"{_IMAGE}/tags/list"),
    _registry("GET /v2/NAME/tags/list", "no such repository", f"{_HOST}/<project>/no-such-repository/image/tags/list"),
    _registry("GET /v2/NAME/manifests/REFERENCE", "no such image", f"{_IMAGE}/manifests/1.0.0"),
    _registry("GET /v2/NAME/manifests/REFERENCE", "no credentials", f"{_IMAGE}/manifests/1.0.0", anonymous=True),
    _registry("HEAD /v2/NAME/blobs/DIGEST", "not there", f"{_IMAGE}/blobs/sha256:{'a' * 64}"),
    _registry("PUT /v2/NAME/manifests/REFERENCE", "no manifest", f"{_IMAGE}/manifests/1.0.0", {}),
    _registry("POST /v2/NAME/blobs/uploads/", "no image name", f"{_HOST}/<project>/<repository>/blobs/uploads/"),
    Call("iam.roles.get", "a role", "GET", f"{_IAM}/roles/artifactregistry.reader", needs="iam.googleapis.com"),
    Call("iam.roles.get", "no such role", "GET", f"{_IAM}/roles/no.such", needs="iam.googleapis.com"),
    Call(
        "iam.projects.serviceAccounts.get",
        "not there",
        "GET",
        f"{_IAM}/projects/<project>/serviceAccounts/<nobody>",
        needs="iam.googleapis.com",
    ),
    Call(
        "cloudbuild.projects.builds.get",
        "not there",
        "GET",
        "https://cloudbuild.googleapis.com/v1/projects/<project>/locations/<region>/builds/none",
        needs="cloudbuild.googleapis.com",
    ),
    Call(
        "containeranalysis.projects.occurrences.list",
        "none",
        "GET",
        'https://containeranalysis.googleapis.com/v1/projects/<project>/occurrences?filter=kind="NOTHING"',
        needs="containeranalysis.googleapis.com",
    ),
    _repositories("delete", "not there", "DELETE", _NONE),
    DELETE,
)
