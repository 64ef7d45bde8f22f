"""What a month of the present state would cost on Google, item by item, read through the public API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from google.api_core import exceptions

from helpers import names, prices, show, snapshots
from helpers.cell import rich
from helpers.fates import Snapshot, Stored
from helpers.prices import Price
from helpers.transport import clients, rest

_MONTH: Final = timedelta(days=30)
_ON_DEMAND: Final = ("us", "europe", "asia")  # where scans on demand are made


@dataclass(frozen=True)
class Item:
    """One line of the bill. `used` is in the price's unit, or None where the API doesn't have it."""

    price: Price
    used: float | None
    note: str

    @property
    def cost(self) -> float:
        """The cost in US dollars."""
        return self.price.cost(self.used or 0.0)


@dataclass(frozen=True)
class Share:
    """The size of one version: all its bytes, and those that no other version of the repository needs."""

    image: str
    digest: str
    tags: tuple[str, ...]
    size: int
    own: int


@dataclass(frozen=True)
class Bill:
    """A project's bill. `stored` are bytes, with each layer counted once per repository."""

    project: str
    taken: datetime
    stored: int
    shares: tuple[Share, ...]
    items: tuple[Item, ...]

    @property
    def total(self) -> float:
        """The cost in US dollars a month."""
        return sum(item.cost for item in self.items)

    def text(self) -> rich.Rich:
        """Return two tables and the sources of the prices."""
        weights = [
            (f"{one.image}@{one.digest[7:15]}", ", ".join(one.tags) or "-", show.size(one.size), show.size(one.own))
            for one in self.shares
        ]
        lines = [
            (
                item.price.name,
                "unknown" if item.used is None else f"{item.used:.4g} {item.price.unit}",
                f"{item.price.free:g}",
                f"${item.price.amount:g}",
                prices.dollars(item.cost),
                item.note,
            )
            for item in self.items
        ]
        as_of = max(item.price.as_of for item in self.items)
        return rich.lines(
            *(
                show.table(weights, ("version", "tags", "all bytes", "its own")) if weights else "No images.",
                f"Stored, each layer once: {show.size(self.stored)}",
                "",
                show.table(lines, ("item", "a month", "free", "each", "costs", "what it is")),
                f"Total: {prices.dollars(self.total)} a month, where nothing else uses up what is free.",
                f"Prices as of {as_of}:",
                *(f"  {source}" for source in dict.fromkeys(item.price.source for item in self.items)),
            )
        )

    def json(self) -> dict[str, Any]:
        """Return the bill as JSON."""
        return {
            "project": self.project,
            "time": self.taken.isoformat(),
            "storedBytes": self.stored,
            "dollarsPerMonth": round(self.total, 6),
            "items": [
                {
                    "name": item.price.name,
                    "used": item.used,
                    "unit": item.price.unit,
                    "free": item.price.free,
                    "dollarsEach": item.price.amount,
                    "dollars": round(item.cost, 6),
                    "source": item.price.source,
                    "asOf": item.price.as_of,
                }
                for item in self.items
            ],
            "versions": [
                {
                    "image": one.image,
                    "digest": one.digest,
                    "tags": list(one.tags),
                    "bytes": one.size,
                    "ownBytes": one.own,
                }
                for one in self.shares
            ],
        }


def bill(project: names.Project, *, locations: Iterable[str] = ()) -> Bill:
    """Return the bill of a project. Without `locations`, all locations are read, which takes seconds on Google.

    Raises google.api_core.exceptions.GoogleAPICallError, and registry.RegistryRefused.
    """
    client = clients.artifact_registry()
    wanted = list(locations) or _locations(project)
    found = [
        snapshots.read(names.Repository.parse(one.name))
        for location in wanted
        for one in client.list_repositories(parent=f"{project.resource}/locations/{location}")
    ]
    return of(project, found, snapshots.now(), **_usage(project, snapshots.now()))


