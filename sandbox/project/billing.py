"""cloudbilling.googleapis.com v1 and billingbudgets.googleapis.com v1: billing accounts and budgets.

Source: https://cloud.google.com/billing/docs/reference/rest and .../reference/budget/rest. A new world has one open
billing account, linked to the learner's project, which only the learner, its administrator, can see.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from sandbox.api import shapes
from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.errors import ApiError, invalid, not_found
from sandbox.seed import BILLING_ACCOUNT
from sandbox.state import projects, schema

_ACCOUNT = {"name": BILLING_ACCOUNT, "displayName": "Workbook sandbox (nothing is billed)", "open": True}


def _administers(call: Call) -> bool:
    """Return whether the caller is the learner (stored by `sandbox.seed`), the account's only administrator."""
    with call.world.reading() as rows:
        about = schema.meta(rows, "about")
    return about is not None and call.principal.email == json.loads(about)["learner"]


def _account(call: Call) -> str:
    name = f"billingAccounts/{call.params['account']}"
    if name != BILLING_ACCOUNT or not _administers(call):
        raise ApiError("PERMISSION_DENIED", "The caller does not have permission")
    return name


def _list_accounts(call: Call) -> dict[str, Any]:
    return {"billingAccounts": [_ACCOUNT]} if _administers(call) else {}


def _get_account(call: Call) -> dict[str, Any]:
    _account(call)
    return dict(_ACCOUNT)


def _info(project_id: str, account: str) -> dict[str, Any]:
    return {
        "name": f"projects/{project_id}/billingInfo",
        "projectId": project_id,
        "billingAccountName": account,
        "billingEnabled": bool(account),
    }


def _get_info(call: Call) -> dict[str, Any]:
    return _info(call.project.id, call.project.billing_account)


class _Info(shapes.Shape):
    billing_account_name: str | None = None
    # Output only
    name: Any = None
    project_id: Any = None
    billing_enabled: Any = None


class _Money(shapes.Shape):
    currency_code: str | None = None
    units: str | int | None = None
    nanos: int | None = None


class _Amount(shapes.Shape):
    specified_amount: _Money | None = None
    last_period_amount: dict[str, Any] | None = None


class _Rule(shapes.Shape):
    threshold_percent: float | None = None


class _Filter(shapes.Shape):
    projects: list[str] | None = None


class _Budget(shapes.Shape):
    """A budget, https://cloud.google.com/billing/docs/reference/budget/rest/v1/billingAccounts.budgets."""

    display_name: str | None = None
    amount: _Amount | None = None
    threshold_rules: list[_Rule] | None = None
    budget_filter: _Filter | None = None


def _update_info(call: Call) -> dict[str, Any]:
    account = shapes.check(_Info, call.json(), strict=True).get("billingAccountName", "")
    if account and (account != BILLING_ACCOUNT or not _administers(call)):
        raise ApiError("PERMISSION_DENIED", "The caller does not have permission")
    with call.world.writing() as rows:
        rows.execute("UPDATE projects SET billing_account = ? WHERE id = ?", (account, call.params["project"]))
    return _info(call.params["project"], account)


def _check_budget(call: Call, budget: Mapping[str, Any]) -> None:
    amount = budget.get("amount")
    if not isinstance(amount, dict) or ("specifiedAmount" in amount) == ("lastPeriodAmount" in amount):
        raise invalid(
            "Request contains an invalid argument. A budget needs one amount: specifiedAmount or lastPeriodAmount."
        )
    if amount.get("specifiedAmount", {}).get("currencyCode", "USD") != "USD":
        raise invalid("Request contains an invalid argument. The currency must be the billing account's, USD.")
    for rule in budget.get("thresholdRules", []):
        percent = rule.get("thresholdPercent")
        if not isinstance(percent, int | float) or percent < 0:
            raise invalid("Request contains an invalid argument. A threshold is a number, 0.5 for 50 percent.")
    for name in budget.get("budgetFilter", {}).get("projects", []):
        if projects.find(call.world, name.removeprefix("projects/")) is None:
            raise invalid(f"Request contains an invalid argument. The project {name} does not exist.")


def _create_budget(call: Call) -> dict[str, Any]:
    account = _account(call)
    budget = shapes.check(_Budget, call.json())
    _check_budget(call, budget)
    name = f"{account}/budgets/{uuid.uuid4()}"
    budget = {**budget, "name": name, "etag": uuid.uuid4().hex[:16]}
    with call.world.writing() as rows:
        rows.execute("INSERT INTO budgets (name, budget) VALUES (?, ?)", (name, json.dumps(budget)))
    return budget


def _list_budgets(call: Call) -> dict[str, Any]:
    _account(call)
    with call.world.reading() as rows:
        budgets = [json.loads(row["budget"]) for row in rows.execute("SELECT budget FROM budgets ORDER BY name")]
    return {"budgets": budgets} if budgets else {}


def _get_budget(call: Call) -> dict[str, Any]:
    name = _budget(call)
    with call.world.reading() as rows:
        row = rows.execute("SELECT budget FROM budgets WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise not_found()
    answer: dict[str, Any] = json.loads(row["budget"])
    return answer


def _budget(call: Call) -> str:
    return f"{_account(call)}/budgets/{call.params['budget']}"


def _delete_budget(call: Call) -> dict[str, Any]:
    name = _budget(call)
    with call.world.writing() as rows:
        if not rows.execute("DELETE FROM budgets WHERE name = ?", (name,)).rowcount:
            raise not_found()
    return {}


_PROJECT = "/v1/projects/{project}/billingInfo"
_ACCOUNTS = "/v1/billingAccounts"

BILLING = Api(
    "cloudbilling.googleapis.com",
    "Cloud Billing API",
    ordered(
        (
            Method("cloudbilling.billingAccounts.list", "GET", _ACCOUNTS, _list_accounts),
            Method("cloudbilling.billingAccounts.get", "GET", f"{_ACCOUNTS}/{{account}}", _get_account),
            Method(
                "cloudbilling.projects.getBillingInfo", "GET", _PROJECT, _get_info, ("resourcemanager.projects.get",)
            ),
            Method(
                "cloudbilling.projects.updateBillingInfo",
                "PUT",
                _PROJECT,
                _update_info,
                ("resourcemanager.projects.createBillingAssignment",),
            ),
        )
    ),
    needs_enabling=False,
    sees_deleted=True,
)

BUDGETS = Api(
    "billingbudgets.googleapis.com",
    "Cloud Billing Budget API",
    ordered(
        (
            Method("billingbudgets.budgets.create", "POST", f"{_ACCOUNTS}/{{account}}/budgets", _create_budget),
            Method("billingbudgets.budgets.list", "GET", f"{_ACCOUNTS}/{{account}}/budgets", _list_budgets),
            Method("billingbudgets.budgets.get", "GET", f"{_ACCOUNTS}/{{account}}/budgets/{{budget}}", _get_budget),
            Method(
                "billingbudgets.budgets.delete", "DELETE", f"{_ACCOUNTS}/{{account}}/budgets/{{budget}}", _delete_budget
            ),
        )
    ),
    needs_enabling=False,
)
