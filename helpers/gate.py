"""The gate decides by a policy whether an image passes with the findings of its scan. Pure.

The exit status is 0 for passed, 1 for blocked, and 2 for unknown. A scan that could not be read never passes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from helpers import scans
from helpers.scans import Finding, Scan

PASSED: Final = 0
BLOCKED: Final = 1
UNKNOWN: Final = 2

_ENTRY: Final = re.compile(r"(?P<id>\S+)\s+until\s+(?P<until>\d{4}-\d{2}-\d{2})\s*:\s*(?P<reason>.+)", re.DOTALL)
_FORM: Final = 'write "CVE-2024-12345 until 2026-12-31: why it does no harm here"'


class BadPolicy(ValueError):
    """An invalid policy. The message says what is wrong and what to write instead."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """An exception to the policy for one vulnerability, with a reason and its last day."""

    id: str
    until: date
    reason: str

    @classmethod
    def parse(cls, text: str) -> Allowed:
        """Read `CVE-… until YYYY-MM-DD: reason`. Raises BadPolicy without a day or a reason."""
        match = _ENTRY.fullmatch(text.strip())
        if not match:
            raise BadPolicy(f"An exception needs a reason and a last day; {text!r} lacks one: {_FORM}.")
        return cls.of({"id": match["id"], "until": match["until"], "reason": match["reason"]})

    @classmethod
    def of(cls, entry: Any) -> Allowed:
        """Read an entry of a file: {"id", "until", "reason"}. Raises BadPolicy."""
        if not isinstance(entry, dict) or set(entry) != {"id", "until", "reason"}:
            raise BadPolicy(f'An exception is {{"id": …, "until": …, "reason": …}}, not {json.dumps(entry)[:200]}.')
        identifier, until, reason = (str(entry[key]).strip() for key in ("id", "until", "reason"))
        if not identifier or len(reason) < 10:
            raise BadPolicy(f"The exception for {identifier or 'nothing'} needs a reason of ten letters or more.")
        try:
            return cls(identifier, date.fromisoformat(until), reason)
        except ValueError:
            raise BadPolicy(f"The exception for {identifier} ends on {until!r}, which is no day: {_FORM}.") from None


@dataclass(frozen=True, slots=True)
class Policy:
    """Findings of severity `block` or worse block, with `only_fixable` only those with a fixed version."""

    block: str = "CRITICAL"
    only_fixable: bool = False
    allowed: tuple[Allowed, ...] = ()

    def __post_init__(self) -> None:
        if self.block not in scans.SEVERITIES[1:]:
            raise BadPolicy(f"{self.block!r} is no severity: write one of {', '.join(scans.SEVERITIES[1:])}.")


@dataclass(frozen=True, slots=True)
class Decision:
    """The policy's decision about one finding, `block`, `allow` or `ignore`, and the reason."""

    finding: Finding
    action: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's verdict. `code` is the exit status. `decisions` are in the order of the scan's findings."""

    code: int
    sentence: str
    resource: str
    provenance: str
    decisions: tuple[Decision, ...] = ()

    def of(self, action: str) -> tuple[Decision, ...]:
        """Return the decisions with an action."""
        return tuple(one for one in self.decisions if one.action == action)


def decide(scan: Scan | None, policy: Policy, today: date) -> Verdict:
    """Return the verdict on a scan, which is None for an image that was not scanned."""
    if scan is None or not scan.status:
        resource = scan.resource if scan else ""
        return Verdict(UNKNOWN, "Could not tell: the image was not scanned.", resource, "")
    if not scan.succeeded:
        because = f" ({scan.reason})" if scan.reason else ""
        return Verdict(UNKNOWN, f"Could not tell: the scan is {scan.status}{because}.", scan.resource, "")
    decisions = tuple(_decision(one, policy, today) for one in scan.findings)
    stopped = sum(one.action == "block" for one in decisions)
    spared = sum(one.action == "allow" for one in decisions)
    excepted = f" {spared} allowed by an exception." if spared else ""
    if stopped:
        sentence = f"Blocked by {stopped} of {len(decisions)} findings.{excepted}"
        return Verdict(BLOCKED, sentence, scan.resource, scan.provenance, decisions)
    sentence = f"Passed: none of {len(decisions)} findings blocks.{excepted}"
    return Verdict(PASSED, sentence, scan.resource, scan.provenance, decisions)


def _decision(finding: Finding, policy: Policy, today: date) -> Decision:
    threshold = scans.SEVERITIES.index(policy.block)
    unknown = finding.severity == scans.SEVERITIES[0]
    if finding.rank > threshold:
        return Decision(finding, "ignore", f"below {policy.block}")
    entries = [one for one in policy.allowed if one.id == finding.id]
    valid = [one for one in entries if one.until >= today]
    if valid:
        last = max(valid, key=lambda one: one.until)
        return Decision(finding, "allow", f"until {last.until}: {last.reason}")
    if policy.only_fixable and not finding.fixable:
        return Decision(finding, "ignore", "no fixed version is out")
    ended = f"; its exception ended on {max(one.until for one in entries)}" if entries else ""
    what = "nobody has given it a severity" if unknown else finding.severity
    return Decision(finding, "block", f"{what}{ended}")


def read_exceptions(path: Path) -> tuple[Allowed, ...]:
    """Read a file with a list of {"id", "until", "reason"}. Raises BadPolicy, also for an unreadable file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadPolicy(f"{path} can't be read: {error.strerror}.") from None
    except ValueError as error:
        raise BadPolicy(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, list):
        raise BadPolicy(f"{path} holds no list: write [ … ] around its entries.")
    return tuple(Allowed.of(entry) for entry in content)


