"""Images for tests of scans, the occurrences about them, and the packages in their bills of materials."""

from __future__ import annotations

import json
import secrets
from typing import Any

from google.auth.transport.requests import AuthorizedSession

from helpers import names, registry
from tests.sandbox.scanner.test_layers import STATUS

SERVICES = (
    "artifactregistry.googleapis.com",
    "containeranalysis.googleapis.com",
    "ondemandscanning.googleapis.com",
    "containerscanning.googleapis.com",
)
OS_RELEASE = {"usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n'}
DPKG = {"var/lib/dpkg/status": STATUS.decode()}
DJANGO = {"opt/venv/lib/python3.11/site-packages/Django-5.2.7.dist-info/METADATA": "Name: Django\nVersion: 5.2.7\n"}


def push(repository: names.Repository, *layers: dict[str, str], name: str = "app", tag: str = "v1") -> names.Digest:
    """Push an image with a unique digest, since a digest is scanned only once."""
    own = {"etc/own": secrets.token_hex(8)}
    return registry.push(repository.image(name).tag(tag), [*layers, own])


def occurrences_of(session: AuthorizedSession, digest: names.Digest, kind: str) -> list[dict[str, Any]]:
    """Return an image's occurrences of one kind."""
    answer = session.get(
        f"https://containeranalysis.googleapis.com/v1/{digest.image.repository.project.resource}/occurrences",
        params={"filter": f'kind="{kind}" AND resourceUrl="https://{digest}"', "pageSize": "1000"},
    )
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json().get("occurrences", [])
    return found


def packages_of(document: bytes) -> set[tuple[str, str]]:
    """Return the name and version of each package in a bill of either format."""
    content = json.loads(document)
    if content.get("bomFormat") == "CycloneDX":
        return {(one["name"], one["version"]) for one in content["components"] if one["type"] == "library"}
    return {(one["name"], one["versionInfo"]) for one in content["packages"] if one["SPDXID"] != "SPDXRef-image"}
