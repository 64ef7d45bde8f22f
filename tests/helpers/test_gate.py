"""The gate: every combination of severity, fix, exception and scan; none passes by accident."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from helpers import gate, pictures, response_times, scans
from helpers.gate import Allowed, BadPolicy, Policy
from helpers.scans import Affected, Finding, Scan

TODAY = date(2026, 11, 2)
REASON = "the flawed part is not in this image"
STATUSES = ("FINISHED_SUCCESS", "FINISHED_FAILED", "FINISHED_UNSUPPORTED", "PENDING", "SCANNING", "", "SOMETHING_NEW")
# Exceptions for CVE-1: none, one that holds, one on its last day, one that ended, one for another vulnerability.
EXCEPTIONS: dict[str, tuple[Allowed, ...]] = {
    "none": (),
    "holds": (Allowed("CVE-1", date(2026, 12, 31), REASON),),
    "last day": (Allowed("CVE-1", TODAY, REASON),),
    "ended": (Allowed("CVE-1", date(2026, 11, 1), REASON),),
    "another": (Allowed("CVE-2", date(2026, 12, 31), REASON),),
    "ended and holds": (Allowed("CVE-1", date(2026, 1, 1), REASON), Allowed("CVE-1", date(2027, 1, 1), REASON)),
}
COMBINATIONS = list(
    itertools.product(scans.SEVERITIES, (True, False), scans.SEVERITIES[1:], (True, False), EXCEPTIONS, STATUSES)
)


def finding(severity: str = "CRITICAL", *, fixable: bool = True, identifier: str = "CVE-1") -> Finding:
    fixed = "2.0" if fixable else ""
    return Finding(identifier, severity, 9.8, (Affected("p", "1.0", fixed, "PYPI", severity, "/opt/p", 1, "COPY"),))


def scan(*findings: Finding, status: str = "FINISHED_SUCCESS", reason: str = "") -> Scan:
    return Scan("https://host/p/r/i@sha256:0", status, findings, reason, datetime(2026, 11, 2, tzinfo=UTC))


def expected(severity: str, fixable: bool, block: str, only_fixable: bool, exception: str, status: str) -> int:
    """The rule in words, written down once more without the code's own order of severities."""
    if status != "FINISHED_SUCCESS":
        return 2
    harm = ["MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL", "SEVERITY_UNSPECIFIED"]
    if harm.index(severity) < harm.index(block):
        return 0
    if exception in ("holds", "last day", "ended and holds"):
        return 0
    return 0 if only_fixable and not fixable else 1


def test_every_combination_has_the_answer_of_the_rule() -> None:
    assert len(COMBINATIONS) == 6 * 2 * 5 * 2 * 6 * 7
    for severity, fixable, block, only_fixable, exception, status in COMBINATIONS:
        policy = Policy(block, only_fixable, EXCEPTIONS[exception])
        verdict = gate.decide(scan(finding(severity, fixable=fixable), status=status), policy, TODAY)
        wanted = expected(severity, fixable, block, only_fixable, exception, status)
        assert verdict.code == wanted, (severity, fixable, block, only_fixable, exception, status, verdict.sentence)


def test_a_pass_needs_a_scan_that_ended_well() -> None:
    """Whatever the policy says: of all combinations only those with a whole scan pass."""
    for severity, fixable, block, only_fixable, exception, status in COMBINATIONS:
        verdict = gate.decide(
            scan(finding(severity, fixable=fixable), status=status),
            Policy(block, only_fixable, EXCEPTIONS[exception]),
            TODAY,
        )
        if verdict.code == gate.PASSED:
            assert status == "FINISHED_SUCCESS"
    assert gate.decide(None, Policy(), TODAY).code == gate.UNKNOWN
    for status in STATUSES[1:]:
        assert gate.decide(scan(status=status), Policy(), TODAY).code == gate.UNKNOWN
    assert gate.decide(scan(), Policy(), TODAY).code == gate.PASSED


def test_one_finding_that_blocks_is_enough() -> None:
    others = [finding("LOW", identifier=f"CVE-{number}") for number in range(2, 9)]
    verdict = gate.decide(scan(*others, finding()), Policy(), TODAY)
    assert verdict.code == gate.BLOCKED
    assert verdict.sentence == "Blocked by 1 of 8 findings."
    assert [one.action for one in verdict.decisions].count("block") == 1


def test_the_reasons_are_told() -> None:
    ended = gate.decide(scan(finding()), Policy(allowed=EXCEPTIONS["ended"]), TODAY)
    assert ended.of("block")[0].why == "CRITICAL; its exception ended on 2026-11-01"
    unknown = gate.decide(scan(finding("SEVERITY_UNSPECIFIED")), Policy(), TODAY)
    assert unknown.of("block")[0].why == "nobody has given it a severity"
    failed = gate.decide(scan(status="FINISHED_FAILED", reason="the layer is damaged"), Policy(), TODAY)
    assert failed.sentence == "Could not tell: the scan is FINISHED_FAILED (the layer is damaged)."
    allowed = gate.decide(scan(finding()), Policy(allowed=EXCEPTIONS["holds"]), TODAY)
    assert allowed.sentence == "Passed: none of 1 findings blocks. 1 allowed by an exception."
    assert REASON in gate.text(allowed)


