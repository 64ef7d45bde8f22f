"""Which of an organisation's policies stop a notebook. Pure: it reads the rules of effective policies.

Rules as in https://cloud.google.com/resource-manager/docs/reference/orgpolicy/rest/v2/folders.policies#policyrule
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Rules = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Question:
    """What is asked of the policies.

    Attributes:
        region: the run's region.
        apis: the APIs that its notebooks use.
        uses: the permissions that its notebooks use, each with the numbers of those notebooks.
    """

    region: str
    apis: Collection[str]
    uses: Mapping[str, Collection[int]]

    def who(self, *permissions: str) -> str:
        """Return the notebooks that use any of these permissions, as `notebooks 6 and 9`; "" for none."""
        found = [str(one) for one in sorted({number for one in permissions for number in self.uses.get(one, ())})]
        return f"notebook{'s' if len(found) > 1 else ''} {' and '.join(found)}" if found else ""


def _enforced(rules: Rules) -> bool:
    return any(rule.get("enforce") for rule in rules)


def _allows(rules: Rules, candidates: Collection[str]) -> bool:
    """Whether a list constraint lets through a value that may be written in any of these ways."""
    allowed: set[str] = set()
    for rule in rules:
        if rule.get("denyAll"):
            return False
        values = rule.get("values", {})
        if not set(values.get("deniedValues", ())).isdisjoint(candidates):
            return False
        allowed.update(values.get("allowedValues", ()))
    return not allowed or not allowed.isdisjoint(candidates)


def _location(rules: Rules, asked: Question) -> str:
    # `in:us-locations` holds the regions whose names begin so; `in:us-central1-locations` the region and its zones.
    written = {asked.region, f"in:{asked.region}-locations", f"in:{asked.region.partition('-')[0]}-locations"}
    return "" if _allows(rules, written) else f"nothing may be made in {asked.region}"


def _services(rules: Rules, asked: Question) -> str:
    forbidden = sorted(api for api in asked.apis if not _allows(rules, {api}))
    return f"these APIs may not be used: {', '.join(forbidden)}" if forbidden else ""


def _domains(rules: Rules, asked: Question) -> str:
    """Any rule that names customers keeps allUsers out: it belongs to none."""
    who = asked.who("run.services.setIamPolicy", "artifactregistry.repositories.setIamPolicy")
    refused = who and not _allows(rules, {"allUsers"})
    return f"nothing may be public (needed by {who})" if refused else ""


def _accounts(rules: Rules, asked: Question) -> str:
    who = asked.who("iam.serviceAccounts.create")
    return f"no service account may be made (needed by {who})" if who and _enforced(rules) else ""


def _providers(rules: Rules, asked: Question) -> str:
    who = asked.who("iam.workloadIdentityPools.create")
    refused = who and not _allows(rules, {"https://token.actions.githubusercontent.com"})
    return f"GitHub may not sign in without a key (needed by {who})" if refused else ""


def _ingress(rules: Rules, asked: Question) -> str:
    who = asked.who("run.services.create")
    return (
        f"services can't be reached from here (needed by {who})"
        if who and not _allows(rules, {"all", "is:all"})
        else ""
    )


# Constraint → what it stops, or "". Keys are no matter here: no notebook makes one.
_BITES: Final[dict[str, Callable[[Rules, Question], str]]] = {
    "gcp.resourceLocations": _location,
    "gcp.restrictServiceUsage": _services,
    "iam.allowedPolicyMemberDomains": _domains,
    "iam.disableServiceAccountCreation": _accounts,
    "iam.workloadIdentityPoolProviders": _providers,
    "run.allowedIngress": _ingress,
}
CONSTRAINTS: Final = tuple(_BITES)


def bite(constraint: str, rules: Rules, asked: Question) -> str:
    """Return what the policy stops in the notebooks that are asked about; nothing when it is in nobody's way."""
    return _BITES[constraint](rules, asked)
