"""Match versions at the limits of ranges, and compare the orders with dpkg, packaging and SemVer's specification."""

from __future__ import annotations

import ast
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from sandbox.scanner import advisories, severity, snapshot, version_order
from sandbox.scanner.advisories import Database

SHIPPED = snapshot.SHIPPED / "pypi.json"
# 595 records, which are not part of the repository
LARGER = Path(__file__).parents[4] / "shared" / "data" / "advisories" / "pypi-45-packages.json"


def advisory(ecosystem: str, *ranges: list[dict[str, str]], name: str = "p", **more: Any) -> dict[str, Any]:
    kind = "SEMVER" if ecosystem in ("npm", "Go", "crates.io") else "ECOSYSTEM"
    affected = {
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": kind, "events": events} for events in ranges],
        **more.pop("of", {}),
    }
    return {"id": "TEST-1", "affected": [affected], **more}


def matches(entry: dict[str, Any], version: str, name: str = "p") -> list[advisories.Match]:
    ecosystem = entry["affected"][0]["package"]["ecosystem"]
    return Database("2026-01-01", "test", (advisories.read(entry),)).match(ecosystem, name, version)


def since(introduced: str, **end: str) -> list[dict[str, str]]:
    return [{"introduced": introduced}, *({key: value} for key, value in end.items())]


