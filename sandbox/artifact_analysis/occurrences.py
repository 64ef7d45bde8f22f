"""The results of a scan as Grafeas occurrences: a discovery, and one for each vulnerability.

Message definitions: https://github.com/googleapis/googleapis/tree/master/grafeas/v1. The names of notes and the fields
are those of facts/artifact-registry.md 4 (a published sample of Google's responses).
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from grafeas.grafeas_v1 import types

from sandbox.api import messages
from sandbox.scanner import severity
from sandbox.scanner.advisories import Advisory, Match
from sandbox.scanner.inventory import Package
from sandbox.scanner.package_lists import OperatingSystem
from sandbox.state.clock import timestamp

VULNERABILITY_NOTES: Final = "projects/goog-vulnz/notes"
_DISCOVERY_NOTE: Final = "projects/goog-analysis/locations/{location}/notes/PACKAGE_VULNERABILITY"
_SPACE: Final = uuid.UUID("5d1d3f0c-6f0b-4f0a-9c56-0c8a1c3f9a07")
_DEBIAN: Final = re.compile(r"(?:(?P<epoch>\d+):)?(?P<name>.+?)(?:-(?P<revision>[^-]+))?")

# The metrics of a CVSS 3 vector, with Grafeas' names for their values
_METRICS: Final = {
    "AV": ("attackVector", {"N": "NETWORK", "A": "ADJACENT", "L": "LOCAL", "P": "PHYSICAL"}, "ATTACK_VECTOR"),
    "AC": ("attackComplexity", {"L": "LOW", "H": "HIGH"}, "ATTACK_COMPLEXITY"),
    "PR": ("privilegesRequired", {"N": "NONE", "L": "LOW", "H": "HIGH"}, "PRIVILEGES_REQUIRED"),
    "UI": ("userInteraction", {"N": "NONE", "R": "REQUIRED"}, "USER_INTERACTION"),
    "S": ("scope", {"U": "UNCHANGED", "C": "CHANGED"}, "SCOPE"),
    "C": ("confidentialityImpact", {"N": "NONE", "L": "LOW", "H": "HIGH"}, "IMPACT"),
    "I": ("integrityImpact", {"N": "NONE", "L": "LOW", "H": "HIGH"}, "IMPACT"),
    "A": ("availabilityImpact", {"N": "NONE", "L": "LOW", "H": "HIGH"}, "IMPACT"),
}


@dataclass(frozen=True)
class LayerFacts:
    """The data on a layer in the image's config.

    Attributes:
        diff_id: the digest of the uncompressed layer.
        chain_id: the digest of it and all layers below; OCI image-spec 1.1 config.md, "Layer ChainID".
        command: the Dockerfile's line.
    """

    diff_id: str
    chain_id: str
    command: str


@dataclass(frozen=True)
class Finding:
    """A vulnerability in a package of an image."""

    package: Package
    match: Match


def name_of(parent: str, *parts: str) -> str:
    """Return an occurrence's name, which is the same for the same finding in the same image."""
    return f"{parent}/occurrences/{uuid.uuid5(_SPACE, ' '.join((parent, *parts)))}"


def discovery(
    parent: str,
    location: str,
    resource: str,
    status: str,
    created: str,
    now: dt.datetime,
    *,
    taken: str = "",
    kinds: Iterable[str] = (),
    error: str = "",
) -> dict[str, Any]:
    """Return the occurrence with the status of an image's scan.

    Args:
        parent: `projects/P/locations/L`.
        resource: `https://HOST/P/R/I@sha256:…`.
        status: PENDING, SCANNING, FINISHED_SUCCESS, FINISHED_FAILED or FINISHED_UNSUPPORTED.
        taken: the date of the advisories, after a successful scan.
        error: why it failed or is not supported.
    """
    body: dict[str, Any] = {"continuousAnalysis": "ACTIVE", "analysisStatus": status}
    if status.startswith("FINISHED"):
        body["lastScanTime"] = timestamp(now)
    if status == "FINISHED_SUCCESS":
        body["analysisCompleted"] = {"analysisType": sorted(kinds)}
        body["lastVulnerabilityUpdateTime"] = f"{taken}T00:00:00Z"
    if error:
        # google.rpc.Code 9, FAILED_PRECONDITION. # unverified: the code
        body["analysisStatusError"] = {"code": 9, "message": error}
    occurrence = {
        "name": name_of(parent, resource, "DISCOVERY"),
        "resourceUri": resource,
        "noteName": _DISCOVERY_NOTE.format(location=location),
        "kind": "DISCOVERY",
        "createTime": created,
        "updateTime": timestamp(now),
        "discovery": body,
    }
    rendered = _checked(occurrence)
    if "lastScanTime" in body:
        # gcloud expects nine digits, of which it removes three (surface/artifacts/vulnerabilities/list.py).
        rendered["discovery"]["lastScanTime"] = body["lastScanTime"].replace("Z", "000Z")
    return rendered


def vulnerabilities(
    parent: str,
    resource: str,
    findings: Iterable[Finding],
    system: OperatingSystem | None,
    now: dt.datetime,
    taken: str,
    layers: tuple[LayerFacts, ...] = (),
) -> list[dict[str, Any]]:
    """Return an occurrence for each vulnerability, sorted by identifier, with an issue for each affected package."""
    by_id: dict[str, list[Finding]] = {}
    for finding in findings:
        by_id.setdefault(finding.match.id, []).append(finding)
    return [_vulnerability(parent, resource, by_id[key], system, now, taken, layers) for key in sorted(by_id)]


