"""What the notebooks need of a project: roles, told by permissions, and APIs, read from the notebooks themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from helpers.cell import commands, documents

# Asked by preflight and by the runner, before a notebook enables anything.
BEFORE: Final = ("cloudbilling.googleapis.com", "cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com")
MAY_GRANT: Final = "resourcemanager.projects.setIamPolicy"
MAY_ENABLE: Final = "serviceusage.services.enable"


@dataclass(frozen=True)
class Need:
    """What the notebooks do with a role, told by some of its permissions."""

    role: str
    permissions: tuple[str, ...]
    notebooks: frozenset[int]


_ALL: Final = frozenset(range(1, 11))
NEEDS: Final = (
    Need("roles/serviceusage.serviceUsageAdmin", (MAY_ENABLE, "serviceusage.services.list"), _ALL),
    Need(
        "roles/artifactregistry.admin",
        (
            "artifactregistry.repositories.create",
            "artifactregistry.repositories.delete",
            "artifactregistry.repositories.setIamPolicy",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.tags.delete",
            "artifactregistry.versions.delete",
        ),
        frozenset(range(2, 11)),
    ),
    Need("roles/cloudbuild.builds.editor", ("cloudbuild.builds.create", "cloudbuild.builds.get"), frozenset({6})),
    Need(
        "roles/storage.admin",
        ("storage.buckets.create", "storage.objects.create", "storage.objects.delete"),
        frozenset({6}),
    ),
    Need("roles/run.admin", ("run.services.create", "run.services.setIamPolicy"), frozenset({6})),
    Need(
        "roles/iam.serviceAccountAdmin",
        ("iam.serviceAccounts.create", "iam.serviceAccounts.delete", "iam.serviceAccounts.setIamPolicy"),
        frozenset({6, 9}),
    ),
    Need(
        "roles/iam.workloadIdentityPoolAdmin",
        ("iam.workloadIdentityPools.create", "iam.workloadIdentityPools.delete"),
        frozenset({6}),
    ),
    Need(
        "roles/secretmanager.admin",
        ("secretmanager.secrets.create", "secretmanager.secrets.delete", "secretmanager.secrets.setIamPolicy"),
        frozenset({6}),
    ),
    Need("roles/iam.serviceAccountUser", ("iam.serviceAccounts.actAs",), frozenset({6})),
    Need("roles/resourcemanager.projectIamAdmin", (MAY_GRANT,), frozenset({6})),
    Need("roles/ondemandscanning.admin", ("ondemandscanning.scans.analyzePackages",), frozenset({7})),
    Need("roles/containeranalysis.occurrences.viewer", ("containeranalysis.occurrences.list",), frozenset({7})),
    Need("roles/logging.viewer", ("logging.logEntries.list",), frozenset({6, 8})),
)


def apis_of(notebook: Path) -> frozenset[str]:
    """Return the APIs that a notebook enables, in terminal cells or in Python; the refused ones are left out."""
    found: set[str] = set()
    for cell in documents.read(notebook).cells:
        first, _, script = cell.source.partition("\n")
        if cell.cell_type != "code" or "--refused" in first:
            continue
        # A terminal cell's command, or the whole of a Python cell: there a call may go over several lines.
        texts = commands.split(script) if first.startswith("%%terminal") else [cell.source]
        for text in texts:
            if "gcloud services enable" in text or "projects.enable(" in text:
                found.update(re.findall(r"(?<![\w-])[a-z]+\.googleapis\.com", text))
    return frozenset(found)
