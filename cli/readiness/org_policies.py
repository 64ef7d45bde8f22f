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
    """What is asked of the policies: the run's region, the APIs that its notebooks use, and their numbers."""

    region: str
    apis: Collection[str]
    notebooks: Collection[int]


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
    if _allows(rules, {"allUsers"}) or not {6, 9}.intersection(asked.notebooks):
        return ""
    return "nothing may be public: the service of notebook 6 answers nobody, and notebook 9 shows the refusal"


def _accounts(rules: Rules, asked: Question) -> str:
    needed = _enforced(rules) and {6, 9}.intersection(asked.notebooks)
    return "no service account may be made: notebooks 6 and 9 make some" if needed else ""


def _providers(rules: Rules, asked: Question) -> str:
    needed = 6 in asked.notebooks and not _allows(rules, {"https://token.actions.githubusercontent.com"})
    return "GitHub may not sign in without a key, which is what notebook 6 sets up" if needed else ""


def _ingress(rules: Rules, asked: Question) -> str:
    needed = 6 in asked.notebooks and not _allows(rules, {"all", "is:all"})
    return "the service of notebook 6 can't be reached from here" if needed else ""


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
