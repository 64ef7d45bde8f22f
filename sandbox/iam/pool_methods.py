"""Workload identity federation in iam.googleapis.com v1: pools and their OIDC providers.

Serves what `gcloud iam workload-identity-pools` and `… providers` call to create, describe, list, update, delete and
undelete. `sandbox.iam.sts` exchanges tokens.
Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools and
…/iam/docs/workload-identity-federation-with-deployment-pipelines.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sandbox.api import field_masks, lists, operations
from sandbox.api.methods import Call, Method
from sandbox.errors import ApiError, check_fields, invalid, not_found, unimplemented
from sandbox.iam import issuers, pools
from sandbox.iam.federation import CONDITION_VARIABLES, MAPPING_VARIABLES
from sandbox.iam.pools import Json
from sandbox.state.clock import timestamp

_ID = re.compile(r"[a-z0-9-]{4,32}")
_MAPPED = re.compile(r"google\.(subject|groups)|attribute\.[a-z0-9_]{1,100}")
_LIMITS = {"displayName": 32, "description": 256}
_MAX_EXPRESSION, _MAX_CONDITION, _MAX_MAPPED, _MAX_AUDIENCES = 2048, 4096, 50, 10
# Multi-tenant issuers: without a condition, a provider would accept every user of theirs.
# https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines#conditions
_SHARED_ISSUERS = ("https://token.actions.githubusercontent.com", "https://gitlab.com", "https://app.terraform.io")
_CONDITIONS_PAGE = "https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines#conditions"
_TYPE = "type.googleapis.com/google.iam.v1.WorkloadIdentityPool"


def _location(call: Call) -> str:
    if call.params["location"] != "global":
        raise invalid("The only supported location is global.")  # unverified: the sentence
    return f"projects/{call.project.number}/locations/global"


def _pool_name(call: Call) -> str:
    return f"{_location(call)}/workloadIdentityPools/{call.params['pool']}"


def _name(call: Call) -> str:
    """Return the name of the pool or the provider in the path."""
    provider = call.params.get("provider")
    return f"{_pool_name(call)}/providers/{provider}" if provider else _pool_name(call)


def _find(call: Call, name: str) -> Json:
    with call.world.reading() as rows:
        found = pools.find(rows, name)
    if found is None:
        raise not_found("Requested entity was not found.")
    return found


def _checked_id(call: Call, parameter: str) -> str:
    value = call.query.get(parameter, "")
    if not _ID.fullmatch(value):
        # unverified: the sentences; the rule is the reference's
        raise invalid(f"Invalid {parameter} {value!r}: 4 to 32 characters of [a-z0-9-].")
    if value.startswith("gcp-"):
        raise invalid(f"Invalid {parameter} {value!r}: the prefix gcp- is reserved for use by Google.")
    return value


def _checked(body: Json, *more: str) -> Json:
    """Return the request's non-empty fields, after checking those that pools and providers share."""
    known = ("displayName", "description", "disabled", *more)
    check_fields(body, ("name", *known))
    for field, limit in _LIMITS.items():
        if not isinstance(body.get(field, ""), str) or len(body.get(field, "")) > limit:
            raise invalid(f"Invalid {field}: a text of at most {limit} characters.")  # unverified: the sentence
    if not isinstance(body.get("disabled", False), bool):
        raise invalid("Invalid value at 'disabled' (TYPE_BOOL).")
    return {field: body[field] for field in known if body.get(field)}


def _compiled(text: Any, what: str, limit: int, variables: frozenset[str]) -> frozenset[str]:
    """Compile an expression, and return the fields of variables that it uses."""
    # Loading CEL takes half a second.
    from sandbox.iam import cel

    if not isinstance(text, str) or not text.strip() or len(text) > limit:
        raise invalid(f"Invalid {what}: an expression of 1 to {limit} characters.")  # unverified: the sentence
    try:
        return cel.compile_expression(text, variables).references
    except cel.NotCompiled as reason:
        raise invalid(f"Error compiling the {what}: {reason}, in {text!r}.") from None  # unverified: the sentence


def _check_mapping(mapping: Any) -> Mapping[str, str]:
    if not isinstance(mapping, dict) or "google.subject" not in mapping:
        raise invalid("The attribute mapping must map google.subject.")  # unverified: the sentence
    if len(mapping) > _MAX_MAPPED + 2:
        raise invalid(f"The attribute mapping has more than {_MAX_MAPPED} custom attributes.")  # unverified
    for key, value in mapping.items():
        if not _MAPPED.fullmatch(key):
            raise invalid(
                f"Invalid attribute mapping key {key!r}: google.subject, google.groups, or attribute. and "
                "1 to 100 characters of [a-z0-9_]."  # unverified: the sentence
            )
        _compiled(value, "attribute mapping", _MAX_EXPRESSION, MAPPING_VARIABLES)
    return mapping


