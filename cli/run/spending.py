"""What a run on Google costs: an estimate for each notebook before it, and what has been used up since the run began.

The estimate takes every price in full, as if nobody had free minutes or free storage left. US dollars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.api_core import exceptions

from helpers import names, prices, show
from helpers.prices import Price
from helpers.transport import rest

_ANALYSIS: Final = "https://containeranalysis.googleapis.com/v1"
_BUILD: Final = "https://cloudbuild.googleapis.com/v1"


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


# Notebook → what it uses at most. Those that aren't here use nothing that is paid for.
_USES: Final[dict[int, tuple[Use, ...]]] = {
    4: (Use(prices.STORAGE, 0.002, "60 MB for a day"),),
    5: (Use(prices.STORAGE, 0.001, "a few layers for a day"),),
    6: (Use(prices.BUILD, 8, "three builds"), Use(prices.STORAGE, 0.002, "another image for a day")),
    7: (Use(prices.SCAN, 6, "three pushes into a scanned repository, three scans on demand"),),
    8: (Use(prices.STORAGE, 0.001, "a few layers for a day"),),
}


def estimate(notebook: int) -> float:
    """Return what one notebook costs at most."""
    return sum(use.cost for use in _USES.get(notebook, ()))


def text(notebooks: Sequence[int], limit: float) -> str:
    """Return the estimate as a table, and what the limit means for it."""
    rows = [
        (f"{number:02}", use.price.name, f"{use.amount:g} {use.price.unit}", prices.dollars(use.cost), use.what)
        for number in notebooks
        for use in _USES.get(number, ())
    ]
    total = sum(estimate(number) for number in notebooks)
    last = stops_before(notebooks, limit)
    lines = [
        show.table(rows, ("notebook", "item", "amount", "costs", "what for")) if rows else "Nothing that costs.",
        f"At most {prices.dollars(total)}, by the prices of {prices.SCAN.as_of}, as if nothing were free.",
    ]
    if last is None:
        lines.append(f"The limit is {limit:.2f} USD.")
    else:
        lines.append(f"The limit is {limit:.2f} USD: the run will stop before notebook {last:02}. {_how(total, last)}")
    return "\n".join(lines)


def stops_before(notebooks: Sequence[int], limit: float, spent: float = 0.0) -> int | None:
    """Return the first notebook that would break the limit, or None."""
    for number in notebooks:
        spent += estimate(number)
        if spent > limit:
            return number
    return None


def require(notebook: int, done: Sequence[int], measured: float, limit: float) -> None:
    """Raise OverBudget when the notebook would break the limit, after those that are done."""
    spent = max(sum(estimate(one) for one in done), measured)
    if stops_before([notebook], limit, spent) is not None:
        raise OverBudget(
            f"Stopped before notebook {notebook:02}, which costs up to {prices.dollars(estimate(notebook))}: "
            f"{prices.dollars(spent)} of {limit:.2f} USD are spent. {_how(spent + estimate(notebook), notebook)}"
        )


def _how(total: float, notebook: int) -> str:
    cents = math.ceil(total * 100 - 1e-6) / 100
    return (
        f'To raise it: ARGS="--max-usd {cents:.2f}". To do without that notebook: leave {notebook:02} out of '
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
