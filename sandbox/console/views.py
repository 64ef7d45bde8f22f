"""The pages: one function each, from what the APIs answer to the values that its template shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from sandbox.admin.surface import Controls
from sandbox.console.reader import Reader, quoted
from sandbox.errors import Refusal

PAGE_SIZE: Final = 50
_REGISTRY: Final = "artifactregistry"
_SEVERITIES: Final = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "MINIMAL")
# USD for a GiB and month above the free tier: https://cloud.google.com/artifact-registry/pricing, read 2026-11.
_USD, _FREE_GIB = 0.10, 0.5
_LOG_LINES = 2000


@dataclass(frozen=True)
class Visit:
    """One look at a page.

    Attributes:
        params: the variables of the page's address, decoded.
        query: the query's parameters.
    """

    controls: Controls
    reader: Reader
    params: Mapping[str, str]
    query: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.params[name]


@dataclass(frozen=True)
class Part:
    """A part of a page that a refusal may stand in the place of: what is read, or why it can't be.

    Attributes:
        refusal: Google's sentence; empty when `found` is there.
    """

    found: Any
    refusal: str = ""


def part(read: Callable[[], Any]) -> Part:
    """Read a part of a page: one that may not be read doesn't take the others away."""
    try:
        return Part(read())
    except Refusal as refusal:
        return Part(None, str(refusal))


def link(base: str, *segments: str) -> str:
    """Return the address of a page, `base` being that of the first one."""
    return f"{base}/" + quoted(*segments)


def projects(visit: Visit) -> dict[str, Any]:
    """Read the projects that one may see."""
    return {"projects": visit.reader.get("cloudresourcemanager", "/v1/projects").get("projects", [])}


def project(visit: Visit) -> dict[str, Any]:
    """Read a project: repositories, services, builds, triggers, who may do what, and what its storage costs."""
    of, read = quoted(visit["project"]), visit.reader
    read.get("cloudresourcemanager", f"/v1/projects/{of}")
    repositories = part(lambda: list(_repositories(read, of)))
    stored = sum(int(one.get("sizeBytes", 0)) for one in repositories.found or [])
    services = part(lambda: read.get("run", f"/v1/projects/{of}/locations/-/services").get("items", []))
    return {
        "repositories": repositories,
        "stored": stored,
        "usd": max(stored / 2**30 - _FREE_GIB, 0) * _USD,
        "services": services,
        "builds": part(
            lambda: read.get("cloudbuild", f"/v1/projects/{of}/locations/-/builds", pageSize=20).get("builds", [])
        ),
        "triggers": part(lambda: read.get("cloudbuild", f"/v1/projects/{of}/triggers").get("triggers", [])),
        "bindings": part(lambda: _bindings(read.post("cloudresourcemanager", f"/v1/projects/{of}:getIamPolicy"))),
    }


def _repositories(read: Reader, of: str) -> Any:
    for location in read.get(_REGISTRY, f"/v1/projects/{of}/locations", pageSize=500)["locations"]:
        listed = read.get(_REGISTRY, f"/v1/{location['name']}/repositories", pageSize=1000)
        yield from listed.get("repositories", [])


def _bindings(policy: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(one["role"], member) for one in policy.get("bindings", []) for member in one["members"]]


def repository(visit: Visit) -> dict[str, Any]:
    """Read a repository: its images by pages, its cleanup policies and who may do what."""
    read, path = visit.reader, _repository(visit)
    found = read.get(_REGISTRY, path)
    paging: dict[str, str | int] = {"pageSize": PAGE_SIZE}
    if token := visit.query.get("page"):
        paging["pageToken"] = token
    images = part(lambda: read.get(_REGISTRY, f"{path}/dockerImages", **paging))
    return {
        "repository": found,
        "images": images,
        "next": (images.found or {}).get("nextPageToken", ""),
        "bindings": part(lambda: _bindings(read.get(_REGISTRY, f"{path}:getIamPolicy"))),
    }


