"""`projects.projectSettings`: the redirection of gcr.io.

Source: google/devtools/artifactregistry/v1/settings.proto and `gcloud artifacts settings`.
"""

from __future__ import annotations

import json
from typing import Any

from google.cloud.artifactregistry_v1 import types

from sandbox.api import field_masks, messages
from sandbox.api.methods import Call, Method
from sandbox.errors import ApiError, invalid

_PATH = "/v1/projects/{project}/projectSettings"
_FIELDS = ("legacyRedirectionState", "pullPercent")
_FINAL = "REDIRECTION_FROM_GCR_IO_FINALIZED"


def _settings(call: Call) -> dict[str, Any]:
    with call.world.reading() as rows:
        row = rows.execute("SELECT settings FROM project_settings WHERE project = ?", (call.project.id,)).fetchone()
    settings: dict[str, Any] = json.loads(row["settings"]) if row else {}
    return settings


def _get(call: Call) -> dict[str, Any]:
    """Return the project's settings, which by default have no redirection state."""
    # unverified: what Google answers for a new project
    return {"name": f"projects/{call.project.id}/projectSettings"} | _settings(call)


def _patch(call: Call) -> dict[str, Any]:
    with call.world.writing() as rows:
        kind = types.ProjectSettings.pb()
        body = messages.render(messages.parse(kind, call.json(), "project_settings"))
        before = _settings(call)
        after = field_masks.apply(kind.DESCRIPTOR, before, body, field_masks.of(call), may=_FIELDS)
        if not 0 <= after.get("pullPercent", 0) <= 100:
            raise invalid(f"Invalid pull_percent {after['pullPercent']}: it is a number from 0 to 100.")
        # "Redirection is enabled, and has been finalized so cannot be reverted": settings.proto
        if before.get("legacyRedirectionState") == _FINAL != after.get("legacyRedirectionState"):
            raise ApiError("FAILED_PRECONDITION", "The redirection of gcr.io is final, it cannot be reverted.")
        rows.execute(
            "INSERT INTO project_settings (project, settings) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET settings = excluded.settings",
            (call.project.id, json.dumps(after, sort_keys=True)),
        )
        return _get(call)


METHODS = (
    Method(
        "artifactregistry.projects.getProjectSettings", "GET", _PATH, _get, ("artifactregistry.projectsettings.get",)
    ),
    Method(
        "artifactregistry.projects.updateProjectSettings",
        "PATCH",
        _PATH,
        _patch,
        ("artifactregistry.projectsettings.update",),
    ),
)
