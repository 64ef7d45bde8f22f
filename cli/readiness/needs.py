"""The roles and APIs that notebooks need in a project, from their metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from helpers.cell import about

# Used by the checks and the runner before any notebook enables an API.
BEFORE: Final = ("cloudbilling.googleapis.com", "cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com")
MAY_GRANT: Final = "resourcemanager.projects.setIamPolicy"
MAY_ENABLE: Final = "serviceusage.services.enable"


@dataclass(frozen=True)
class Need:
    """A role that notebooks need.

    Attributes:
        purpose: why the first of them needs it.
        uses: the permissions that they use, each with the numbers of those notebooks.
    """

    role: str
    purpose: str
    uses: Mapping[str, tuple[int, ...]]

    def notebooks(self, permissions: Iterable[str]) -> tuple[int, ...]:
        """Return the notebooks that use any of these permissions."""
        return tuple(sorted({number for one in permissions for number in self.uses[one]}))


def roles(notebooks: Sequence[Path]) -> tuple[Need, ...]:
    """Return the roles that notebooks need, in the order in which they need them. Raises about.BadMetadata."""
    purposes: dict[str, str] = {}
    uses: dict[str, dict[str, tuple[int, ...]]] = {}
    for path in notebooks:
        for need in about.read(path).roles:
            purposes[need.role] = purposes.get(need.role) or need.purpose
            found = uses.setdefault(need.role, {})
            for permission in need.permissions:
                found[permission] = (*found.get(permission, ()), about.number(path))
    return tuple(Need(role, purposes[role], found) for role, found in uses.items())


def apis(notebooks: Sequence[Path]) -> tuple[str, ...]:
    """Return the APIs that notebooks enable. Raises about.BadMetadata."""
    return tuple(sorted({api for path in notebooks for api in about.read(path).apis}))