# (ecosystem, events of each range, version, affected?)
BORDERS: list[tuple[str, tuple[list[dict[str, str]], ...], str, bool]] = [
    # introduced and fixed
    ("PyPI", (since("0", fixed="2.0"),), "0.0.1", True),
    ("PyPI", (since("0", fixed="2.0"),), "0", True),
    ("PyPI", (since("0", fixed="2.0"),), "1.9.9", True),
    ("PyPI", (since("0", fixed="2.0"),), "2.0", False),
    ("PyPI", (since("0", fixed="2.0"),), "2.0.0", False),
    ("PyPI", (since("0", fixed="2.0"),), "2", False),
    ("PyPI", (since("1.0", fixed="2.0"),), "0.9", False),
    ("PyPI", (since("1.0", fixed="2.0"),), "1.0", True),
    ("PyPI", (since("1.0", fixed="2.0"),), "1", True),
    ("PyPI", (since("1.0"),), "99", True),
    ("PyPI", (since("0"),), "1.0", True),
    # last affected
    ("PyPI", (since("1.0", last_affected="1.5"),), "1.5", True),
    ("PyPI", (since("1.0", last_affected="1.5"),), "1.5.0", True),
    ("PyPI", (since("1.0", last_affected="1.5"),), "1.5.1", False),
    ("PyPI", (since("1.0", last_affected="1.5"),), "1.5.post1", False),
    ("PyPI", (since("1.0", last_affected="1.0"),), "1.0", True),
    # several ranges, and several pairs in one
    (
        "PyPI",
        (since("4.2", fixed="4.2.26"), since("5.0", fixed="5.1.14"), since("5.2", fixed="5.2.8")),
        "4.2.26",
        False,
    ),
    ("PyPI", (since("4.2", fixed="4.2.26"), since("5.0", fixed="5.1.14"), since("5.2", fixed="5.2.8")), "5.0", True),
    (
        "PyPI",
        (since("4.2", fixed="4.2.26"), since("5.0", fixed="5.1.14"), since("5.2", fixed="5.2.8")),
        "5.1.14",
        False,
    ),
    ("PyPI", (since("4.2", fixed="4.2.26"), since("5.0", fixed="5.1.14"), since("5.2", fixed="5.2.8")), "5.2.7", True),
    ("PyPI", (since("4.2", fixed="4.2.26"), since("5.0", fixed="5.1.14"), since("5.2", fixed="5.2.8")), "5.2.8", False),
    ("PyPI", ([*since("1", fixed="2"), *since("3", fixed="4")],), "2.5", False),
    ("PyPI", ([*since("1", fixed="2"), *since("3", fixed="4")],), "3.0", True),
    ("PyPI", ([*since("3", fixed="4"), *since("1", fixed="2")],), "1.5", True),
    ("PyPI", ([*since("3", fixed="4"), *since("1", fixed="2")],), "2", False),
    # pre-releases, post-releases, development and local versions, epochs (PEP 440)
    ("PyPI", (since("0", fixed="2.0"),), "2.0rc1", True),
    ("PyPI", (since("0", fixed="2.0"),), "2.0.dev1", True),
    ("PyPI", (since("0", fixed="2.0"),), "2.0a0", True),
    ("PyPI", (since("0", fixed="2.0rc1"),), "2.0b9", True),
    ("PyPI", (since("0", fixed="2.0rc1"),), "2.0rc1", False),
    ("PyPI", (since("0", fixed="2.0"),), "2.0.post1", False),
    ("PyPI", (since("2.0"),), "2.0.dev1", False),
    ("PyPI", (since("0", fixed="2.0"),), "1.9+local.1", True),
    ("PyPI", (since("0", fixed="2.0"),), "2.0+local.1", False),
    ("PyPI", (since("0", fixed="2.0"),), "1!0.1", False),
    ("PyPI", (since("1!0", fixed="1!2"),), "3.0", False),
    ("PyPI", (since("0", fixed="1.10"),), "1.9", True),
    ("PyPI", (since("0", fixed="1.9"),), "1.10", False),
    ("PyPI", (since("0", fixed="2.0"),), "v1.0", True),
    # Debian: epochs, tildes, revisions, security updates
    ("Debian:12", (since("0", fixed="1.2-3"),), "1.2-2", True),
    ("Debian:12", (since("0", fixed="1.2-3"),), "1.2-3", False),
    ("Debian:12", (since("0", fixed="1.2-3"),), "1.2-3~bpo12+1", True),
    ("Debian:12", (since("0", fixed="1.2-3"),), "1.2-3+deb12u1", False),
    ("Debian:12", (since("0", fixed="2.36-9+deb12u10"),), "2.36-9+deb12u9", True),
    ("Debian:12", (since("0", fixed="2.36-9+deb12u10"),), "2.36-9+deb12u14", False),
    ("Debian:12", (since("0", fixed="2.36-9+deb12u10"),), "2.36-9", True),
    ("Debian:12", (since("0", fixed="1:1.3.dfsg-2"),), "1:1.2.13.dfsg-1", True),
    ("Debian:12", (since("0", fixed="1:1.3.dfsg-2"),), "9.9-1", True),
    ("Debian:12", (since("0", fixed="1.3-2"),), "1:0.1-1", False),
    ("Debian:12", (since("0", fixed="0:1.3-2"),), "1.3-2", False),
    ("Debian:12", (since("0", fixed="2.0"),), "2.0~rc1-1", True),
    ("Debian:12", (since("0", fixed="2.0~rc2"),), "2.0~rc1", True),
    ("Debian:12", (since("0", fixed="2.0~"),), "2.0~~", True),
    ("Debian:12", (since("0", fixed="2.0"),), "2.0-0", False),
    ("Debian:12", (since("0", fixed="1.10-1"),), "1.9-1", True),
    ("Debian:12", (since("0", fixed="1.0.1"),), "1.0a", True),
    ("Debian:12", (since("0", fixed="1.0+b"),), "1.0a", True),
    ("Debian:12", (since("1.1"),), "1.1~beta", False),
    ("Debian:12", (since("0", last_affected="1.1-1"),), "1.1-1", True),
    ("Debian:12", (since("0", last_affected="1.1-1"),), "1.1-1+deb12u1", False),
    ("Debian:12", (since("0"),), "0~", True),
    # semantic versions
    ("npm", (since("0", fixed="4.17.21"),), "4.17.4", True),
    ("npm", (since("0", fixed="4.17.21"),), "4.17.21", False),
    ("npm", (since("0", fixed="2.0.0"),), "2.0.0-rc.1", True),
    ("npm", (since("2.0.0-alpha.2", fixed="2.0.0"),), "2.0.0-alpha.1", False),
    ("npm", (since("2.0.0-alpha.2", fixed="2.0.0"),), "2.0.0-alpha.10", True),
    ("npm", (since("2.0.0-alpha.2", fixed="2.0.0"),), "2.0.0-beta", True),
    ("npm", (since("1.0.0", last_affected="1.2.3"),), "1.2.3", True),
    ("npm", (since("1.0.0", last_affected="1.2.3"),), "1.2.4", False),
    ("Go", (since("0", fixed="1.2.0"),), "1.10.0", False),
]


