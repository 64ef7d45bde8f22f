"""Read the findings of an image's scans through Grafeas' client."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import requests
from google.protobuf import json_format
from grafeas.grafeas_v1 import GrafeasClient, types
from grafeas.grafeas_v1.services.grafeas.transports import GrafeasRestTransport

from helpers import names, waiting
from helpers.cell import progress
from helpers.transport import clients

# Worst first. An unspecified severity comes before all others, because it may be any of them.
SEVERITIES: Final = ("SEVERITY_UNSPECIFIED", "CRITICAL", "HIGH", "MEDIUM", "LOW", "MINIMAL")
FINISHED: Final = "FINISHED_SUCCESS"
_HOST: Final = "containeranalysis.googleapis.com"
_ON_DEMAND: Final = "https://ondemandscanning.googleapis.com/v1"
# The sandbox writes the day of its advisories into descriptions, because a scan on demand has no field for it.
_TAKEN: Final = re.compile(r"snapshot of advisories of (\d{4}-\d{2}-\d{2})")
_ENDED: Final = (FINISHED, "FINISHED_FAILED", "FINISHED_UNSUPPORTED")


@dataclass(frozen=True, slots=True)
class Affected:
    """One package with a vulnerability. `fixed` is "" when there is no fixed version.

    `path` is the file that names the package, `layer` its layer's number (the lowest is 0), and `line` the Dockerfile's
    line that created the layer. They are "", None and "" where the scanner has no such data.
    """

    package: str
    version: str
    fixed: str
    kind: str
    severity: str
    path: str = ""
    layer: int | None = None
    line: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One vulnerability in an image. `score` is the CVSS base score, or None."""

    id: str
    severity: str
    score: float | None
    affected: tuple[Affected, ...]

    @property
    def fixable(self) -> bool:
        """Whether at least one affected package has a fixed version (Grafeas' `fixAvailable`)."""
        return any(one.fixed for one in self.affected)

    @property
    def rank(self) -> int:
        """The rank of the severity, 0 for the worst."""
        return SEVERITIES.index(self.severity)


