"""ondemandscanning.googleapis.com v1: find the vulnerabilities of a list of packages.

gcloud's extractor reads the packages on the caller's machine and sends no image. Source: facts/gcloud.md "scan" and
facts/artifact-registry.md 4 and Appendix A. Google has no Python messages for this API, so the fields are listed here.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from sandbox.api import lists, operations
from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.artifact_analysis import automatic_scans, occurrences
from sandbox.artifact_analysis.occurrences import Finding
from sandbox.errors import ApiError, check_fields, invalid, unimplemented
from sandbox.scanner.inventory import Package
from sandbox.scanner.package_lists import OperatingSystem
from sandbox.state.clock import timestamp

LOCATIONS: Final = ("us", "europe", "asia")
_TYPE: Final = "type.googleapis.com/google.cloud.ondemandscanning.v1"
_KINDS: Final = (
    *("OS", "MAVEN", "GO", "GO_STDLIB", "PYPI", "NPM", "NUGET", "RUBYGEMS", "RUST", "COMPOSER", "SWIFT"),
    "PACKAGE_TYPE_UNSPECIFIED",
)
_FIELDS: Final = frozenset(
    (
        *("architecture", "binarySourceInfo", "binaryVersion", "cpeUri", "dependencyChain", "fileLocation"),
        *("hashDigest", "layerDetails", "licenses", "maintainer", "os", "osVersion", "package", "packageType"),
        *("patchedCve", "sourceVersion", "unused", "version"),
    )
)
_CPE: Final = re.compile(r"cpe:/o:[^:]+:(?P<product>[^:]+):(?P<version>[^:]+).*")
_PRODUCTS: Final = {"debian_linux": "debian", "ubuntu_linux": "ubuntu"}
_LIMIT: Final = 50_000  # packages of one request; unverified


def _analyze(call: Call) -> dict[str, Any]:
    location = call.params["location"]
    if location not in LOCATIONS:
        raise ApiError("PERMISSION_DENIED", f"Permission denied on 'locations/{location}' (or it may not exist).")
    body = call.json()
    check_fields(body, ("packages", "resourceUri", "includeOsvData"))
    if body.get("includeOsvData"):
        raise unimplemented("includeOsvData: the sandbox's advisories are a snapshot of its own")
    resource, listed = body.get("resourceUri", ""), body.get("packages", [])
    if not isinstance(resource, str) or not resource:
        raise invalid("Request is missing resourceUri.")
    if not isinstance(listed, list) or len(listed) > _LIMIT:
        raise invalid(f"packages is a list of at most {_LIMIT} packages.")
    read = [_package(entry, place) for place, entry in enumerate(listed)]
    parent = f"projects/{call.params['project']}/locations/{location}"
    scan = f"{parent}/scans/{uuid.uuid4()}"
    known = automatic_scans.advisories(call.world)
    now = call.world.now()
    system = next((system for _, system in read if system), None)
    found = occurrences.vulnerabilities(
        parent,
        resource,
        [
            Finding(package, match)
            for entry, (package, own) in zip(listed, read, strict=True)
            for match in known.match(package, own or system)
            if match.id not in (entry.get("patchedCve") or ())
        ],
        system,
        now,
        known.taken,
    )
    operation = f"{parent}/operations/{uuid.uuid4()}"
    with call.world.writing() as rows:
        rows.execute(
            "INSERT INTO scans (name, vulnerabilities, create_time) VALUES (?, ?, ?)",
            (scan, json.dumps(found), timestamp(now)),
        )
        return operations.finish(
            rows,
            call.world,
            operation,
            {"@type": f"{_TYPE}.AnalyzePackagesResponse", "scan": scan},
            {"@type": f"{_TYPE}.AnalyzePackagesMetadata", "createTime": timestamp(now), "resourceUri": resource},
        )


def _package(entry: Any, place: int) -> tuple[Package, OperatingSystem | None]:
    """Return a package of the request, and the distribution in its CPE."""
    where = f"packages[{place}]"
    if not isinstance(entry, Mapping):
        raise invalid(f"Invalid value at '{where}' (message), expected an object")
    check_fields(entry, _FIELDS, where)
    kind, name, version = (entry.get(key) or "" for key in ("packageType", "package", "version"))
    if not all(isinstance(one, str) for one in (kind, name, version)) or not name or not version:
        raise invalid(f"{where} needs a package and a version.")
    if kind and kind not in _KINDS:
        raise invalid(f"Invalid value at '{where}.package_type', \"{kind}\"")
    cpe = _CPE.fullmatch(str(entry.get("cpeUri") or ""))
    system = OperatingSystem(_PRODUCTS.get(cpe["product"], cpe["product"]), cpe["version"]) if cpe else None
    files = entry.get("fileLocation") or []
    path = files[0].get("filePath", "") if isinstance(files, list) and files and isinstance(files[0], dict) else ""
    return Package(kind or "OS", name, version, path=str(path)), system


def _vulnerabilities(call: Call) -> dict[str, Any]:
    name = "projects/{project}/locations/{location}/scans/{scan}".format(**call.params)
    with call.world.reading() as rows:
        row = rows.execute("SELECT vulnerabilities FROM scans WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise ApiError("NOT_FOUND", "Requested entity was not found.")
    chosen, token = lists.page(json.loads(row["vulnerabilities"]), call.query, lambda one: str(one["name"]))
    return lists.answer("occurrences", chosen, token)


def _operation(call: Call) -> dict[str, Any]:
    return operations.get(
        call.world, "projects/{project}/locations/{location}/operations/{operation}".format(**call.params)
    )


def _operations(call: Call) -> dict[str, Any]:
    """List a project's on-demand scans as operations, newest last."""
    if call.query.get("filter"):
        raise unimplemented("filters of operations")
    found = operations.under(call.world, "projects/{project}/locations/{location}/operations/".format(**call.params))
    chosen, token = lists.page(found, call.query, lambda one: f"{one['metadata']['createTime']} {one['name']}")
    return lists.answer("operations", chosen, token)


_PARENT = "/v1/projects/{project}/locations/{location}"
_ID = "ondemandscanning.projects.locations"


def _method(name: str, verb: str, path: str, handle: Any, permission: str) -> Method:
    return Method(f"{_ID}.{name}", verb, f"{_PARENT}/{path}", handle, (f"ondemandscanning.{permission}",))


API = Api(
    "ondemandscanning.googleapis.com",
    "On-Demand Scanning API",
    ordered(
        (
            _method("scans.analyzePackages", "POST", "scans:analyzePackages", _analyze, "scans.analyzePackages"),
            _method(
                "scans.vulnerabilities.list",
                "GET",
                "scans/{scan}/vulnerabilities",
                _vulnerabilities,
                "scans.listVulnerabilities",
            ),
            _method("operations.list", "GET", "operations", _operations, "operations.list"),
            _method("operations.get", "GET", "operations/{operation}", _operation, "operations.get"),
        )
    ),
)