@pytest.mark.parametrize(("ecosystem", "ranges", "version", "affected"), BORDERS)
def test_version_is_affected_within_the_limits_of_a_range(
    ecosystem: str, ranges: tuple[list[dict[str, str]], ...], version: str, affected: bool
) -> None:
    assert bool(matches(advisory(ecosystem, *ranges), version)) is affected


def test_there_are_at_least_sixty_borders() -> None:
    assert len(BORDERS) >= 60


def _texts(ecosystem: str) -> list[str]:
    found = {version for of, _, version, _ in BORDERS if of == ecosystem}
    for of, ranges, _, _ in BORDERS:
        if of == ecosystem:
            found |= {value for events in ranges for event in events for value in event.values()}
    return sorted(found)


def test_debian_order_equals_dpkgs() -> None:
    if not shutil.which("dpkg"):
        pytest.skip("dpkg isn't on this machine")
    pairs = list(itertools.combinations(_texts("Debian:12"), 2))
    script = "\n".join(
        f"if dpkg --compare-versions '{a}' lt '{b}'; then echo lt; "
        f"elif dpkg --compare-versions '{a}' eq '{b}'; then echo eq; else echo gt; fi"
        for a, b in pairs
    )
    theirs = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    ours = []
    for a, b in pairs:
        one, other = version_order.key("Debian:12", a), version_order.key("Debian:12", b)
        ours.append("lt" if one < other else "gt" if one > other else "eq")
    wrong = [(pair, mine, dpkg) for pair, mine, dpkg in zip(pairs, ours, theirs, strict=True) if mine != dpkg]
    assert not wrong


def test_semver_order_equals_the_specifications() -> None:
    # https://semver.org/#spec-item-11
    listed = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
    listed += ["1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1"]
    keys = [version_order.key("npm", text) for text in listed]
    assert all(a < b for a, b in itertools.combinations(keys, 2))


def test_withdrawn_advisory_does_not_match() -> None:
    assert not matches(advisory("PyPI", since("0"), withdrawn="2026-01-01T00:00:00Z"), "1.0")


def test_listed_versions_match() -> None:
    listed = advisory("PyPI", of={"versions": ["1.0", "1.1-weird"]})
    assert matches(listed, "1.0")
    assert matches(listed, "1.1-weird")
    assert not matches(listed, "1.2")


def test_ranges_of_commits_are_ignored() -> None:
    commits = advisory("PyPI")
    commits["affected"][0]["ranges"] = [{"type": "GIT", "events": [{"introduced": "0"}]}]
    assert not matches(commits, "1.0")


def test_invalid_version_does_not_match() -> None:
    assert not matches(advisory("PyPI", since("0")), "not a version")
    assert not matches(advisory("PyPI", since("0", fixed="also not one")), "1.0")
    assert not matches(advisory("Bioconductor", since("0")), "1.0")


@pytest.mark.parametrize("name", ["Zope.Interface", "zope-interface", "ZOPE__interface", "zope.interface"])
def test_python_names_are_normalised(name: str) -> None:
    assert matches(advisory("PyPI", since("0"), name="zope.interface"), "1.0", name)


def test_debian_releases_are_separate() -> None:
    database = Database("2026-01-01", "test", (advisories.read(advisory("Debian:12", since("0"))),))
    assert database.match("Debian:12", "p", "1")
    assert not database.match("Debian:13", "p", "1")