def _check_condition(condition: Any, mapping: Mapping[str, str], issuer: str) -> None:
    named: frozenset[str] = frozenset()
    if condition:
        named = _compiled(condition, "attribute condition", _MAX_CONDITION, CONDITION_VARIABLES)
    shared = issuer.rstrip("/").lower().startswith(_SHARED_ISSUERS)
    if shared and not named:
        # Quoted in public issues, for a missing condition.
        raise invalid(
            "The attribute condition must reference one of the provider's claims. For more information, see "
            f"{_CONDITIONS_PAGE}"
        )
    for field in sorted(named):
        if not field.startswith("assertion.") and field not in mapping:
            raise invalid(f"The attribute condition names {field}, which the mapping does not set.")  # unverified


def _check_oidc(oidc: Any) -> Json:
    if not isinstance(oidc, dict):
        raise invalid("The provider must have an oidc configuration.")  # unverified: the sentence
    check_fields(oidc, ("issuerUri", "allowedAudiences", "jwksJson"), "oidc")
    keys = {"jwksJson": oidc["jwksJson"]} if oidc.get("jwksJson") else {}
    try:
        if keys:
            issuers.check(oidc["jwksJson"])
        issuer = urlsplit(str(oidc.get("issuerUri", "")))
    except issuers.BadKeys as reason:
        raise invalid(str(reason)) from None
    except ValueError:
        issuer = urlsplit("")
    # Both measured on Google (2026-09-28).
    if not issuer.scheme or not issuer.hostname:
        raise invalid("Invalid OIDC issuer URI.")
    if issuer.scheme != "https":
        raise invalid("Invalid OIDC issuer URI. The scheme must be https.")
    audiences = oidc.get("allowedAudiences", [])
    if (
        not isinstance(audiences, list)
        or len(audiences) > _MAX_AUDIENCES
        or not all(isinstance(one, str) and one for one in audiences)
    ):
        raise invalid(f"At most {_MAX_AUDIENCES} audiences are allowed.")  # unverified: the sentence
    return {"issuerUri": oidc["issuerUri"]} | ({"allowedAudiences": audiences} if audiences else {}) | keys


def _check_provider(body: Json) -> Json:
    """Return the provider with its checked oidc configuration."""
    oidc = _check_oidc(body.get("oidc"))
    mapping = _check_mapping(body.get("attributeMapping"))
    _check_condition(body.get("attributeCondition"), mapping, oidc["issuerUri"])
    return {**body, "oidc": oidc}


def _add(call: Call, name: str, body: Json, kind: str) -> Json:
    with call.world.writing() as rows:
        if kind == "Provider" and _find(call, _pool_name(call))["state"] != "ACTIVE":
            raise ApiError("FAILED_PRECONDITION", "The pool is deleted.")  # unverified: the sentence
        if pools.find(rows, name) is not None:
            raise ApiError("ALREADY_EXISTS", "Requested entity already exists")
        made = {"name": name, **body, "state": "ACTIVE"}
        pools.save(rows, made)
        return _done(call, rows, made, kind)


def _done(call: Call, rows: Any, body: Json, kind: str) -> Json:
    operation = f"{body['name']}/operations/{uuid.uuid4().hex[:26]}"
    return operations.finish(rows, call.world, operation, {"@type": f"{_TYPE}{kind}", **body})


def _create_pool(call: Call) -> Json:
    body = _checked(call.json(), "mode")
    if body.get("mode", "FEDERATION_ONLY") not in ("FEDERATION_ONLY", "MODE_UNSPECIFIED"):
        raise unimplemented(f"pools in the mode {body['mode']}")
    name = f"{_location(call)}/workloadIdentityPools/{_checked_id(call, 'workloadIdentityPoolId')}"
    return _add(call, name, body, "")


def _create_provider(call: Call) -> Json:
    request = call.json()
    for field in ("aws", "saml", "x509"):
        if field in request:
            raise unimplemented(f"providers of the kind {field}; OIDC is here")
    body = _check_provider(_checked(request, "attributeMapping", "attributeCondition", "oidc"))
    name = f"{_pool_name(call)}/providers/{_checked_id(call, 'workloadIdentityPoolProviderId')}"
    return _add(call, name, body, "Provider")


def _get(call: Call) -> Json:
    return _find(call, _name(call))


def _list(call: Call, parent: str, field: str) -> Json:
    with call.world.reading() as rows:
        found = pools.under(rows, parent)
    if call.query.get("showDeleted") != "true":
        found = [one for one in found if one["state"] == "ACTIVE"]
    chosen, token = lists.page(found, call.query, lambda one: str(one["name"]))
    return lists.answer(field, chosen, token)


