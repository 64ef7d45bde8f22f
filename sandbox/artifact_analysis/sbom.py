"""Write an inventory as a bill of materials in CycloneDX 1.6 and SPDX 2.3. Deterministic.

Specifications: https://cyclonedx.org/docs/1.6/json/, https://spdx.github.io/spdx-spec/v2.3/ and, for the package URLs,
https://github.com/package-url/purl-spec (types `deb` and `pypi`).

Without the standards' libraries, which would add a dozen packages to the environment; but
tests/soak/test_scanner_oracles.py checks the documents with them.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from packaging.utils import canonicalize_name

from sandbox.scanner.inventory import Inventory, Package
from sandbox.scanner.package_lists import OperatingSystem

CYCLONEDX: Final = "application/vnd.cyclonedx+json"
SPDX: Final = "application/spdx+json"
_SPACE: Final = uuid.UUID("0f2c8e5a-9f5b-4d53-8f6c-3c3f4c9b1d21")
_TOOL: Final = "artifact-registry-workbook"


@dataclass(frozen=True)
class Subject:
    """The image in the bill: `us-central1-docker.pkg.dev/P/R/I`, and its digest `sha256:…`."""

    name: str
    digest: str


def cyclonedx(read: Inventory, subject: Subject, created: str) -> bytes:
    """Return CycloneDX 1.6 as JSON; `created` is RFC 3339."""
    components = [
        {
            "type": "library",
            "bom-ref": _reference(package),
            "name": package.name,
            "version": package.version,
            "purl": purl(package, read.system),
            "properties": [{"name": "workbook:path", "value": package.path}],
        }
        for package in read.packages
    ]
    system = {
        "type": "operating-system",
        "bom-ref": "operating-system",
        "name": read.system.id,
        "version": read.system.version,
    }
    image = {"type": "container", "bom-ref": "image", "name": subject.name, "version": subject.digest}
    return _bytes(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{_identity(subject)}",
            "version": 1,
            "metadata": {
                "timestamp": created,
                "tools": {"components": [{"type": "application", "name": _TOOL}]},
                "component": image,
            },
            "components": [system, *components],
        }
    )


def spdx(read: Inventory, subject: Subject, created: str) -> bytes:
    """Return SPDX 2.3 as JSON; `created` is RFC 3339, which SPDX reduces to whole seconds."""
    packages: list[dict[str, Any]] = [
        {
            "SPDXID": f"SPDXRef-{_reference(package)}",
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": purl(package, read.system),
                }
            ],
        }
        for package in read.packages
    ]
    image = {
        "SPDXID": "SPDXRef-image",
        "name": subject.name,
        "versionInfo": subject.digest,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
    }
    relations = [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": "SPDXRef-image", "relationshipType": "DESCRIBES"}
    ]
    relations += [
        {"spdxElementId": "SPDXRef-image", "relatedSpdxElement": package["SPDXID"], "relationshipType": "CONTAINS"}
        for package in packages
    ]
    return _bytes(
        {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": subject.name,
            "documentNamespace": f"urn:uuid:{_identity(subject)}",
            "creationInfo": {
                "created": re.sub(r"\.\d+Z$", "Z", created),
                "creators": [f"Tool: {_TOOL}"],
            },
            "packages": [image, *packages],
            "relationships": relations,
        }
    )


def purl(package: Package, system: OperatingSystem) -> str:
    """Return `pkg:deb/debian/glibc@2.36-9?arch=source&distro=debian-12` or `pkg:pypi/django@5.2.7`."""
    if package.kind == "PYPI":
        return f"pkg:pypi/{quote(canonicalize_name(package.name))}@{quote(package.version, safe='')}"
    # The OS packages of an inventory are source packages.
    name, version = quote(package.name.lower(), safe=""), quote(package.version, safe="~")
    return f"pkg:deb/{quote(system.id)}/{name}@{version}?arch=source&distro={quote(f'{system.id}-{system.version}')}"


def _identity(subject: Subject) -> uuid.UUID:
    return uuid.uuid5(_SPACE, f"{subject.name}@{subject.digest}")


def _reference(package: Package) -> str:
    """Return an identifier in SPDX's alphabet. It includes the path, since two environments can have one package."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", f"{package.kind}-{package.name}-{package.version}")
    return f"{plain}-{uuid.uuid5(_SPACE, f'{package.kind} {package.name} {package.version} {package.path}').hex[:8]}"


def _bytes(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()
