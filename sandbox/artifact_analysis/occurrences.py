"""What a scan says of an image, as Grafeas' occurrences: one discovery, and one for each vulnerability.

Message definitions: https://github.com/googleapis/googleapis/tree/master/grafeas/v1. Names of notes and shapes as in
facts/artifact-registry.md 4 (a published sample of Google's answers).
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

# The metrics of a CVSS 3 vector, as Grafeas spells their values.
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
    """A layer as the image's config tells it.

    Attributes:
        diff_id: its uncompressed digest.
        chain_id: the digest of it with all layers below; OCI image-spec 1.1 config.md, "Layer ChainID".
        command: the Dockerfile's line that made it.
    """

    diff_id: str
    chain_id: str
    command: str


@dataclass(frozen=True)
class Finding:
    """One match in one package of an image."""

    package: Package
    match: Match


def name_of(parent: str, *parts: str) -> str:
    """Return an occurrence's name; the same finding in the same image has the same name on every run."""
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
    """Return the occurrence that says how far the scan of an image is.

    Args:
        parent: `projects/P/locations/L`.
        resource: `https://HOST/P/R/I@sha256:…`.
        status: PENDING, SCANNING, FINISHED_SUCCESS, FINISHED_FAILED or FINISHED_UNSUPPORTED.
        taken: the day of the advisories, once they were used.
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
        # gcloud cuts nanoseconds off its end (surface/artifacts/vulnerabilities/list.py), so nine digits are sent.
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
    """One occurrence for each vulnerability, with an issue for each package that has it, by identifier."""
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
    """Return the note of a vulnerability: what the advisories about it say, whatever image has it.

    Args:
        known: those advisories, at least one.
    """
    told = list(known)
    match = max((severity.score(one.vector) or 0.0, one.vector) for one in told)
    word = severity.highest(severity.from_word(one.word) for one in told)
    details = [
        {
            "affectedPackage": affected.name,
            "packageType": "PYPI" if affected.ecosystem == "PyPI" else "OS",
            "description": affected.ecosystem,
            "affectedVersionStart": {"kind": "MINIMUM"},
            "fixedVersion": _version("", fixed) if fixed else {"kind": "MAXIMUM"},
            "severityName": severity.from_word(affected.urgency),
        }
        for one in told
        for affected in one.affected
        for fixed in [text for events in affected.ranges for kind, text in events if kind == "fixed"] or [""]
    ]
    urls = dict.fromkeys(url for one in told for url in one.urls)
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
    said = dict(part.partition(":")[::2] for part in match.vector.split("/")[1:])
    values = {
        name: f"{prefix}_{words[said[key]]}"
        for key, (name, words, prefix) in _METRICS.items()
        if said.get(key) in words
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
            # As in a recording of 2025: this one without its algorithm, the other with it.
            "diffId": layer.diff_id.removeprefix("sha256:"),
            "chainId": layer.chain_id,
            "command": layer.command,
        }
    issue: dict[str, Any] = {
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
    return issue


def _version(kind: str, text: str) -> dict[str, Any]:
    parts: dict[str, Any] = {"kind": "NORMAL", "fullName": text, "name": text}
    if kind == "OS" and (match := _DEBIAN.fullmatch(text)):
        parts |= {"name": match["name"], "epoch": int(match["epoch"] or 0), "revision": match["revision"] or ""}
    return parts


def _checked(occurrence: dict[str, Any]) -> dict[str, Any]:
    """As Grafeas' own message type writes it; the two times as they are written everywhere else."""
    rendered = messages.render(messages.parse(types.Occurrence.pb(), occurrence))
    return rendered | {name: occurrence[name] for name in ("createTime", "updateTime")}
