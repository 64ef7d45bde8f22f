"""Check bills of materials in both formats."""

from __future__ import annotations

import json
import re

import pytest

from sandbox.artifact_analysis import sbom
from sandbox.scanner import inventory
from tests.sandbox.artifact_analysis.scanned_images import packages_of


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        (inventory.Package("PYPI", "Zope.Interface", "7.0+local"), "pkg:pypi/zope-interface@7.0%2Blocal"),
        (
            inventory.Package("OS", "zlib", "1:1.2.13.dfsg-1"),
            "pkg:deb/debian/zlib@1%3A1.2.13.dfsg-1?arch=source&distro=debian-12",
        ),
        (
            inventory.Package("OS", "gcc-12", "12.2.0-14~x"),
            "pkg:deb/debian/gcc-12@12.2.0-14~x?arch=source&distro=debian-12",
        ),
    ],
)
def test_package_has_its_package_url(package: inventory.Package, expected: str) -> None:
    assert sbom.purl(package, inventory.OperatingSystem("debian", "12")) == expected


def test_bill_has_unique_ids_and_is_deterministic() -> None:
    twice = (
        inventory.Package("PYPI", "django", "5.2.7", 1, "/opt/a/METADATA"),
        inventory.Package("PYPI", "django", "5.2.7", 1, "/opt/b/METADATA"),
        inventory.Package("OS", "libstdc++", "1:2~3+4", 0, "/var/lib/dpkg/status"),
    )
    read = inventory.Inventory(inventory.OperatingSystem("debian", "12"), twice)
    subject = sbom.Subject("us-central1-docker.pkg.dev/p/r/i", f"sha256:{'0' * 64}")
    for write in (sbom.cyclonedx, sbom.spdx):
        document = write(read, subject, "2026-11-02T09:00:00.000000Z")
        assert document == write(read, subject, "2026-11-02T09:00:00.000000Z")
        assert len(packages_of(document)) == 2
    parsed = json.loads(sbom.spdx(read, subject, "2026-11-02T09:00:00.000000Z"))
    assert parsed["creationInfo"]["created"] == "2026-11-02T09:00:00Z"
    ids = [one["SPDXID"] for one in parsed["packages"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", one) for one in ids)