def test_aliases_are_merged_with_the_later_fix() -> None:
    one = advisory("PyPI", since("0", fixed="2.0"), id="GHSA-1", aliases=["CVE-2026-1"])
    two = advisory("PyPI", since("0", fixed="2.1"), id="PYSEC-1", aliases=["CVE-2026-1", "GHSA-1"])
    apart = advisory("PyPI", since("0", fixed="3.0"), id="PYSEC-2")
    bridge = advisory("PyPI", since("0", fixed="2.0"), id="X-1", aliases=["GHSA-1"])
    found = Database("2026-01-01", "test", tuple(map(advisories.read, (one, two, apart, bridge)))).match(
        "PyPI", "p", "1.0"
    )
    assert [(match.id, match.fixed) for match in found] == [("CVE-2026-1", "2.1"), ("PYSEC-2", "3.0")]
    assert found[0].aliases == ("GHSA-1", "PYSEC-1", "X-1")


@pytest.mark.parametrize(
    ("version", "fixed"), [("4.2.1", "4.2.26"), ("5.0", "5.1.14"), ("5.2.7", "5.2.8"), ("5.1.13", "5.1.14")]
)
def test_fix_is_from_the_same_branch(version: str, fixed: str) -> None:
    entry = advisory("PyPI", since("4.2", fixed="4.2.26"), since("5.0", fixed="5.1.14"), since("5.2", fixed="5.2.8"))
    assert [match.fixed for match in matches(entry, version)] == [fixed]


@pytest.mark.parametrize(
    ("vectors", "urgency", "assigned", "effective"),
    [
        (["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"], "", "CRITICAL", "CRITICAL"),
        (["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"], "unimportant", "CRITICAL", "MINIMAL"),
        (["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"], "not yet assigned", "CRITICAL", "CRITICAL"),
        (["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"], "low", "HIGH", "LOW"),
        (["CVSS:3.0/AV:L/AC:L/PR:L/UI:N/S:C/C:N/I:H/A:N"], "", "MEDIUM", "MEDIUM"),
        (["CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:P/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N"], "", "LOW", "LOW"),
        (["AV:N/AC:L/Au:N/C:C/I:C/A:C"], "", "CRITICAL", "CRITICAL"),
        (["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N"], "", "MINIMAL", "MINIMAL"),
        (["CVSS:3.1/nonsense"], "", "SEVERITY_UNSPECIFIED", "SEVERITY_UNSPECIFIED"),
        ([], "high", "SEVERITY_UNSPECIFIED", "HIGH"),
        ([], "", "SEVERITY_UNSPECIFIED", "SEVERITY_UNSPECIFIED"),
    ],
)
def test_effective_severity_is_the_distributions_if_any(
    vectors: list[str], urgency: str, assigned: str, effective: str
) -> None:
    kind = {"CVSS:4": "CVSS_V4", "CVSS:3": "CVSS_V3"}
    entry = advisory(
        "Debian:12",
        since("0"),
        severity=[{"type": kind.get(one[:6], "CVSS_V2"), "score": one} for one in vectors],
        of={"ecosystem_specific": {"urgency": urgency}},
    )
    [match] = matches(entry, "1.0")
    assert (match.assigned, match.effective) == (assigned, effective)


def test_severity_word_is_used_without_a_vector() -> None:
    [match] = matches(advisory("PyPI", since("0"), database_specific={"severity": "MODERATE"}), "1")
    assert match.effective == "MEDIUM"


@pytest.mark.parametrize(
    ("score", "band"),
    [
        *[(0.0, "MINIMAL"), (0.1, "LOW"), (3.9, "LOW"), (4.0, "MEDIUM"), (6.9, "MEDIUM"), (7.0, "HIGH"), (8.9, "HIGH")],
        *[(9.0, "CRITICAL"), (10.0, "CRITICAL")],
    ],
)
def test_score_has_its_band(score: float, band: str) -> None:
    assert severity.from_score(score) == band


