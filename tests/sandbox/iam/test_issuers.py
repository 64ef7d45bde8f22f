"""Publish and rotate the keys of this world's GitHub issuer, and verify tokens with them."""

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


def refusal(world: World, token: str) -> str:
    """Return why a token is refused, or "" if it is accepted."""
    try:
        federation.verify(token, PROVIDER, issuers.keys_for(world, PROVIDER), world.now().timestamp())
    except federation.Refused as refused:
        return refused.description
    return ""


def test_published_key_verifies_a_signed_token(world: World) -> None:
    assert issuers.published(world) == []
    token = signed(world)
    assert [set(key) for key in issuers.published(world)] == [{"kty", "use", "alg", "kid", "n", "e"}]
    assert refusal(world, token) == ""


def test_token_expires_by_the_worlds_clock(world: World) -> None:
    token, issued = signed(world), int(world.now().timestamp())
    world.clock.advance(dt.timedelta(seconds=300 + federation.LEEWAY))
    assert refusal(world, token) == ""
    world.clock.advance(dt.timedelta(seconds=1))
    assert refusal(world, token) == f"ID Token issued at {issued} is stale to sign-in."


def test_key_is_rotated_after_ninety_days_and_the_previous_one_stays_valid(world: World) -> None:
    year = 365 * 86400
    first = signed(world, year)
    before = issuers.published(world)[0]["kid"]
    world.clock.advance(dt.timedelta(days=89))
    signed(world)
    assert issuers.published(world)[0]["kid"] == before
    world.clock.advance(dt.timedelta(days=2))
    second = signed(world, year)
    assert [key["kid"] for key in issuers.published(world)][1:] == [before]
    assert (refusal(world, first), refusal(world, second)) == ("", "")
    world.clock.advance(dt.timedelta(days=91))
    third = signed(world)
    assert refusal(world, first) == "Error connecting to the given credential's issuer."
    assert (refusal(world, second), refusal(world, third)) == ("", "")


def test_token_of_another_worlds_github_is_refused(world: World, tmp_path: Path) -> None:
    signed(world)
    other = World(tmp_path / "other", Clock(START))
    assert refusal(world, signed(other)) == "Error connecting to the given credential's issuer."
    other.close()


def test_provider_with_uploaded_keys_ignores_the_worlds(world: World) -> None:
    provider = {**PROVIDER, "oidc": {**PROVIDER["oidc"], "jwksJson": idp.jwks("rsa")}}
    assert [key["kid"] for key in issuers.keys_for(world, provider) or []] == ["rsa"]
    assert issuers.keys_for(world, {"oidc": {"issuerUri": "https://gitlab.com"}}) is None


@pytest.mark.parametrize("name", ["rsa", "ec"])
def test_rsa_and_ec_keys_are_accepted(name: str) -> None:
    issuers.check(idp.jwks(name))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"keys": {}}', '{"keys": [1]}', '{"keys": [{"kty": "RSA"}]}', '{"keys": [{"kid": "1"}]}'],
)
def test_invalid_key_set_is_refused(text: str) -> None:
    with pytest.raises(issuers.BadKeys):
        issuers.check(text)
