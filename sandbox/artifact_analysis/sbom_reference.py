"""SBOM_REFERENCE occurrences, which refer to the bill of materials of an image.

Fields: grafeas/v1/sbom.proto, and gcloud's command_lib/artifacts/sbom_util.py, which writes the same for `sbom load`.
A statement's type is `_type` in JSON, and `type` in the messages' Python classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from grafeas.grafeas_v1 import types

from sandbox.api import messages
from sandbox.artifact_analysis import occurrences

# unverified: the note's name
NOTE: Final = "projects/goog-analysis/notes/sbom-spdx-2-3"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v0.1"
_PREDICATE: Final = "https://bcid.corp.google.com/reference/v0.1"
_REFERRER: Final = "https://containeranalysis.googleapis.com/ArtifactAnalysis@v0.1"


def parse(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a client's occurrence after checking it with Grafeas' message, or raise INVALID_ARGUMENT."""
    given = dict(body)
    reference = given.get("sbomReference")
    if isinstance(reference, Mapping) and isinstance(reference.get("payload"), Mapping):
        payload = {"type" if key == "_type" else key: value for key, value in reference["payload"].items()}
        given["sbomReference"] = {**reference, "payload": payload}
    rendered = messages.render(messages.parse(types.Occurrence.pb(), given, "occurrence"))
    payload = rendered.get("sbomReference", {}).get("payload", {})
    if "type" in payload:
        payload["_type"] = payload.pop("type")
    return rendered


def occurrence(
    parent: str, resource: str, location: str, digest: str, media_type: str, created: str, now: str
) -> dict[str, Any]:
    """Return the reference to an image's bill. On Google, Artifact Analysis signs it.

    Args:
        resource: `https://HOST/P/R/I@sha256:…`.
        location: `gs://BUCKET/OBJECT`.
        digest: SHA-256 of the bill in hexadecimal.
    """
    image, _, own = resource.removeprefix("https://").partition("@sha256:")
    body = {
        "resourceUri": resource,
        "noteName": NOTE,
        "kind": "SBOM_REFERENCE",
        "sbomReference": {
            "payloadType": _PAYLOAD_TYPE,
            "payload": {
                "_type": _STATEMENT,
                "predicateType": _PREDICATE,
                "subject": [{"name": f"{image}@sha256:{own}", "digest": {"sha256": own}}],
                "predicate": {
                    "referrerId": _REFERRER,
                    "location": location,
                    "mimeType": media_type,
                    "digest": {"sha256": digest},
                },
            },
        },
    }
    name = occurrences.name_of(parent, resource, NOTE)
    return parse(body) | {"name": name, "createTime": created, "updateTime": now}