def _vulnerability(
    parent: str,
    resource: str,
    findings: list[Finding],
    system: OperatingSystem | None,
    now: dt.datetime,
    taken: str,
    layers: tuple[LayerFacts, ...],
) -> dict[str, Any]:
    first = findings[0].match
    issues = [_issue(one, system, layers) for one in findings]
    body: dict[str, Any] = {
        "type": findings[0].package.kind,
        "severity": first.assigned,
        "effectiveSeverity": severity.highest(one.match.effective for one in findings),
        "shortDescription": first.id,
        "longDescription": " ".join(
            part
            for part in (
                f"{first.summary}." if first.summary else "",
                f"Also known as {', '.join(first.aliases)}." if first.aliases else "",
                f"From the workbook's snapshot of advisories of {taken}, not from Google's data.",
            )
            if part
        ),
        "relatedUrls": [{"url": url, "label": "More Info"} for url in first.urls],
        "packageIssue": issues,
        "fixAvailable": any(issue.get("fixAvailable", False) for issue in issues),
        **_scores(first),
    }
    return _checked(
        {
            "name": name_of(parent, resource, first.id),
            "resourceUri": resource,
            "noteName": f"{VULNERABILITY_NOTES}/{first.id}",
            "kind": "VULNERABILITY",
            "createTime": timestamp(now),
            "updateTime": timestamp(now),
            "vulnerability": body,
        }
    )


def note(identifier: str, known: Iterable[Advisory]) -> dict[str, Any]:
    """Return the note of a vulnerability.

    Args:
        known: the advisories about it, at least one.
    """
    all_known = list(known)
    match = max((severity.score(one.vector) or 0.0, one.vector) for one in all_known)
    word = severity.highest(severity.from_word(one.word) for one in all_known)
    details = [
        {
            "affectedPackage": affected.name,
            "packageType": "PYPI" if affected.ecosystem == "PyPI" else "OS",
            "description": affected.ecosystem,
            "affectedVersionStart": {"kind": "MINIMUM"},
            "fixedVersion": _version("", fixed) if fixed else {"kind": "MAXIMUM"},
            "severityName": severity.from_word(affected.urgency),
        }
        for one in all_known
        for affected in one.affected
        for fixed in [text for events in affected.ranges for kind, text in events if kind == "fixed"] or [""]
    ]
    urls = dict.fromkeys(url for one in all_known for url in one.urls)
    entry = {
        "name": f"{VULNERABILITY_NOTES}/{identifier}",
        "shortDescription": identifier,
        "kind": "VULNERABILITY",
        "relatedUrl": [{"url": url, "label": "More Info"} for url in urls],
        "vulnerability": {
            "cvssScore": match[0],
            "severity": severity.from_score(match[0]) if match[1] else word,
            "details": details,
        },
    }
    return messages.render(messages.parse(types.Note.pb(), entry))


def _scores(match: Match) -> dict[str, Any]:
    if match.score is None:
        return {}
    if match.vector.startswith("CVSS:4"):
        # unverified: that Google repeats the score of CVSS 4 here
        return {"cvssScore": match.score, "cvssVersion": "CVSS_VERSION_4", "cvssV4": {"baseScore": match.score}}
    if not match.vector.startswith("CVSS:3"):
        return {"cvssScore": match.score, "cvssVersion": "CVSS_VERSION_2", "cvssV2": {"baseScore": match.score}}
    metrics = dict(part.partition(":")[::2] for part in match.vector.split("/")[1:])
    values = {
        name: f"{prefix}_{words[metrics[key]]}"
        for key, (name, words, prefix) in _METRICS.items()
        if metrics.get(key) in words
    }
    return {
        "cvssScore": match.score,
        "cvssVersion": "CVSS_VERSION_3",
        "cvssv3": {"baseScore": match.score, **_parts(match.vector), **values},
    }


def _parts(vector: str) -> dict[str, float]:
    found = severity.parts(vector)
    return {"exploitabilityScore": found[0], "impactScore": found[1]} if found else {}


def _issue(finding: Finding, system: OperatingSystem | None, layers: tuple[LayerFacts, ...]) -> dict[str, Any]:
    package, match = finding.package, finding.match
    cpe = system.cpe if system and package.kind == "OS" else ""
    where: dict[str, Any] = {"filePath": package.path}
    if 0 <= package.layer < len(layers):
        layer = layers[package.layer]
        where["layerDetails"] = {
            "index": package.layer,
            # As in a recording of 2025, only the chain id has its algorithm.
            "diffId": layer.diff_id.removeprefix("sha256:"),
            "chainId": layer.chain_id,
            "command": layer.command,
        }
    return {
        "affectedPackage": package.name,
        "affectedVersion": _version(package.kind, match.version),
        "affectedCpeUri": cpe,
        "fixedPackage": package.name,
        "fixedCpeUri": cpe,
        "fixedVersion": _version(package.kind, match.fixed) if match.fixed else {"kind": "MAXIMUM"},
        "fixAvailable": bool(match.fixed),
        "packageType": package.kind,
        "effectiveSeverity": match.effective,
        "fileLocation": [where] if package.path else [],
    }


def _version(kind: str, text: str) -> dict[str, Any]:
    parts: dict[str, Any] = {"kind": "NORMAL", "fullName": text, "name": text}
    if kind == "OS" and (match := _DEBIAN.fullmatch(text)):
        parts |= {"name": match["name"], "epoch": int(match["epoch"] or 0), "revision": match["revision"] or ""}
    return parts


def _checked(occurrence: dict[str, Any]) -> dict[str, Any]:
    """Return the occurrence in the form of Grafeas' message, with the usual format of the two times."""
    rendered = messages.render(messages.parse(types.Occurrence.pb(), occurrence))
    return rendered | {name: occurrence[name] for name in ("createTime", "updateTime")}