def text(verdict: Verdict) -> str:
    """Return the verdict as text, with each finding that blocks or is allowed."""
    lines = [verdict.sentence]
    for one in (*verdict.of("block"), *verdict.of("allow")):
        lines.append(f"  {one.action:5}  {one.finding.id:16}  {_packages(one.finding.affected)}  ({one.why})")
    return "\n".join([*lines, *([verdict.provenance] if verdict.provenance else [])])


def as_json(verdict: Verdict) -> str:
    """Return the verdict with all findings as JSON."""
    return json.dumps(
        {
            "verdict": ("passed", "blocked", "unknown")[verdict.code],
            "sentence": verdict.sentence,
            "resource": verdict.resource,
            "advisories": verdict.provenance,
            "findings": [
                {
                    "id": one.finding.id,
                    "severity": one.finding.severity,
                    "score": one.finding.score,
                    "action": one.action,
                    "why": one.why,
                    "packages": [
                        {"name": item.package, "version": item.version, "fixed": item.fixed, "path": item.path}
                        for item in one.finding.affected
                    ],
                }
                for one in verdict.decisions
            ],
        },
        indent=1,
    )


def sarif(verdict: Verdict) -> str:
    """Return the verdict as SARIF 2.1.0: https://docs.oasis-open.org/sarif/sarif/v2.1.0/.

    Findings that block are errors, and exceptions are suppressed. A scan that could not be read is a failed
    invocation, not a run without results.
    """
    levels = {"block": "error", "allow": "warning", "ignore": "note"}
    rules = {one.finding.id: {"id": one.finding.id, "name": one.finding.id} for one in verdict.decisions}
    results = []
    for one in verdict.decisions:
        path = next((item.path for item in one.finding.affected if item.path), "")
        entry: dict[str, Any] = {
            "ruleId": one.finding.id,
            "level": levels[one.action],
            "message": {"text": f"{one.finding.severity}: {_packages(one.finding.affected)} ({one.why})"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": path.lstrip("/") or "image"}}}],
        }
        if one.action == "allow":
            entry["suppressions"] = [{"kind": "external", "justification": one.why}]
        results.append(entry)
    run = {
        "tool": {"driver": {"name": "workbook-gate", "rules": list(rules.values())}},
        "invocations": [{"executionSuccessful": verdict.code != UNKNOWN, "exitCode": verdict.code}],
        "results": results,
        "properties": {"image": verdict.resource, "advisories": verdict.provenance},
    }
    return json.dumps(
        {"version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "runs": [run]}, indent=1
    )


def _packages(affected: Iterable[scans.Affected]) -> str:
    return ", ".join(
        f"{one.package} {one.version}" + (f", fixed in {one.fixed}" if one.fixed else ", no fix") for one in affected
    )
