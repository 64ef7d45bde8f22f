"""Read a notebook's metadata `workbook`: minutes, needs, costs, roles, and leftovers.

All code and documentation that depends on the set of notebooks reads it here or is generated from it (`make docs`).
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
    """A notebook's metadata is invalid. The message names the file, the problem, and where to look."""


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role that the learner needs on the project, with the permissions that the notebook uses.

    Attributes:
        purpose: what the role is for, set in the first notebook that needs it.
    """

    role: str
    permissions: tuple[str, ...]
    purpose: str = ""


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The largest amount of an item of the price list (`helpers.prices`) that the notebook uses, and its purpose."""

    price: str
    amount: float
    purpose: str


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A notebook's `metadata.workbook`.

    Attributes:
        outcome: what the learner will be able to do, which continues "you will be able to" in README's table.
        minutes: an estimate of the time for reading, running and the exercises, by the rule in docs/workshop.md.
        needs: what it needs from earlier notebooks.
        provides: what it creates for later notebooks.
        engine: whether it needs a Docker Engine that reaches the sandbox.
        gcloud: whether its builds run gcloud, which in the sandbox is this machine's.
        apis: the APIs that it enables.
        roles: the roles that the learner needs on Google.
        costs: everything that it uses on Google for a price.
        leaves: the kinds of `helpers.leftovers` that remain if it is stopped.
        workshop: the agendas of docs/workshop.md that include it, by their headings.
        by_hand: what the learner must do on Google while it runs. A run there skips it unless it is named.
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
        """Return why it can't run on a target, `sandbox` or `gcp`, or "" if it can."""
        return "gcloud isn't on the PATH" if self.gcloud and world != "gcp" and not shutil.which("gcloud") else ""


# For notebooks that don't belong to the workbook.
UNKNOWN: Final = About("", 0)


def read(path: Path) -> About:
    """Return a notebook's metadata, or `UNKNOWN` if it has none.

    Raises BadMetadata for a field that is missing, unknown or of the wrong type, and OSError.
    """
    return of(path.name, json.loads(path.read_text(encoding="utf-8")))


def of(name: str, notebook: Mapping[str, Any]) -> About:
    """Return the metadata of a parsed notebook. `name` is the file's name for messages."""
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