def test_shipped_snapshot_is_complete() -> None:
    shipped = snapshot.load()
    assert shipped.taken == "2026-07-23"
    for database in shipped.databases:
        assert len(database.source) > 40
        for one in database.advisories:
            assert one.affected, one.id
            assert one.urls, one.id
            assert not one.withdrawn, one.id
            for affected in one.affected:
                for events in affected.ranges:
                    for kind, text in events:
                        assert text == "0" or version_order.key(affected.ecosystem, text), (one.id, kind)


def test_newer_file_replaces_the_shipped_one_and_a_broken_one_is_reported(tmp_path: Path) -> None:
    entry = advisory("PyPI", since("0"), name="django", aliases=["CVE-2027-1"])
    newer = {"taken": "2027-01-01", "source": "a test", "advisories": [entry]}
    (tmp_path / "pypi.json").write_text(json.dumps(newer))
    found = snapshot.load(tmp_path)
    assert {database.taken for database in found.databases} == {"2027-01-01", "2026-11-22"}
    assert [match.id for database in found.databases for match in database.match("PyPI", "Django", "9")] == [
        "CVE-2027-1"
    ]
    (tmp_path / "pypi.json").write_text("{}")
    with pytest.raises(snapshot.SnapshotBroken, match=r"pypi\.json can't be read"):
        snapshot.load(tmp_path)


@pytest.mark.parametrize(
    ("path", "least"),
    [
        pytest.param(SHIPPED, 500, id="shipped"),
        pytest.param(
            LARGER,
            3000,
            id="larger",
            marks=pytest.mark.skipif(not LARGER.exists(), reason="the larger snapshot isn't beside the repository"),
        ),
    ],
)
def test_snapshot_equals_a_plain_evaluation(path: Path, least: int) -> None:
    """Check the versions in the events of each record, and the versions just before and after them."""
    content = json.loads(path.read_text())
    records = content["advisories"] if path == SHIPPED else content
    checked = 0
    for record in records:
        parsed = advisories.read(record)
        for item, affected in zip(record["affected"], parsed.affected, strict=True):
            for one in item.get("ranges", []):
                if one["type"] != "ECOSYSTEM":
                    continue
                for event in one["events"]:
                    [(_, text)] = event.items()
                    for version in (text, f"{text}.post1", f"{text}rc1" if text != "0" else "0.1"):
                        try:
                            Version(version)
                        except ValueError:
                            continue
                        checked += 1
                        assert advisories.is_affected(affected, version) is _plain(item, version), (
                            record["id"],
                            version,
                        )
    assert checked > least


def _plain(item: dict[str, Any], version: str) -> bool:
    """Return whether a version is affected, by the last event at or before it, with the order of packaging."""
    if version in (item.get("versions") or []):
        return True
    for one in item["ranges"]:
        if one["type"] != "ECOSYSTEM":
            continue
        state = False
        events = [(key, text) for event in one["events"] for key, text in event.items()]
        events.sort(key=lambda event: (Version(event[1]), event[0] == "introduced"))
        for key, text in events:
            if key == "last_affected":
                state = state and Version(version) <= Version(text)
            elif text == "0" or Version(text) <= Version(version):
                state = key == "introduced"
        if state:
            return True
    return False


def test_matching_imports_nothing_impure() -> None:
    """The modules of pure functions import only the listed modules of the scanner, and none with state or effects."""
    allowed = {"advisories": {"severity", "version_order"}, "severity": set(), "version_order": set()}
    for name, own in allowed.items():
        tree = ast.parse((Path(advisories.__file__).parent / f"{name}.py").read_text())
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        ours = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "sandbox.scanner"
            for alias in node.names
        } | {module.removeprefix("sandbox.scanner.") for module in imported if module.startswith("sandbox.scanner.")}
        assert ours <= own, name
        assert not imported & {"os", "pathlib", "datetime", "time", "random", "requests", "sqlite3"}, name
