"""Estimate a run's cost on Google before each notebook, and measure what it has used. US dollars.

The estimate ignores free amounts.
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
    """The next notebook would exceed the budget, and was not started. The message says how to continue."""


@dataclass(frozen=True)
class Use:
    """An amount of something that has a price, and its purpose."""

    price: Price
    amount: float
    what: str

    @property
    def cost(self) -> float:
        """The cost in US dollars, ignoring free amounts."""
        return self.amount * self.price.amount


def uses(notebook: Path) -> tuple[Use, ...]:
    """Return what a notebook uses at most, from its metadata. Raises BadMetadata for an item without a price."""
    return uses_of(notebook.name, about.read(notebook))


def uses_of(name: str, notebook: About) -> tuple[Use, ...]:
    """Return what a notebook with this metadata uses. `name` is the file's name for messages."""
    found = []
    for one in notebook.costs:
        if one.price not in _PRICES:
            known = ", ".join(_PRICES)
            raise about.BadMetadata(f"{name}: {one.price!r} has no price. helpers/prices.py has: {known}.")
        found.append(Use(_PRICES[one.price], one.amount, one.purpose))
    return tuple(found)


def estimate(notebook: Path) -> float:
    """Return the most that one notebook can cost."""
    return sum(use.cost for use in uses(notebook))


def text(notebooks: Sequence[Path], limit: float) -> str:
    """Return the estimate as a table, and the effect of the limit."""
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
    """Return the first notebook that would exceed the limit, or None."""
    for path in notebooks:
        spent += estimate(path)
        if spent > limit:
            return path
    return None


def require(notebook: Path, done: Sequence[Path], measured: float, limit: float) -> None:
    """Raise OverBudget if the notebook would exceed the limit after those that are done."""
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
    """Return the cost of scans on push and builds in the project since a moment, or 0 where it isn't available.

    Scans on demand can't be listed, so only the estimate includes them.
    """
    scans = _since(
        f"{_ANALYSIS}/{project.resource}/occurrences", "occurrences", "createTime", since, filter='kind="DISCOVERY"'
    )
    builds = _since(f"{_BUILD}/{project.resource}/builds", "builds", "startTime", since)
    minutes = sum(
        (_moment(one["finishTime"]) - _moment(one["startTime"])).total_seconds() / 60
        for one in builds
        if "finishTime" in one
    )
    # An image's second discovery, which Google was seen to write, isn't another scan: helpers/scans.py.
    scans = [one for one in scans if not one.get("noteName", "").endswith("/COMPLIANCE")]
    return len(scans) * prices.SCAN.amount + minutes * prices.BUILD.amount


def _since(url: str, key: str, field: str, since: datetime, **query: str) -> list[dict[str, Any]]:
    try:
        listed = list(rest.pages(url, key, pageSize="1000", **query))
    except exceptions.GoogleAPICallError:
        return []
    return [one for one in listed if field in one and _moment(one[field]) >= since]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
