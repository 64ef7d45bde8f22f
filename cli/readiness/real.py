"""`workbook real` and `workbook sweep`: check a project, run on Google, and clean up."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import requests
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from rich.console import Console

from cli.readiness import checks, report
from cli.run import spending
from cli.run.plans import BadRequest, Plan
from helpers import leftovers, names, show, sweep
from helpers.cell import about, documents

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_EXPECTED: Final = (exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError, requests.RequestException)
Say = Callable[[str], Any]


def check(project: str, region: str, notebooks: Sequence[Path], *, as_json: bool, say: Say) -> int:
    """Print whether the project is ready, and return 0, 1 (you can fix it) or 2 (an administrator must).

    Raises BadRequest for an invalid project id.
    """
    found = checks.check(_project(project), region, notebooks)
    say(json.dumps(found.json(), indent=2) if as_json else found.text())
    return found.code


def run(plan: Plan, console: Console, *, say: Say) -> int:
    """Check, estimate, run within the limit, and clean up. Return the exit code of `check` or of the run."""
    from cli.run import runner

    code = check(plan.project, plan.region, plan.notebooks, as_json=False, say=say)
    if code != report.READY:
        return code
    limit = 0.0 if plan.max_usd is None else plan.max_usd
    say("")
    say(spending.text(plan.notebooks, limit))
    return runner.run(plan, console).code


@dataclass(frozen=True)
class Wanted:
    """The runs to clean up after: one run, or all that began before a time."""

    project: str
    region: str
    run: str = ""
    older_than: str = ""


def clean(wanted: Wanted, *, remove: bool, as_json: bool, say: Say) -> int:
    """List what runs left, and with `remove` delete it. Return 1 if something stays or couldn't be listed, else 0.

    Raises BadRequest for an invalid age or project.
    """
    age = _age(wanted.older_than)
    location = names.Location(_project(wanted.project), wanted.region)
    try:
        seen = leftovers.find(location, (wanted.run,) if wanted.run else ())
    except _EXPECTED as error:
        say(f"{type(error).__name__}: {error}")
        return 1
    chosen = [one for one in seen.found if _is_wanted(one, seen.found, wanted.run, age)]
    done = sweep.attempt(chosen) if remove else sweep.Removal((), ())
    if as_json:
        say(
            json.dumps(
                {
                    "found": [asdict(one) for one in chosen],
                    "removed": [asdict(one) for one in done.removed],
                    "failed": [{"leftover": asdict(one), "reason": reason} for one, reason in done.failed],
                    "unseen": dict(seen.unseen),
                },
                indent=2,
            )
        )
    else:
        say(_as_text(chosen, done, seen, remove=remove, spared=len(seen.found) - len(chosen)))
    return 1 if done.failed or seen.unseen else 0


def _is_wanted(one: leftovers.Leftover, found: Sequence[leftovers.Leftover], run: str, age: dt.timedelta) -> bool:
    if run:
        return one.run == run
    began = leftovers.began(one.run, found)
    # Without a known age, only delete a run that is named.
    return bool(began) and dt.datetime.fromisoformat(began) <= dt.datetime.now(dt.UTC) - age


def _as_text(
    chosen: Sequence[leftovers.Leftover], done: sweep.Removal, seen: leftovers.Traces, *, remove: bool, spared: int
) -> str:
    makers = {path.name[:2]: about.read(path).leaves for path in documents.notebooks()}
    rows = [
        (
            one.kind,
            one.run,
            re.sub(r"^https://[^/]+/", "", one.name),
            one.detail,
            ", ".join(number for number, kinds in makers.items() if one.kind in kinds),
        )
        for one in chosen
    ]
    head = ("kind", "run", "name", "detail", "made by notebook")
    lines: list[str] = [show.table(rows, head)] if rows else ["No run left anything."]
    if spared:
        lines.append(f"Left alone: {spared} of other or younger runs.")
    lines += [f"Not looked at: {kind}: {reason}" for kind, reason in seen.unseen]
    lines += [f"Still there: {one.kind} {one.name}: {reason}" for one, reason in done.failed]
    if remove:
        lines.append(f"Removed: {len(done.removed)}.")
    elif chosen:
        lines.append("Nothing was removed. Say --yes to remove these.")
    return "\n".join(lines)


def _age(text: str) -> dt.timedelta:
    match = re.fullmatch(r"(\d{1,4})([mhdw])", text)
    if not match:
        raise BadRequest(f"{text!r} is no age: write 30m, 12h, 1d or 2w.")
    return dt.timedelta(**{_UNITS[match[2]]: int(match[1])})


def _project(text: str) -> names.Project:
    if not text:
        raise BadRequest("Which project? Write --project my-project, or: make real PROJECT=my-project")
    try:
        return names.Project.parse(text)
    except names.BadName as error:
        raise BadRequest(str(error)) from error
