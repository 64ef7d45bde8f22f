"""The convention for tags: what is of it, and what is said of the rest."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from helpers import conventions, names

IMAGE = names.Repository.parse("us-central1-docker.pkg.dev/my-project/ml-images").image("web")


@dataclass(frozen=True)
class Version:
    image: names.Digest
    tags: tuple[str, ...]


def version(number: int, *tags: str) -> Version:
    return Version(IMAGE.digest(f"sha256:{number:064x}"), tags)


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("1.2.0", "release"),
        ("1.3.0-rc.1", "release"),
        ("sha-abc1234", "build"),
        ("staging", "environment"),
        ("production", "environment"),
        ("latest", "latest"),
    ],
)
def test_the_kinds_of_the_table(tag: str, kind: str) -> None:
    assert conventions.kind(tag) == kind
    assert conventions.why_not(tag) == ""


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("v1.0.0", "write 1.0.0"),  # the first guide's
        ("a3f9c12", "write sha-a3f9c12"),  # the second guide's
        ("sha-abc123", "exactly 7"),
        ("sha-ABC1234", "exactly 7"),
        ("1.2", "three numbers"),
        ("01.2.0", "no kind"),
        ("prod", "staging and production"),
        ("nightly", "no kind"),
    ],
)
def test_what_breaks_the_convention_and_what_to_write(tag: str, said: str) -> None:
    assert conventions.kind(tag) is None
    assert said in conventions.why_not(tag)


def test_a_repository_that_holds_the_convention_has_no_findings() -> None:
    versions = [version(1, "1.0.0", "production", "sha-abc1234"), version(2, "latest", "sha-abc1235"), version(3)]
    assert conventions.check(versions) == ()


def test_each_version_needs_its_commit_and_production_a_release() -> None:
    found = [str(one) for one in conventions.check([version(1, "1.0.0"), version(2, "production", "sha-abc1234")])]
    assert found == [
        "web:1.0.0: no sha- tag stands on this version, so nobody can say which commit it is",
        "web:production: it stands on a version that is no release",
    ]


def test_a_version_is_one_release_only() -> None:
    (found,) = conventions.check([version(1, "1.0.0", "1.0.1", "sha-abc1234")])
    assert "several releases: 1.0.0, 1.0.1" in found.why


def test_children_of_an_index_need_no_commit_of_their_own() -> None:
    child = version(1, "1.0.0")
    assert conventions.check([child], children=[child.image]) == ()
