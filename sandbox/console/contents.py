"""The console's pages of a repository, with images, packages, versions, attachments and cleanups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from sandbox.artifact_registry import cleanup_job
from sandbox.console.reader import Reader, quoted
from sandbox.console.visits import Visit, part

_REGISTRY: Final = "artifactregistry"
_SEVERITIES: Final = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "MINIMAL")


def bindings(policy: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a policy's roles, each with each of its members."""
    return [(one["role"], member) for one in policy.get("bindings", []) for member in one["members"]]


def repository(visit: Visit) -> dict[str, Any]:
    """Read a repository with a page of its images or packages, its cleanups and its role bindings."""
    read, path = visit.reader, visit.repository
    found = read.get(_REGISTRY, path)
    kind = "dockerImages" if found["format"] == "DOCKER" else "packages"
    listed = part(lambda: read.get(_REGISTRY, f"{path}/{kind}", **visit.paging))
    return {
        "repository": found,
        "listed": listed,
        "next": (listed.found or {}).get("nextPageToken", ""),
        "next_cleanup": cleanup_job.next_run(visit.controls.world),
        "cleanups": part(lambda: _cleanups(read, visit)) if found.get("cleanupPolicies") else None,
        "bindings": part(lambda: bindings(read.get(_REGISTRY, f"{path}:getIamPolicy"))),
    }


def _cleanups(read: Reader, visit: Visit) -> list[dict[str, Any]]:
    """Read the latest cleanups from the audit log, which has only those that deleted something."""
    parent = f"{unquote(visit.repository.removeprefix('/v1/'))}/packages/-"
    wanted = f'protoPayload.methodName="{cleanup_job.METHOD}" AND protoPayload.resourceName="{parent}"'
    query = {
        "resourceNames": [f"projects/{visit['project']}"],
        "filter": wanted,
        "orderBy": "timestamp desc",
        "pageSize": 5,
    }
    return [
        {
            "time": one["timestamp"],
            "dry": one["protoPayload"]["request"].get("validateOnly", False),
            "versions": [
                unquote(name.partition("/packages/")[2]).replace("/versions/", "@")
                for name in one["protoPayload"]["request"]["names"]
            ],
        }
        for one in read.post("logging", "/v2/entries:list", query).get("entries", [])
    ]


def package(visit: Visit) -> dict[str, Any]:
    """Read a package with a page of its versions, and its files if it is not an image."""
    read, path = visit.reader, f"{visit.repository}/packages/{quoted(visit['package'])}"
    found, kind = read.get(_REGISTRY, path), read.get(_REGISTRY, visit.repository)["format"]
    listed = part(lambda: read.get(_REGISTRY, f"{path}/versions", view="FULL", **visit.paging))
    owner = f'owner="{unquote(path.removeprefix("/v1/"))}"'
    files = None
    if kind != "DOCKER":
        query: dict[str, str | int] = {"filter": owner, "pageSize": 100}
        files = part(lambda: read.get(_REGISTRY, f"{visit.repository}/files", **query).get("files", []))
    return {
        "package": found,
        "format": kind,
        "listed": listed,
        "next": (listed.found or {}).get("nextPageToken", ""),
        "files": files,
    }


def image(visit: Visit) -> dict[str, Any]:
    """Read an image with its tags, layers, findings and attachments."""
    read, path, name = visit.reader, visit.repository, visit["image"]
    found = read.get(_REGISTRY, f"{path}/dockerImages/{quoted(name)}")
    digest = name.rpartition("@")[2]
    manifest = read.manifest(unquote(path.removeprefix("/v1/")), digest)
    return {
        "image": found,
        "digest": digest,
        "layers": manifest.get("layers", []),
        "subject": (manifest.get("subject") or {}).get("digest", ""),
        "attached": read.attached(unquote(path.removeprefix("/v1/")), name.rpartition("@")[0], digest),
        "findings": part(lambda: _findings(read, quoted(visit["project"]), found["uri"])),
    }


def _findings(read: Reader, of: str, uri: str) -> list[dict[str, Any]]:
    wanted = f'resourceUrl="https://{uri}" AND kind="VULNERABILITY"'
    listed = read.get("containeranalysis", f"/v1/projects/{of}/occurrences", filter=wanted, pageSize=1000)
    rows = [
        {
            "severity": one["vulnerability"].get("effectiveSeverity", "SEVERITY_UNSPECIFIED"),
            "note": one.get("noteName", "").rpartition("/")[2],
            "packages": sorted({issue.get("affectedPackage", "") for issue in one["vulnerability"]["packageIssue"]}),
            "score": one["vulnerability"].get("cvssScore", ""),
        }
        for one in listed.get("occurrences", [])
    ]
    order = {severity: place for place, severity in enumerate(_SEVERITIES)}
    return sorted(rows, key=lambda row: (order.get(row["severity"], len(order)), row["note"]))