def _list_pools(call: Call) -> Json:
    return _list(call, _location(call), "workloadIdentityPools")


def _list_providers(call: Call) -> Json:
    _find(call, _pool_name(call))
    return _list(call, _pool_name(call), "workloadIdentityPoolProviders")


_MAY_CHANGE = ("displayName", "description", "disabled", "attributeMapping", "attributeCondition", "oidc")


def _changed(call: Call, request: Json, before: Json) -> Json:
    """Return the fields of a pool or a provider after a patch, without its name and state.

    Raises:
        ApiError: INVALID_ARGUMENT for a path that may not change.
    """
    after = {key: value for key, value in before.items() if key in _MAY_CHANGE}
    for path in field_masks.paths(field_masks.of(call)) or request:
        top, _, inner = path.partition(".")
        if top not in _MAY_CHANGE or ("." in inner or (inner and top != "oidc")):
            raise invalid(f"Invalid update mask: {path[:200]!r} cannot change.")  # unverified: the sentence
        holder, source = (after, request) if not inner else (after.setdefault(top, {}), request.get(top, {}))
        if (inner or top) in source:
            holder[inner or top] = source[inner or top]
        else:
            holder.pop(inner or top, None)
    return after


def _patch_pool(call: Call) -> Json:
    request = _checked(call.json(), "mode")
    return _change(call, lambda before: _changed(call, request, before), "")


def _patch_provider(call: Call) -> Json:
    request = _checked(call.json(), "attributeMapping", "attributeCondition", "oidc")
    return _change(call, lambda before: _check_provider(_changed(call, request, before)), "Provider")


def _change(call: Call, change: Callable[[Json], Json], kind: str) -> Json:
    with call.world.writing() as rows:
        before = _find(call, _name(call))
        if before["state"] != "ACTIVE":
            raise ApiError("FAILED_PRECONDITION", "The entity is deleted.")  # unverified: the sentence
        made = {"name": before["name"], **change(before), "state": "ACTIVE"}
        pools.save(rows, made)
        return _done(call, rows, made, kind)


def _mark(call: Call, *, deleted: bool) -> Json:
    with call.world.writing() as rows:
        body = _find(call, _name(call))
        if (body["state"] == "DELETED") is deleted:
            raise ApiError("FAILED_PRECONDITION", f"The entity is {body['state'].lower()}.")  # unverified
        body["state"] = "DELETED" if deleted else "ACTIVE"
        body.pop("expireTime", None)
        if deleted:
            body["expireTime"] = timestamp(call.world.now() + pools.KEPT)
        pools.save(rows, body)
        return _done(call, rows, body, "Provider" if "provider" in call.params else "")


def _delete(call: Call) -> Json:
    return _mark(call, deleted=True)


def _undelete(call: Call) -> Json:
    return _mark(call, deleted=False)


def _operation(call: Call) -> Json:
    return operations.get(call.world, f"{_name(call)}/operations/{call.params['operation']}")


_POOLS = "/v1/projects/{project}/locations/{location}/workloadIdentityPools"
_POOL = f"{_POOLS}/{{pool}}"
_PROVIDERS = f"{_POOL}/providers"
_PROVIDER = f"{_PROVIDERS}/{{provider}}"
_PREFIX = "iam.projects.locations.workloadIdentityPools"


def _method(name: str, verb: str, path: str, handle: Any, permission: str) -> Method:
    kind = "Providers" if name.startswith("providers.") else "s"
    return Method(f"{_PREFIX}.{name}", verb, path, handle, (f"iam.workloadIdentityPool{kind}.{permission}",))


METHODS = (
    _method("create", "POST", _POOLS, _create_pool, "create"),
    _method("list", "GET", _POOLS, _list_pools, "list"),
    _method("get", "GET", _POOL, _get, "get"),
    _method("patch", "PATCH", _POOL, _patch_pool, "update"),
    _method("delete", "DELETE", _POOL, _delete, "delete"),
    _method("undelete", "POST", f"{_POOL}:undelete", _undelete, "undelete"),
    _method("operations.get", "GET", f"{_POOL}/operations/{{operation}}", _operation, "get"),
    _method("providers.create", "POST", _PROVIDERS, _create_provider, "create"),
    _method("providers.list", "GET", _PROVIDERS, _list_providers, "list"),
    _method("providers.get", "GET", _PROVIDER, _get, "get"),
    _method("providers.patch", "PATCH", _PROVIDER, _patch_provider, "update"),
    _method("providers.delete", "DELETE", _PROVIDER, _delete, "delete"),
    _method("providers.undelete", "POST", f"{_PROVIDER}:undelete", _undelete, "undelete"),
    _method("providers.operations.get", "GET", f"{_PROVIDER}/operations/{{operation}}", _operation, "get"),
)