def of(
    project: names.Project,
    found: Sequence[Snapshot],
    taken: datetime,
    *,
    scans: int | None = 0,
    on_demand: int | None = 0,
    minutes: float | None = 0.0,
) -> Bill:
    """Return the bill for snapshots of repositories and the usage of the last 30 days. Pure.

    `scans` is the number of images scanned on push, `on_demand` that of scans on demand, `minutes` those of builds.
    """
    stored = sum(total(one.versions) for one in found)
    items = (
        Item(prices.STORAGE, stored / prices.GB, "what is stored now, for a whole month"),
        Item(prices.SCAN, scans, "first scans of a digest in the last 30 days"),
        Item(prices.SCAN_ON_DEMAND, on_demand, "scans on demand that are still listed; Google keeps them 48 hours"),
        Item(prices.BUILD, minutes, "minutes of builds in the last 30 days"),
        Item(prices.EGRESS_WITHIN, None, "pulls in the same location; others aren't in the API"),
    )
    return Bill(project.id, taken, stored, tuple(share for one in found for share in shares(one.versions)), items)


def total(versions: Iterable[Stored]) -> int:
    """Return the bytes of all blobs of a repository's versions, each counted once, as Google's `sizeBytes`."""
    blobs: Mapping[str, int] = {digest: size for one in versions for digest, size in one.blobs}
    return sum(blobs.values())


def shares(versions: Sequence[Stored]) -> list[Share]:
    """Return the size of each version, by image, oldest first."""
    needed: dict[str, int] = {}
    for one in versions:
        for digest, _ in one.blobs:
            needed[digest] = needed.get(digest, 0) + 1
    placed = sorted(versions, key=lambda one: (one.image, one.uploaded, one.digest))
    return [
        Share(one.image, one.digest, one.tags, one.size, sum(size for digest, size in one.blobs if needed[digest] == 1))
        for one in placed
    ]


def growth(versions: Iterable[Stored]) -> list[int]:
    """Return the bytes that each upload added, which no earlier version needed, oldest first."""
    seen: set[str] = set()
    added = []
    for one in sorted(versions, key=lambda one: (one.uploaded, one.digest)):
        added.append(sum(size for digest, size in one.blobs if digest not in seen))
        seen.update(digest for digest, _ in one.blobs)
    return added


def _locations(project: names.Project) -> list[str]:
    found = rest.pages(f"https://artifactregistry.googleapis.com/v1/{project.resource}/locations", "locations")
    return sorted(one["locationId"] for one in found)


def _usage(project: names.Project, moment: datetime) -> dict[str, Any]:
    """Return scans and build minutes of the last 30 days, each None where the API can't be called."""
    since = moment - _MONTH
    scans = _pages(
        f"https://containeranalysis.googleapis.com/v1/{project.resource}/occurrences",
        "occurrences",
        filter='kind="DISCOVERY"',
    )
    host = "https://ondemandscanning.googleapis.com/v1"
    listed = [_pages(f"{host}/{project.resource}/locations/{one}/operations", "operations") for one in _ON_DEMAND]
    builds = _pages(f"https://cloudbuild.googleapis.com/v1/{project.resource}/builds", "builds")
    return {
        "scans": None
        if scans is None
        else sum(_had_an_image(one) and _moment(one["createTime"]) >= since for one in scans),
        "on_demand": None if None in listed else sum(_scanned(one, since) for all_ in listed for one in all_ or ()),
        "minutes": None if builds is None else sum(_minutes(one) for one in builds if _began(one, since)),
    }


def _pages(url: str, key: str, **query: str) -> list[dict[str, Any]] | None:
    """Return all items of a list: none where the API isn't enabled, None where it can't be called."""
    try:
        return list(rest.pages(url, key, pageSize="1000", **query))
    except exceptions.Forbidden as error:
        return [] if error.reason == "SERVICE_DISABLED" else None
    except exceptions.MethodNotImplemented:
        return None


def _had_an_image(discovery: Mapping[str, Any]) -> bool:
    """Return whether a scan was of an image, not of an attestation or a chart that was pushed.

    An image's second discovery, which Google was seen to write, isn't another scan: see `helpers.scans`.
    """
    if str(discovery.get("noteName", "")).endswith("/COMPLIANCE"):
        return False
    # unverified: that Google doesn't bill them
    return bool(discovery.get("discovery", {}).get("analysisStatus") != "FINISHED_UNSUPPORTED")


def _scanned(operation: Mapping[str, Any], since: datetime) -> bool:
    created = operation.get("metadata", {}).get("createTime")
    return created is not None and _moment(created) >= since


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _began(build: Mapping[str, Any], since: datetime) -> bool:
    return "startTime" in build and _moment(build["startTime"]) >= since


def _minutes(build: Mapping[str, Any]) -> float:
    if "finishTime" not in build:
        return 0.0
    return (_moment(build["finishTime"]) - _moment(build["startTime"])).total_seconds() / 60
