"""IAM: service accounts, workload identity pools and their providers."""

from __future__ import annotations

from typing import Any

from tests.observed.facts import Fact
from tests.observed.replay import Request, Stage

HOST = "https://iam.googleapis.com"
_OIDC = {"issuerUri": "https://example.com/", "allowedAudiences": ["text"]}


def _accounts(stage: Stage) -> str:
    return f"/v1/projects/{stage.project}/serviceAccounts"


def _account(stage: Stage, **fields: Any) -> str:
    body = {"accountId": stage.name("account"), "serviceAccount": fields}
    email = stage.ask("POST", HOST + _accounts(stage), body)["email"]
    return f"{_accounts(stage)}/{email}"


def _create(stage: Stage, fact: Fact) -> Request:
    name = stage.name("account")
    if fact.status == 409:
        stage.ask("POST", HOST + _accounts(stage), {"accountId": name})
    return Request(_accounts(stage), {".accountId": name})


def _get(stage: Stage, fact: Fact) -> Request:
    if fact.status == 404:
        return Request(f"{_accounts(stage)}/none@{stage.project}.iam.gserviceaccount.com")
    answer = fact.answer or {}
    path = _account(stage, **{name: "text" for name in ("displayName", "description") if f".{name}" in answer})
    if answer.get(".disabled"):
        stage.ask("POST", f"{HOST}{path}:disable")
    return Request(path)


def _patch(stage: Stage, fact: Fact) -> Request:
    fields = [path.split(".")[2] for path in fact.body or {} if path.startswith(".serviceAccount.")]
    etag = stage.ask("GET", HOST + (path := _account(stage)))["etag"]
    mask = ",".join(name for name in fields if name != "etag")
    return Request(path, {".serviceAccount.etag": etag, ".updateMask": mask})


def _existing(stage: Stage, fact: Fact) -> Request:
    return Request(_account(stage))


def _disable(stage: Stage, fact: Fact) -> Request:
    return Request(f"{_account(stage)}:disable")


def _pools(stage: Stage) -> str:
    return f"/v1/projects/{stage.project}/locations/global/workloadIdentityPools"


def _pool(stage: Stage) -> tuple[str, str]:
    """A pool's path, and its operation's name."""
    name = stage.name("pool")
    url = f"{HOST}{_pools(stage)}?workloadIdentityPoolId={name}"
    operation = stage.ask("POST", url, {"displayName": "text", "description": "text"})
    return f"{_pools(stage)}/{name}", operation["name"]


def _provider(stage: Stage) -> tuple[str, str]:
    path, _ = _pool(stage)
    body = {"attributeMapping": {"google.subject": "true"}, "oidc": _OIDC}
    operation = stage.ask("POST", f"{HOST}{path}/providers?workloadIdentityPoolProviderId=provider", body)
    return f"{path}/providers/provider", operation["name"]


def _create_pool(stage: Stage, fact: Fact) -> Request:
    return Request(_pools(stage), {"?workloadIdentityPoolId": stage.name("pool")})


def _get_pool(stage: Stage, fact: Fact) -> Request:
    return Request(f"{_pools(stage)}/none-here" if fact.status == 404 else _pool(stage)[0])


def _create_provider(stage: Stage, fact: Fact) -> Request:
    return Request(f"{_pool(stage)[0]}/providers", {"?workloadIdentityPoolProviderId": "provider"})


def _get_provider(stage: Stage, fact: Fact) -> Request:
    if fact.status == 404:
        return Request(f"{_pool(stage)[0]}/providers/none-here")
    path, _ = _provider(stage)
    issuer = (fact.answer or {})[".oidc.issuerUri"]
    if issuer != _OIDC["issuerUri"]:
        stage.ask("PATCH", f"{HOST}{path}?updateMask=oidc.issuerUri", {"oidc": {**_OIDC, "issuerUri": issuer}})
    return Request(path)


_ACCOUNTS = "/v1/projects/P/serviceAccounts"
_POOLS = "/v1/projects/P/locations/L/workloadIdentityPools"
PREPARE = {
    f"POST {_ACCOUNTS}": _create,
    f"GET {_ACCOUNTS}/X": _get,
    f"PATCH {_ACCOUNTS}/X": _patch,
    f"DELETE {_ACCOUNTS}/X": _existing,
    f"POST {_ACCOUNTS}/X:disable": _disable,
    f"POST {_POOLS}": _create_pool,
    f"GET {_POOLS}/X": _get_pool,
    f"DELETE {_POOLS}/X": lambda stage, fact: Request(_pool(stage)[0]),
    f"GET {_POOLS}/X/operations/OP": lambda stage, fact: Request(f"/v1/{_pool(stage)[1]}"),
    f"POST {_POOLS}/X/providers": _create_provider,
    f"GET {_POOLS}/X/providers/X": _get_provider,
    f"PATCH {_POOLS}/X/providers/X": lambda stage, fact: Request(_provider(stage)[0]),
    f"GET {_POOLS}/X/providers/X/operations/OP": lambda stage, fact: Request(f"/v1/{_provider(stage)[1]}"),
}