def _repository(visit: Visit) -> str:
    return f"/v1/projects/{quoted(visit['project'])}/locations/{quoted(visit['location'])}/repositories/" + quoted(
        visit["repository"]
    )


def image(visit: Visit) -> dict[str, Any]:
    """Read an image: tags, layers, findings, and what is attached to it."""
    read, path, name = visit.reader, _repository(visit), visit["image"]
    found = read.get(_REGISTRY, f"{path}/dockerImages/{quoted(name)}")
    digest = name.rpartition("@")[2]
    manifest = read.manifest(unquote(path.removeprefix("/v1/")), digest)
    return {
        "image": found,
        "digest": digest,
        "layers": manifest.get("layers", []),
        "subject": (manifest.get("subject") or {}).get("digest", ""),
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


def build(visit: Visit) -> dict[str, Any]:
    """Read a build: its steps and its log, which grows while it runs."""
    read, of = visit.reader, quoted(visit["project"])
    found = read.get("cloudbuild", f"/v1/projects/{of}/builds/{quoted(visit['build'])}")
    return {
        "build": found,
        "log": part(lambda: _log(read, visit["project"], found)),
        "live": found["status"] in ("PENDING", "QUEUED", "WORKING"),
    }


def _log(read: Reader, of: str, found: Mapping[str, Any]) -> list[str]:
    if bucket := found.get("logsBucket"):
        name, _, folder = bucket.removeprefix("gs://").partition("/")
        path = "/".join(filter(None, (folder, f"log-{found['id']}.txt")))
        text = read.text("storage", f"/download/storage/v1/b/{quoted(name)}/o/{quoted(path)}", alt="media")
        return text.splitlines()[-_LOG_LINES:]
    wanted = f'resource.type="build" AND resource.labels.build_id="{found["id"]}"'
    asked = {"resourceNames": [f"projects/{of}"], "filter": wanted, "orderBy": "timestamp asc", "pageSize": 1000}
    return [one.get("textPayload", "") for one in read.post("logging", "/v2/entries:list", asked).get("entries", [])]


def requests(visit: Visit) -> dict[str, Any]:
    """Read the requests that the sandbox got last, newest first."""
    since = visit.query.get("since", "")
    number = int(since) if re.fullmatch("[0-9]{1,18}", since) else 0
    listed = visit.controls.requests.since(number)
    return {"requests": listed[-200:][::-1], "live": True}


def clock(visit: Visit) -> dict[str, Any]:
    """Read the sandbox's clock, for the form that moves it."""
    return {"now": visit.controls.world.now()}


@dataclass(frozen=True)
class Page:
    """One address and what it shows.

    Attributes:
        path: below `/console`, with variables in braces.
        template: name of the file, without its ending.
    """

    path: str
    template: str
    values: Callable[[Visit], dict[str, Any]]

    def match(self, raw: str) -> dict[str, str] | None:
        """Return the variables of an address as it was sent, decoded, or None for another page's."""
        pieces = re.split(r"\{(\w+)\}", self.path)
        pattern = "".join(f"(?P<{one}>[^/]+)" if place % 2 else re.escape(one) for place, one in enumerate(pieces))
        found = re.fullmatch(pattern, raw)
        return {key: unquote(value) for key, value in found.groupdict().items()} if found else None


PAGES: Final = (
    Page("", "projects", projects),
    Page("/requests", "requests", requests),
    Page("/clock", "clock", clock),
    Page("/projects/{project}", "project", project),
    Page("/projects/{project}/builds/{build}", "build", build),
    Page("/projects/{project}/repositories/{location}/{repository}", "repository", repository),
    Page("/projects/{project}/repositories/{location}/{repository}/{image}", "image", image),
)


def trail(base: str, params: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return name and address of the pages above one, from the top."""
    steps = [("Projects", base)]
    if "project" in params:
        steps.append((params["project"], link(base, "projects", params["project"])))
    if "repository" in params:
        place = ("projects", params["project"], "repositories", params["location"], params["repository"])
        steps.append((params["repository"], link(base, *place)))
    if last := params.get("image") or params.get("build"):
        steps.append((last, ""))
    return steps