@pytest.mark.parametrize(
    "text",
    [
        "CVE-1",
        "CVE-1 until 2026-12-31",
        "CVE-1 until 2026-12-31:",
        "CVE-1 until 2026-12-31: short",
        "CVE-1: because I say so, really",
        "CVE-1 until 2026-13-01: there is no such month in a year",
        "CVE-1 until someday: it does no harm in this image",
        "until 2026-12-31: there is no identifier in front of it",
        "",
    ],
)
def test_an_exception_without_a_reason_or_a_day_is_refused(text: str) -> None:
    with pytest.raises(BadPolicy):
        Allowed.parse(text)


def test_an_exception_is_read_from_a_line_and_from_a_file(tmp_path: Path) -> None:
    one = Allowed.parse(f"CVE-1 until 2026-12-31: {REASON}: really")
    assert one == Allowed("CVE-1", date(2026, 12, 31), f"{REASON}: really")
    file = tmp_path / "allow.json"
    file.write_text(json.dumps([{"id": "CVE-1", "until": "2026-12-31", "reason": REASON}]))
    assert gate.read_exceptions(file) == EXCEPTIONS["holds"]
    for content in ("{}", "[1]", "nonsense", '[{"id": "CVE-1"}]', '[{"id": "", "until": "x", "reason": "y"}]'):
        file.write_text(content)
        with pytest.raises(BadPolicy):
            gate.read_exceptions(file)
    with pytest.raises(BadPolicy, match="can't be read"):
        gate.read_exceptions(tmp_path / "missing.json")


@pytest.mark.parametrize("block", ["", "critical", "WORST", "SEVERITY_UNSPECIFIED"])
def test_a_policy_needs_a_severity_that_exists(block: str) -> None:
    with pytest.raises(BadPolicy, match="is no severity"):
        Policy(block)


def test_json_and_sarif_say_the_same_as_the_text() -> None:
    findings = (finding(), finding("LOW", identifier="CVE-3"), finding(identifier="CVE-2"))
    verdict = gate.decide(scan(*findings), Policy(allowed=EXCEPTIONS["another"]), TODAY)
    told = json.loads(gate.as_json(verdict))
    assert told["verdict"] == "blocked"
    assert {one["id"]: one["action"] for one in told["findings"]} == {
        "CVE-1": "block",
        "CVE-2": "allow",
        "CVE-3": "ignore",
    }
    [run] = json.loads(gate.sarif(verdict))["runs"]
    assert {one["ruleId"]: one["level"] for one in run["results"]} == {
        "CVE-1": "error",
        "CVE-2": "warning",
        "CVE-3": "note",
    }
    assert [one["ruleId"] for one in run["results"] if one.get("suppressions")] == ["CVE-2"]
    # However it is shown, it says how old the advisories are.
    assert verdict.provenance
    assert verdict.provenance in gate.text(verdict)
    assert told["advisories"] == run["properties"]["advisories"] == verdict.provenance
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]
    [lost] = json.loads(gate.sarif(gate.decide(None, Policy(), TODAY)))["runs"]
    assert lost["invocations"][0]["executionSuccessful"] is False


def test_due_dates_follow_the_severity() -> None:
    findings = tuple(finding(name, identifier=f"CVE-{name}") for name in reversed(scans.SEVERITIES))
    due = response_times.report(findings, TODAY)
    days = {one.finding.severity: one.day for one in due}
    assert days == {
        "SEVERITY_UNSPECIFIED": TODAY,
        "CRITICAL": TODAY,
        "HIGH": date(2026, 11, 3),
        "MEDIUM": date(2026, 11, 9),
        "LOW": None,
        "MINIMAL": None,
    }
    assert [one.finding.severity for one in due] == list(scans.SEVERITIES)
    late = [one.finding.severity for one in due if one.day and one.day < date(2026, 11, 4)]
    assert late == ["SEVERITY_UNSPECIFIED", "CRITICAL", "HIGH"]
    assert response_times.summary(due, TODAY)[2] == ("HIGH", "within a day", 1, 1)


def test_the_picture_has_its_data_as_text_and_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    before = [finding(), finding(identifier="CVE-2", fixable=False), finding("SEVERITY_UNSPECIFIED", identifier="X")]
    figure = pictures.findings({"old": before, "new": []})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split("  ")[0] == "severity"
    assert printed[1].startswith("SEVERITY_UNSPECIFIED  1 + 0")
    assert printed[2].split() == ["CRITICAL", "1", "+", "1", "0", "+", "0"]
    assert "CRITICAL" in figure.svg()  # type: ignore[attr-defined]
