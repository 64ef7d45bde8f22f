"""What a notebook says about itself in its metadata, `workbook`: minutes, needs, costs, roles, and what it leaves.

Everything that depends on which notebooks there are reads it from here or is generated from it (`make docs`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from helpers.cell import documents

Foundation = Literal["api", "repository", "sign-in", "image"]


class BadMetadata(ValueError):
    """A notebook's metadata can't be read. The message names the file, what is wrong in it, and where to look."""


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role that the learner needs on the project, identified by the permissions that the notebook uses of it.

    Attributes:
        purpose: what the role is needed for, where this is the first notebook that needs it.
    """

    role: str
    permissions: tuple[str, ...]
    purpose: str = ""


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of an item of the price list (`helpers.prices`, by its name) the notebook uses at most, and for what."""

    price: str
    amount: float
    purpose: str


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A notebook's `metadata.workbook`.

    Attributes:
        outcome: what the learner will be able to do, as README's table continues "you will be able to".
        minutes: an estimate of how long it takes one person who reads, runs and does the exercises, by the rule in
            docs/workshop.md.
        needs: what earlier notebooks leave behind and this one builds on.
        provides: what this notebook leaves behind for later ones.
        engine: whether it needs a Docker Engine that reaches the sandbox.
        gcloud: whether its builds run gcloud; in the sandbox that is this machine's.
        apis: the APIs that it enables.
        roles: what the learner must be allowed to do on Google.
        costs: what it uses on Google that is paid for; nothing else is.
        leaves: kinds of `helpers.leftovers` that a run of it leaves when it is stopped.
        workshop: the agendas of docs/workshop.md that have it, by their headings.
        by_hand: what somebody must do on Google while it runs; a run there leaves it out unless it is named.
    """

    outcome: str
    minutes: int
    needs: tuple[Foundation, ...] = ()
    provides: tuple[Foundation, ...] = ()
    engine: bool = True
    gcloud: bool = False
    apis: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    costs: tuple[Cost, ...] = ()
    leaves: tuple[str, ...] = ()
    workshop: tuple[str, ...] = ()
    by_hand: str = ""

    def lacking(self, world: str) -> str:
        """Return why it can't be run in a world, `sandbox` or `gcp`; "" when it can."""
        return "gcloud isn't on the PATH" if self.gcloud and world != "gcp" and not shutil.which("gcloud") else ""


# For a notebook that isn't the workbook's: it may do anything, and nobody has said what it costs.
UNKNOWN: Final = About("", 0)


def read(path: Path) -> About:
    """Return what the notebook says about itself; `UNKNOWN` for one that says nothing.

    Raises BadMetadata for a field that is missing, unknown or of the wrong type, and OSError.
    """
    return of(path.name, json.loads(path.read_text(encoding="utf-8")))


def of(name: str, notebook: Mapping[str, Any]) -> About:
    """Return the same of a notebook that is read already; `name` is its file's, for messages."""
    found = notebook["metadata"].get("workbook")
    try:
        return UNKNOWN if found is None else msgspec.convert(found, About)
    except msgspec.ValidationError as error:
        raise BadMetadata(f"{name}: metadata.workbook: {error}. CONTRIBUTING.md shows what it holds.") from error


def number(path: Path) -> int:
    """Return the number that a notebook's file name begins with."""
    return int(path.name[:2])


def provider(foundation: Foundation, notebooks: Iterable[Path] | None = None) -> Path:
    """Return the notebook that provides a foundation. Raises BadMetadata when none does."""
    for path in documents.notebooks() if notebooks is None else notebooks:
        if foundation in read(path).provides:
            return path
    raise BadMetadata(f"No notebook provides {foundation!r}, which another one needs.")
