"""The bill: shared layers once, the free amount, what a release costs, and the same numbers as Google's own field."""

from __future__ import annotations

import datetime as dt

import pytest

from cli.run import spending
from helpers import billing, names, prices, projects, registry, repositories, scans, target
from helpers.fates import Snapshot, Stored
from helpers.transport import clients
from tests.sandbox.scanner.test_layers import STATUS

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
PROJECT = names.Project("my-project")
BASE = ("sha256:base", 30_000_000)


def stored(number: int, size: int, image: str = "web") -> Stored:
    moment = NOW - dt.timedelta(days=100 - number)
    return Stored(image, f"sha256:{number}", moment, (f"1.0.{number}",), (BASE, (f"sha256:layer{number}", size)))


def bill(*versions: Stored, **usage: int) -> billing.Bill:
    return billing.of(PROJECT, [Snapshot("r", NOW, versions)], NOW, **usage)


def test_shared_layers_are_stored_once() -> None:
    found = bill(stored(1, 1000), stored(2, 2000), stored(3, 3000, image="api"))
    assert found.stored == 30_000_000 + 6000
    assert [(one.image, one.own) for one in found.shares] == [("api", 3000), ("web", 1000), ("web", 2000)]


def test_nothing_is_paid_below_half_a_gigabyte() -> None:
    assert bill(stored(1, 469_999_000)).total == 0
    assert prices.storage(500_000_000) == 0


def test_above_it_a_gigabyte_costs_ten_cents_not_fifty() -> None:
    """Errata 10: the guide's 0.50 USD mixes up the price and the free amount."""
    assert prices.storage(1_500_000_000) == pytest.approx(0.10)
    assert bill(stored(1, 1_470_000_000)).total == pytest.approx(0.10)


def test_each_scan_costs_26_cents_and_builds_are_free_for_2500_minutes() -> None:
    assert bill(scans=10).total == pytest.approx(2.60)
    assert bill(scans=1, on_demand=2).total == pytest.approx(0.78)
    assert bill(minutes=2500).total == 0
    assert bill(minutes=2600).total == pytest.approx(0.60)


def test_the_growth_of_a_repository_counts_a_layer_at_its_first_upload() -> None:
    assert billing.growth([stored(2, 2000), stored(1, 1000)]) == [30_001_000, 2000]


def test_how_many_images_fit_into_what_is_free() -> None:
    assert prices.images_until_paid(first=30_000_000, each=10_000) == 1 + 47_000
    assert prices.images_until_paid(first=600_000_000, each=10_000) == 0
    with pytest.raises(ValueError, match="no bytes"):
        prices.images_until_paid(first=1, each=0)


def test_every_price_has_a_source_and_a_date() -> None:
    for price in prices.ALL:
        assert price.source.startswith("https://cloud.google.com/")
        dt.date.fromisoformat(price.as_of)


def test_what_the_api_does_not_tell_is_unknown_and_not_zero() -> None:
    assert "unknown" in bill(stored(1, 1000), scans=None).text()


def test_the_bill_of_a_real_project_has_googles_own_number_of_bytes(in_world: target.Target) -> None:
    projects.enable(in_world.location.project, projects.ARTIFACT_REGISTRY)
    repository = names.Repository(in_world.location, "billed")
    repositories.create(repository)
    for number in range(3):
        registry.push(repository.image("web").tag(f"1.0.{number}"), [{"base": "x"}, {"app": str(number)}])
    project = in_world.location.project
    found = billing.bill(project, locations=[in_world.region])
    assert found.stored == sum(one.size_bytes for one in repositories.list_in(in_world.location)) > 0
    assert found.total == 0
    everywhere = billing.bill(project)
    assert everywhere.stored == found.stored
    repositories.delete(repository)


def test_scans_on_push_and_on_demand_are_both_on_the_bill(in_world: target.Target) -> None:
    project = in_world.location.project
    names_of_apis = ("artifactregistry", "containeranalysis", "containerscanning", "ondemandscanning")
    projects.enable(project, *(f"{name}.googleapis.com" for name in names_of_apis))
    repository = names.Repository(in_world.location, "scanned")
    repositories.create(repository)

    def used() -> dict[str, float | None]:
        return {item.price.name: item.used for item in billing.bill(project, locations=[in_world.region]).items}

    before = used()
    # An image that a scanner knows how to read: one that it can't is not scanned, and costs nothing.
    system = {"usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n', "var/lib/dpkg/status": STATUS.decode()}
    registry.push(repository.image("web").tag("1.0.0"), [system])
    opened = clients.session()
    url = f"https://ondemandscanning.googleapis.com/v1/{project.resource}/locations/{{}}/scans:analyzePackages"
    for location in ("us", "us", "europe"):
        answer = opened.post(url.format(location), json={"packages": [], "resourceUri": "app:v1"}, timeout=30)
        assert answer.status_code == 200, answer.text
    after = used()
    for name, more in ((prices.SCAN.name, 1), (prices.SCAN_ON_DEMAND.name, 3)):
        assert (after[name] or 0) - (before[name] or 0) == more
    repositories.delete(repository)


def test_an_image_that_has_two_discoveries_was_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def discovery(note: str) -> dict[str, object]:
        name = f"projects/goog-analysis/locations/us-central1/notes/{note}"
        told = {"noteName": name, "createTime": NOW.isoformat(), "discovery": {"analysisStatus": "FINISHED_SUCCESS"}}
        return told | {"kind": "DISCOVERY"}

    both = [discovery("PACKAGE_VULNERABILITY"), discovery("COMPLIANCE")]
    monkeypatch.setattr(billing, "_pages", lambda url, *_, **__: both if "occurrences" in url else [])
    assert billing._usage(PROJECT, NOW)["scans"] == 1
    monkeypatch.setattr(spending, "_since", lambda url, *_, **__: both if "occurrences" in url else [])
    assert spending.measured(PROJECT, NOW) == pytest.approx(prices.SCAN.amount)
    assert [scans.of_packages(str(one["noteName"])) for one in both] == [True, False]
