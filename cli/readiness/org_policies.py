"""Find the organisation policies that would stop a notebook, from the rules of effective policies. Pure.

Rules as in https://cloud.google.com/resource-manager/docs/reference/orgpolicy/rest/v2/folders.policies#policyrule
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Rules = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Question:
    """What a run needs from the policies.

    Attributes:
        region: the run's region.
        apis: the APIs that its notebooks use.
        uses: the permissions that its notebooks use, each with the numbers of those notebooks.
    """

    region: str
    apis: Collection[str]
    uses: Mapping[str, Collection[int]]

    def who(self, *permissions: str) -> str:
        """Return the notebooks that use any of these permissions, such as `notebooks 6 and 9`, or ""."""
        found = [str(one) for one in sorted({number for one in permissions for number in self.uses.get(one, ())})]
        return f"notebook{'s' if len(found) > 1 else ''} {' and '.join(found)}" if found else ""


def _enforced(rules: Rules) -> bool:
    return any(rule.get("enforce") for rule in rules)


def _allows(rules: Rules, candidates: Collection[str]) -> bool:
    """Return whether a list constraint allows a value, which has several forms."""
    allowed: set[str] = set()
    for rule in rules:
        if rule.get("denyAll"):
            return False
        values = rule.get("values", {})
        if not set(values.get("deniedValues", ())).isdisjoint(candidates):
            return False
        allowed.update(values.get("allowedValues", ()))
    return not allowed or not allowed.isdisjoint(candidates)


def _location(rules: Rules, question: Question) -> str:
    # `in:us-locations` has the regions with that prefix, and `in:us-central1-locations` the region with its zones.
    written = {question.region, f"in:{question.region}-locations", f"in:{question.region.partition('-')[0]}-locations"}
    return "" if _allows(rules, written) else f"nothing may be made in {question.region}"


def _services(rules: Rules, question: Question) -> str:
    forbidden = sorted(api for api in question.apis if not _allows(rules, {api}))
    return f"these APIs may not be used: {', '.join(forbidden)}" if forbidden else ""


def _domains(rules: Rules, question: Question) -> str:
    """Check for allUsers, which a rule with allowed customers always excludes."""
    who = question.who("run.services.setIamPolicy", "artifactregistry.repositories.setIamPolicy")
    refused = who and not _allows(rules, {"allUsers"})
    return f"nothing may be public (needed by {who})" if refused else ""


def _accounts(rules: Rules, question: Question) -> str:
    who = question.who("iam.serviceAccounts.create")
    return f"no service account may be made (needed by {who})" if who and _enforced(rules) else ""


def _providers(rules: Rules, question: Question) -> str:
    who = question.who("iam.workloadIdentityPools.create")
    refused = who and not _allows(rules, {"https://token.actions.githubusercontent.com"})
    return f"GitHub may not sign in without a key (needed by {who})" if refused else ""


def _ingress(rules: Rules, question: Question) -> str:
    who = question.who("run.services.create")
    return (
        f"services can't be reached from here (needed by {who})"
        if who and not _allows(rules, {"all", "is:all"})
        else ""
    )


# A function for each constraint that returns what it stops, or "". None is about keys, which no notebook creates.
_CONFLICTS: Final[dict[str, Callable[[Rules, Question], str]]] = {
    "gcp.resourceLocations": _location,
    "gcp.restrictServiceUsage": _services,
    "iam.allowedPolicyMemberDomains": _domains,
    "iam.disableServiceAccountCreation": _accounts,
    "iam.workloadIdentityPoolProviders": _providers,
    "run.allowedIngress": _ingress,
}
CONSTRAINTS: Final = tuple(_CONFLICTS)


def conflict(constraint: str, rules: Rules, question: Question) -> str:
    """Return what a constraint's policy stops, or ""."""
    return _CONFLICTS[constraint](rules, question)
