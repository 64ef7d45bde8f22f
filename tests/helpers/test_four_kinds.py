"""Pushes of four kinds in one repository, image, index, attestation and chart: listed, scanned, cleaned and billed.

Every helper of notebooks 4 to 10 that takes an image takes what today's Docker pushes for one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from cli.world.starter import World
from helpers import (
    billing,
    certificate,
    conventions,
    gate,
    names,
    pictures,
    policies,
    projects,
    registry,
    repositories,
    retention,
    scans,
    snapshots,
    tags,
    target,
)
from tests.sandbox.scanner.test_layers import STATUS

SERVICES = ("artifactregistry.googleapis.com", "containeranalysis.googleapis.com", "containerscanning.googleapis.com")
SYSTEM = {"usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\n', "var/lib/dpkg/status": STATUS.decode()}
MONTH = 31 * 86400
POLICY = [
    {"name": "old", "action": {"type": "Delete"}, "condition": {"tagState": "any", "olderThan": "30d"}},
    {
        "name": "releases",
        "action": {"type": "Keep"},
        "condition": {"tagState": "tagged", "tagPrefixes": ["1"]},
    },
]


@dataclass(frozen=True)
class Pushed:
    """One repository with a push of each kind; `attested` is of two kinds: the index is what its tag stands on."""

    repository: names.Repository
    image: names.Digest
    index: names.Digest
    attested: names.Digest
    child: names.Digest
    attestation: names.Digest
    chart: names.Digest


@pytest.fixture
def pushed(in_world: target.Target) -> Iterator[Pushed]:
    projects.enable(in_world.location.project, *SERVICES)
    repository = names.Repository(in_world.location, f"kinds-{secrets.token_hex(3)}")
    repositories.create(repository)
    web, multi, today = (repository.image(name) for name in ("web", "multi", "today"))
    image = registry.push(web.tag("1.0.0"), [SYSTEM, {"app": "plain"}])
    parts = {
        f"linux/{one}": registry.push(multi.tag(one), [SYSTEM, {"app": one}], architecture=one)
        for one in ("amd64", "arm64")
    }
    index = registry.push_index(multi.tag("1.0.0"), parts)
    for one in ("amd64", "arm64"):
        tags.remove(multi.tag(one))
    child = registry.push(today.tag("1.0.0"), [SYSTEM, {"app": "today"}])
    attested = registry.attest(today.tag("1.0.0"))
    attestation = today.digest(registry.manifest(attested).children[1])
    yield Pushed(repository, image, index, attested, child, attestation, chart(repository.image("chart")))
    repositories.delete(repository)


def chart(image: names.Image) -> names.Digest:
    """A Helm chart as `helm push` stores one: https://helm.sh/docs/topics/registries/."""
    about = json.dumps({"name": image.path, "version": "1.0.0", "apiVersion": "v2"}).encode()
    body = {
        "schemaVersion": 2,
        "config": registry.push_blob(image, about, "application/vnd.cncf.helm.config.v1+json"),
        "layers": [registry.push_blob(image, b"a chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
    }
    return registry.put_manifest(image, "1.0.0", body, registry.MANIFEST)


def test_all_are_listed_and_those_that_an_index_lists_have_no_tag(pushed: Pushed) -> None:
    found = {one.image: one.tags for one in repositories.images(pushed.repository)}
    assert len(found) == 8
    tagged = {pushed.image, pushed.index, pushed.attested, pushed.chart}
    assert {name for name, standing in found.items() if standing} == tagged
    assert tags.where(pushed.attested.image) == {"1.0.0": pushed.attested}


def test_each_is_scanned_as_what_it_is(pushed: Pushed) -> None:
    for name in (pushed.image, pushed.index, pushed.attested, pushed.child):
        found = scans.wait(name, 30)
        assert found.succeeded, name
        assert found.findings
    for name, reason in ((pushed.attestation, "in-toto"), (pushed.chart, "helm")):
        found = scans.wait(name, 30)
        assert (found.status, found.findings) == ("FINISHED_UNSUPPORTED", ())
        assert reason in found.reason
    through_index, direct = (scans.read(one).findings for one in (pushed.attested, pushed.child))
    assert through_index == direct
    verdict = gate.decide(scans.read(pushed.attested), gate.Policy("MINIMAL"), datetime.now(UTC).date())
    assert verdict.code == gate.BLOCKED
    unknown = gate.decide(scans.read(pushed.attestation), gate.Policy("CRITICAL"), datetime.now(UTC).date())
    assert unknown.code == gate.UNKNOWN


def test_a_cleanup_keeps_what_an_index_lists_and_the_preview_says_so(pushed: Pushed, world: World) -> None:
    registry.push(pushed.image.image.tag("sha-abc1234"), [SYSTEM, {"app": "old"}])
    wanted = policies.parse(json.dumps(POLICY))
    retention.put(pushed.repository, wanted, dry_run=False)
    now = snapshots.read(pushed.repository)
    assert not retention.preview(now, wanted).deleted
    [(_, run)] = retention.forecast(now, 31)
    assert [one.version.tags for one in run.verdicts if one.delete] == [("sha-abc1234",)]
    reasons = {one.version.digest: one.reason for one in run.verdicts}
    assert reasons[pushed.child.value] == reasons[pushed.attestation.value] == "parent index"
    world.admin("clock:advance", {"seconds": MONTH})
    left = {one.image for one in repositories.images(pushed.repository)}
    assert {pushed.attested, pushed.child, pushed.attestation, pushed.index, pushed.chart, pushed.image} <= left
    assert len(left) == 8


def test_the_bill_counts_their_bytes_once_and_only_scans_of_images(pushed: Pushed) -> None:
    found = snapshots.read(pushed.repository)
    assert billing.total(found.versions) == repositories.describe(pushed.repository).size_bytes
    assert len(billing.shares(found.versions)) == 8

    def scanned() -> float:
        for one in repositories.images(pushed.repository):
            scans.wait(one.image, 30)
        bill = billing.bill(pushed.repository.project, locations=[pushed.repository.location.id])
        return next(item.used or 0.0 for item in bill.items if item.price.name == billing.prices.SCAN.name)

    before = scanned()
    chart(pushed.repository.image("another-chart"))
    assert scanned() == before
    registry.push(pushed.repository.image("another").tag("1.0.0"), [SYSTEM, {"app": "another"}])
    assert scanned() == before + 1
    registry.attest(pushed.repository.image("another").tag("1.0.0"))
    assert scanned() == before + 2  # the index; its image is scanned already, and its attestation holds none


def test_an_index_is_a_version_like_any_other_to_tags_pictures_and_the_record(pushed: Pushed) -> None:
    versions = [one for one in repositories.images(pushed.repository) if one.image.image == pushed.attested.image]
    numbers = pictures.numbered(versions)
    assert set(pictures.pointers(versions).values()) == {pushed.attested.value}
    assert len(numbers) == 3
    assert pictures.tags_text(versions).count("1.0.0") == 1
    assert pictures.tags(versions).svg()  # type: ignore[attr-defined]
    # The one thing that is missing is the tag of a commit, on the index; nothing is asked of what it lists.
    (finding,) = conventions.check(versions)
    assert "sha-" in finding.why
    tags.point(pushed.attested.image.tag("production"), pushed.attested)
    assert tags.where(pushed.attested.image)["production"] == pushed.attested
    page = certificate.Made(versions[0].image, versions[0].tags, versions[0].size, versions[0].uploaded)
    assert page.image in {one.image for one in versions}
    assert pictures.timeline(retention.preview(snapshots.read(pushed.repository), [])).svg()  # type: ignore[attr-defined]
