"""What a run on Google costs: an estimate for each notebook before it, and what has been used up since the run began.

The estimate takes every price in full, as if nobody had free minutes or free storage left. US dollars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from google.api_core import exceptions

from helpers import names, prices, show
from helpers.cell import about
from helpers.cell.about import About
from helpers.prices import Price
from helpers.transport import rest

_ANALYSIS: Final = "https://containeranalysis.googleapis.com/v1"
_BUILD: Final = "https://cloudbuild.googleapis.com/v1"
_PRICES: Final = {one.name: one for one in prices.ALL}


class OverBudget(RuntimeError):
    """The next notebook would cost more than what is left. Nothing of it was run. The message says how to go on."""


@dataclass(frozen=True)
class Use:
    """So much of what a price is for, and what for."""

    price: Price
    amount: float
    what: str

    @property
    def cost(self) -> float:
        """US dollars, without any free amount."""
        return self.amount * self.price.amount


def uses(notebook: Path) -> tuple[Use, ...]:
    """Return what a notebook uses at most, as its metadata has it. Raises BadMetadata for an item without a price."""
    return uses_of(notebook.name, about.read(notebook))


def uses_of(name: str, notebook: About) -> tuple[Use, ...]:
    """Return the same of a notebook that is read already; `name` is its file's, for messages."""
    found = []
    for one in notebook.costs:
        if one.price not in _PRICES:
            known = ", ".join(_PRICES)
            raise about.BadMetadata(f"{name}: {one.price!r} has no price. helpers/prices.py has: {known}.")
        found.append(Use(_PRICES[one.price], one.amount, one.purpose))
    return tuple(found)


def estimate(notebook: Path) -> float:
    """Return what one notebook costs at most."""
    return sum(use.cost for use in uses(notebook))


def text(notebooks: Sequence[Path], limit: float) -> str:
    """Return the estimate as a table, and what the limit means for it."""
    rows = [
        (path.name[:2], use.price.name, f"{use.amount:g} {use.price.unit}", prices.dollars(use.cost), use.what)
        for path in notebooks
        for use in uses(path)
    ]
    total = sum(estimate(path) for path in notebooks)
    last = stops_before(notebooks, limit)
    lines = [
        show.table(rows, ("notebook", "item", "amount", "costs", "what for")) if rows else "Nothing that costs.",
        f"At most {prices.dollars(total)}, by the prices of {prices.SCAN.as_of}, as if nothing were free.",
    ]
    if last is None:
        lines.append(f"The limit is {limit:.2f} USD.")
    else:
        stop = f"the run will stop before notebook {last.name[:2]}. {_how(total, last)}"
        lines.append(f"The limit is {limit:.2f} USD: {stop}")
    return "\n".join(lines)


def stops_before(notebooks: Sequence[Path], limit: float, spent: float = 0.0) -> Path | None:
    """Return the first notebook that would break the limit, or None."""
    for path in notebooks:
        spent += estimate(path)
        if spent > limit:
            return path
    return None


def require(notebook: Path, done: Sequence[Path], measured: float, limit: float) -> None:
    """Raise OverBudget when the notebook would break the limit, after those that are done."""
    spent = max(sum(estimate(one) for one in done), measured)
    if stops_before([notebook], limit, spent) is not None:
        raise OverBudget(
            f"Stopped before notebook {notebook.name[:2]}, which costs up to {prices.dollars(estimate(notebook))}: "
            f"{prices.dollars(spent)} of {limit:.2f} USD are spent. {_how(spent + estimate(notebook), notebook)}"
        )


def _how(total: float, notebook: Path) -> str:
    cents = math.ceil(total * 100 - 1e-6) / 100
    return (
        f'To raise it: ARGS="--max-usd {cents:.2f}". To do without that notebook: leave {notebook.name[:2]} out of '
        'ARGS="--only …".'
    )


def measured(project: names.Project, since: datetime) -> float:
    """Return what images scanned on push and builds have cost in the project since a moment; 0 where it can't be asked.

    Scans on demand can't be listed: only the estimate knows of them.
    """
    scans = _since(
        f"{_ANALYSIS}/{project.resource}/occurrences", "occurrences", "createTime", since, 'kind="DISCOVERY"'
    )
    builds = _since(f"{_BUILD}/{project.resource}/builds", "builds", "startTime", since, "")
    minutes = sum(
        (_moment(one["finishTime"]) - _moment(one["startTime"])).total_seconds() / 60
        for one in builds
        if "finishTime" in one
    )
    # The second discovery of an image that Google was seen to write isn't a scan of its own: helpers/scans.py.
    scans = [one for one in scans if not one.get("noteName", "").endswith("/COMPLIANCE")]
    return len(scans) * prices.SCAN.amount + minutes * prices.BUILD.amount


def _since(url: str, key: str, field: str, since: datetime, chosen: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query = {"pageSize": "1000"} | ({"filter": chosen} if chosen else {})
    try:
        while True:
            answer = rest.call("GET", url, params=query)
            found += [one for one in answer.get(key, ()) if field in one and _moment(one[field]) >= since]
            if not answer.get("nextPageToken"):
                return found
            query["pageToken"] = answer["nextPageToken"]
    except exceptions.GoogleAPICallError:
        return []


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
