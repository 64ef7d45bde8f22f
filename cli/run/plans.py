"""The plan of a run, checked before anything is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.cell import about, documents
from helpers.target import REGION


class BadRequest(ValueError):
    """The arguments of a command are invalid. The message says what to write instead."""


@dataclass(frozen=True)
class Plan:
    """A run. `clock`, `project`, `port` and `run` fix values that a sandbox would choose otherwise.

    `max_usd` is the most that a run on Google may cost, and None means no limit.
    """

    notebooks: tuple[Path, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    target: str = "sandbox"
    project: str = ""
    strict: bool = False
    keep: bool = False
    clock: str | None = None
    port: int = 0
    run: str = ""
    region: str = REGION
    max_usd: float | None = None

    def __post_init__(self) -> None:
        check_target(self.target, self.project)


def check_target(target: str, project: str) -> None:
    """Raise BadRequest for an unknown target, and for Google without a project."""
    if target not in ("sandbox", "gcp"):
        raise BadRequest(f"There is no target {target!r}. Write sandbox or gcp.")
    if target == "gcp" and not project:
        raise BadRequest("On Google this needs your project: PROJECT=your-project-id.")


def choose(only: str, folder: Path = documents.NOTEBOOKS, *, target: str = "sandbox") -> tuple[Path, ...]:
    """Return the notebooks that `only` names (`02,03`), or all that run unattended.

    On Google some need a person, for example for GitHub's consent. Raises BadRequest for an unknown number.
    """
    there = documents.notebooks(folder)
    if not there:
        raise BadRequest(f"There is no notebook in {folder}.")
    if not only.strip():
        return tuple(path for path in there if target != "gcp" or not about.read(path).by_hand)
    by_number = {path.name[:2]: path for path in there}
    wanted = [part.strip().zfill(2) for part in only.split(",") if part.strip()]
    if not wanted:
        raise BadRequest(f"{only!r} names no notebook. There are {', '.join(by_number)}.")
    unknown = [number for number in wanted if number not in by_number]
    if unknown:
        raise BadRequest(f"There is no notebook {', '.join(unknown)}. There are {', '.join(by_number)}.")
    return tuple(by_number[number] for number in sorted(set(wanted)))


def known_parameters(notebooks: Sequence[Path]) -> dict[Path, frozenset[str]]:
    """Return the parameters that each notebook declares."""
    from papermill.inspection import inspect_notebook

    return {path: frozenset(inspect_notebook(str(path))) for path in notebooks}  # type: ignore[no-untyped-call]


def require_parameters(notebooks: Sequence[Path], parameters: Mapping[str, Any]) -> dict[Path, dict[str, Any]]:
    """Return the parameters for each notebook. Raises BadRequest for a name that no notebook declares.

    papermill only warns about such a name and uses the default.
    """
    if not parameters:
        return {path: {} for path in notebooks}
    declared = known_parameters(notebooks)
    known = sorted(set().union(*declared.values()))
    unknown = [name for name in parameters if name not in known]
    if unknown:
        listed = f"They know {', '.join(known)}." if known else "They know none."
        raise BadRequest(f"No notebook of this run has a parameter {', '.join(unknown)}. {listed}")
    return {path: {name: parameters[name] for name in parameters if name in declared[path]} for path in notebooks}
