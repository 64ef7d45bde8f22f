"""GitHub's issuer in this world: keys of its own, changed with time, and tokens that nobody else can sign."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.iam import federation, issuers
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandbox.iam import federation_keys as idp

NAME = "projects/1/locations/global/workloadIdentityPools/github/providers/actions"
PROVIDER: dict[str, Any] = {"name": NAME, "oidc": {"issuerUri": issuers.GITHUB}}
START = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path / "state", Clock(START))
    yield opened
    opened.close()


def signed(world: World, ttl: int = 300) -> str:
    now = int(world.now().timestamp())
    return issuers.sign(world, {"aud": f"//iam.googleapis.com/{NAME}", "sub": "repo:a/b", "iat": now, "exp": now + ttl})


def judged(world: World, token: str) -> str:
    """What becomes of a token: "" when it is taken, or why not."""
    try:
        federation.verify(token, PROVIDER, issuers.keys_for(world, PROVIDER), world.now().timestamp())
    except federation.Refused as refused:
        return refused.description
    return ""


def test_a_key_is_published_and_signs(world: World) -> None:
    assert issuers.published(world) == []
    token = signed(world)
    assert [set(key) for key in issuers.published(world)] == [{"kty", "use", "alg", "kid", "n", "e"}]
    assert judged(world, token) == ""


def test_tokens_go_by_the_worlds_clock(world: World) -> None:
    token, issued = signed(world), int(world.now().timestamp())
    world.clock.advance(dt.timedelta(seconds=300 + federation.LEEWAY))
    assert judged(world, token) == ""
    world.clock.advance(dt.timedelta(seconds=1))
    assert judged(world, token) == f"ID Token issued at {issued} is stale to sign-in."


def test_the_key_before_stays_good_and_the_one_before_that_does_not(world: World) -> None:
    first = signed(world)
    issuers.rotate(world)
    second = signed(world)
    assert (judged(world, first), judged(world, second)) == ("", "")
    issuers.rotate(world)
    assert judged(world, first) == "Error connecting to the given credential's issuer."
    assert (judged(world, second), judged(world, signed(world))) == ("", "")


def test_a_key_is_changed_after_ninety_days(world: World) -> None:
    signed(world)
    before = issuers.published(world)[0]["kid"]
    world.clock.advance(dt.timedelta(days=89))
    signed(world)
    assert issuers.published(world)[0]["kid"] == before
    world.clock.advance(dt.timedelta(days=2))
    signed(world)
    assert [key["kid"] for key in issuers.published(world)][1:] == [before]


def test_another_worlds_github_is_nobody_here(world: World, tmp_path: Path) -> None:
    signed(world)
    other = World(tmp_path / "other", Clock(START))
    assert judged(world, signed(other)) == "Error connecting to the given credential's issuer."
    other.close()


def test_uploaded_keys_are_used_in_place_of_the_worlds(world: World) -> None:
    """A provider for GitHub's issuer that was given keys: its own and no others."""
    provider = {**PROVIDER, "oidc": {**PROVIDER["oidc"], "jwksJson": idp.jwks("rsa")}}
    assert [key["kid"] for key in issuers.keys_for(world, provider) or []] == ["rsa"]
    assert issuers.keys_for(world, {"oidc": {"issuerUri": "https://gitlab.com"}}) is None


@pytest.mark.parametrize("name", ["rsa", "ec"])
def test_the_kinds_of_keys(name: str) -> None:
    issuers.check(idp.jwks(name))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"keys": {}}', '{"keys": [1]}', '{"keys": [{"kty": "RSA"}]}', '{"keys": [{"kid": "1"}]}'],
)
def test_what_is_no_set_of_keys(text: str) -> None:
    with pytest.raises(issuers.BadKeys):
        issuers.check(text)