@dataclass(frozen=True, slots=True)
class Scan:
    """The newest scan of an image, or one on demand. Findings are sorted, the worst first.

    `status` is Google's (`FINISHED_SUCCESS`), or "" when the image was never scanned. `reason` says why it failed.
    `advisories` is the day of the advisories that it used, or None where the scanner has no such data.
    """

    resource: str
    status: str
    findings: tuple[Finding, ...] = ()
    reason: str = ""
    finished: datetime | None = None
    advisories: datetime | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the scan has finished, so that the findings are complete."""
        return self.status == FINISHED

    @property
    def provenance(self) -> str:
        """One sentence about the age of the advisories."""
        if self.advisories is None:
            return "The scanner doesn't say how old its advisories are."
        return f"The advisories are of {self.advisories:%Y-%m-%d}: what was published later isn't in here."


class ScanMissing(RuntimeError):
    """There is no scan, or none that ended in time. The message says what to do."""


@clients.kept
def client() -> GrafeasClient:
    """Return Grafeas' client over REST. `get_grafeas_client()` would return one over gRPC.

    Raises google.auth.exceptions.DefaultCredentialsError.
    """
    return GrafeasClient(transport=GrafeasRestTransport(host=_HOST, credentials=clients.default_credentials()))


def of_packages(note: str) -> bool:
    """Return whether a discovery's note belongs to the scan for vulnerabilities.

    Google was seen to write a second discovery, COMPLIANCE, with a status of its own (config-sync 1233, May 2024).
    """
    return not note.endswith("/COMPLIANCE")


def read(image: names.Digest) -> Scan:
    """Return the current state of a pushed image's automatic scan.

    Raises google.api_core.exceptions.GoogleAPICallError.
    """
    resource = f"https://{image}"
    wanted = f'resourceUrl="{resource}" AND (kind="DISCOVERY" OR kind="VULNERABILITY")'
    found = list(client().list_occurrences(parent=image.image.repository.project.resource, filter=wanted))
    discoveries = [
        one.discovery for one in found if one.kind == types.NoteKind.DISCOVERY and of_packages(one.note_name)
    ]
    if not discoveries:
        return Scan(resource, "")
    newest = discoveries[-1]
    return Scan(
        resource,
        newest.analysis_status.name,
        order(_finding(one) for one in found if one.kind == types.NoteKind.VULNERABILITY),
        newest.analysis_status_error.message,
        _moment(newest.last_scan_time),
        _moment(newest.last_vulnerability_update_time),
    )


def wait(image: names.Digest, seconds: float = 300.0) -> Scan:
    """Wait for the automatic scan to finish or fail, and return it.

    Raises ScanMissing when it hasn't ended after `seconds`.
    """
    # A scan takes half a second in the sandbox, and a minute on Google.
    status = ""
    with progress.Status(lambda: f"scan of {image.image.path}: {status or 'not begun yet'}") as line:
        for _ in waiting.attempts(seconds, longest=5.0):
            found = read(image)
            status = found.status
            if status in _ENDED:
                return found
            line.tick()
    state = f"is {found.status}" if found.status else "hasn't begun: scanning may be off for this repository"
    raise ScanMissing(f"After {seconds:g} seconds the scan of {image} {state}.")


def on_demand(scan: str) -> Scan:
    """Return the result of `gcloud artifacts docker images scan`, by its name `projects/P/locations/us/scans/ID`.

    Its `resource` is the image as it was given to gcloud, or "" where that isn't known.

    Raises ScanMissing when there is no such scan, requests.HTTPError for other refusals.
    """
    found: list[types.Occurrence] = []
    for one in _listed(f"{scan}/vulnerabilities", "occurrences"):
        message = types.Occurrence()
        json_format.ParseDict(one, types.Occurrence.pb(message), ignore_unknown_fields=True)
        found.append(message)
    resource = found[0].resource_uri if found else _scanned_image(scan)
    days = {match[1] for one in found if (match := _TAKEN.search(one.vulnerability.long_description))}
    day = datetime.fromisoformat(f"{min(days)}T00:00:00Z") if days else None
    return Scan(resource, FINISHED, order(_finding(one) for one in found), advisories=day)


def _scanned_image(scan: str) -> str:
    """Return the image of a scan without findings, from the operation that created it, or ""."""
    try:
        made = _listed(f"{scan.partition('/scans/')[0]}/operations", "operations")
        return next((one["metadata"]["resourceUri"] for one in made if one.get("response", {}).get("scan") == scan), "")
    except (requests.HTTPError, ScanMissing):
        return ""


def _listed(path: str, key: str) -> Iterator[dict[str, Any]]:
    token = ""
    while True:
        query = {"pageSize": "1000", **({"pageToken": token} if token else {})}
        answer = clients.session().get(f"{_ON_DEMAND}/{path}", params=query, timeout=60)
        if answer.status_code == requests.codes.not_found:
            raise ScanMissing(
                f"There is no scan {path.partition('/vuln')[0]}. Google keeps one for 48 hours: scan again."
            )
        answer.raise_for_status()
        body = answer.json()
        yield from body.get(key, [])
        token = body.get("nextPageToken", "")
        if not token:
            return


def order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings sorted by severity, score and identifier, the worst first."""
    return tuple(sorted(findings, key=lambda one: (one.rank, -(one.score or 0.0), one.id)))


def counts(findings: Iterable[Finding]) -> dict[str, tuple[int, int]]:
    """Return for each severity that occurs the numbers (fixable, all), worst first."""
    everything: Counter[str] = Counter()
    fixable: Counter[str] = Counter()
    for one in findings:
        everything[one.severity] += 1
        fixable[one.severity] += one.fixable
    return {name: (fixable[name], everything[name]) for name in SEVERITIES if everything[name]}


def find(findings: Sequence[Finding], identifier: str) -> Finding | None:
    """Return a finding by its CVE."""
    return next((one for one in findings if one.id == identifier), None)


def _finding(occurrence: types.Occurrence) -> Finding:
    body = occurrence.vulnerability
    return Finding(
        id=body.short_description or occurrence.note_name.rpartition("/")[2],
        severity=body.effective_severity.name,
        score=round(float(body.cvss_score), 1) if body.cvss_version.value or body.cvss_score else None,
        affected=tuple(_affected(issue) for issue in body.package_issue),
    )


def _affected(issue: types.VulnerabilityOccurrence.PackageIssue) -> Affected:
    place = issue.file_location[0] if issue.file_location else types.FileLocation()
    details = place.layer_details
    known = bool(details.diff_id)
    return Affected(
        package=issue.affected_package,
        version=_version(issue.affected_version),
        fixed="" if issue.fixed_version.kind == types.Version.VersionKind.MAXIMUM else _version(issue.fixed_version),
        kind=issue.package_type,
        severity=issue.effective_severity.name,
        path=place.file_path,
        layer=int(details.index) if known else None,
        line=details.command if known else "",
    )


def _version(version: types.Version) -> str:
    if version.full_name:
        return str(version.full_name)
    epoch = f"{version.epoch}:" if version.epoch else ""
    return f"{epoch}{version.name}" + (f"-{version.revision}" if version.revision else "")


def _moment(value: datetime | None) -> datetime | None:
    return value if value is not None and value.timestamp() > 0 else None
