"""Check through Google's public APIs whether a project is ready for a real run. Changes nothing.

A refusal becomes a row of the report.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

from cli.readiness import needs, org_policies
from cli.readiness.report import Readiness, Row, State
from cli.run import google_world
from helpers import identity, names, projects
from helpers.cell import about
from helpers.transport import rest

_BILLING: Final = "https://cloudbilling.googleapis.com/v1"
_USAGE: Final = "https://serviceusage.googleapis.com"
_MANAGER: Final = "https://cloudresourcemanager.googleapis.com/v1"
_REGISTRY: Final = "https://artifactregistry.googleapis.com/v1"
_POLICIES: Final = "https://orgpolicy.googleapis.com/v2"
_MAY_LINK: Final = "resourcemanager.projects.createBillingAssignment"


@dataclass(frozen=True)
class _Context:
    """The facts that rows depend on. `held` are the caller's relevant permissions on the project."""

    project: names.Project
    region: str
    roles: tuple[needs.Need, ...]
    apis: tuple[str, ...]
    enabled: frozenset[str]
    held: frozenset[str]
    member: str


def check(project: names.Project, region: str, notebooks: Sequence[Path]) -> Readiness:
    """Return the report. A refusal is a row of it, never an exception."""
    numbers = tuple(about.number(path) for path in notebooks)
    return Readiness(project.id, region, numbers, tuple(_rows(project, region, notebooks)))


def _rows(project: names.Project, region: str, notebooks: Sequence[Path]) -> Iterator[Row]:
    try:
        who = identity.who_am_i()
        rest.call("GET", f"{_USAGE}/v1/{project.resource}/services/{needs.BEFORE[-1]}")
    except auth_exceptions.GoogleAuthError as error:
        yield Row("sign-in of Python", "you", _short(error), "gcloud auth application-default login")
        return
    except exceptions.GoogleAPICallError as error:
        if error.code == 401:
            yield Row("sign-in of Python", "you", _short(error), "gcloud auth application-default login")
            return
    yield Row("sign-in of Python", "ok", str(who))
    yield _gcloud(who.email)
    reached = _project(project)
    yield reached
    if reached.state != "ok":
        return
    roles = needs.roles(notebooks)
    held = frozenset(_held(project, roles))
    refused = ""
    enabled: frozenset[str] = frozenset()
    try:
        enabled = frozenset(projects.enabled(project))
    except exceptions.GoogleAPICallError as error:
        refused = _short(error)
    context = _Context(project, region, roles, needs.apis(notebooks), enabled, held, who.member)
    yield _billing(context)
    yield from _roles(context)
    if refused:
        yield Row("APIs", "note", f"can't be listed: {refused}")
    else:
        yield from _apis(context)
    yield _region(context)
    yield from _quotas(context)
    yield from _organisation(context)


def _ask(method: str, url: str, **arguments: Any) -> dict[str, Any] | exceptions.GoogleAPICallError:
    """Return the answer, or the refusal as a value."""
    try:
        return rest.call(method, url, **arguments)
    except exceptions.GoogleAPICallError as refusal:
        return refusal


def _short(error: Exception) -> str:
    """Return a refusal's message in one line, without the request's address."""
    text = str(getattr(error, "message", "") or error).splitlines()[0]
    return re.sub(r"^(?:GET|POST) \S+: ", "", text)[:200]


def _gcloud(email: str) -> Row:
    """Check gcloud's sign-in on a copy of its configuration, because gcloud writes logs and tokens there."""
    if not shutil.which("gcloud"):
        return Row("sign-in of gcloud", "note", "gcloud is missing: terminal cells are not run")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CLOUDSDK_CONFIG": str(google_world.copy_gcloud(Path(folder)))}
        account, token = (
            subprocess.run(
                ["gcloud", *command], env=environment, capture_output=True, text=True, check=False, timeout=120
            )
            for command in (
                ("auth", "list", "--filter=status:ACTIVE", "--format=value(account)"),
                ("auth", "print-access-token", "--quiet"),
            )
        )
    found = account.stdout.strip()
    if not found or token.returncode:
        return Row("sign-in of gcloud", "you", f"{found or 'no account'}: no token can be had", "gcloud auth login")
    if found != email:
        return Row(
            "sign-in of gcloud",
            "you",
            f"{found}, and Python is {email}: notebook 9 needs one account",
            f"gcloud auth login {email}\nor: gcloud auth application-default login, as {found}",
        )
    return Row("sign-in of gcloud", "ok", found)


def _project(project: names.Project) -> Row:
    try:
        found = projects.describe(project)
    except exceptions.GoogleAPICallError as error:
        if "SERVICE_DISABLED" in str(error.details):
            return Row("project", "you", _short(error), f"gcloud services enable {needs.BEFORE[1]} --project={project}")
        return Row(
            "project",
            "you",
            f"can't be read: {_short(error)}",
            "Look for a typo: gcloud projects list\nIs the id right, ask its owner for a role on the project.",
        )
    if found.state != "ACTIVE":
        return Row("project", "you", f"is {found.state}", f"gcloud projects undelete {project}")
    return Row("project", "ok", f"{project} (number {found.number})")


def _held(project: names.Project, roles: Sequence[needs.Need]) -> Collection[str]:
    own = {_MAY_LINK, needs.MAY_GRANT, needs.MAY_ENABLE, "serviceusage.quotas.get"}
    wanted = sorted({one for need in roles for one in need.uses} | own)
    found = _ask("POST", f"{_MANAGER}/{project.resource}:testIamPermissions", json={"permissions": wanted})
    return () if isinstance(found, exceptions.GoogleAPICallError) else found.get("permissions", ())


def _billing(context: _Context) -> Row:
    found = _ask("GET", f"{_BILLING}/{context.project.resource}/billingInfo")
    if isinstance(found, exceptions.GoogleAPICallError):
        return Row("billing", "note", f"can't be read: {_short(found)}")
    if found.get("billingEnabled"):
        return Row("billing", "ok", f"on, paid by {found.get('billingAccountName', 'an account that you may not see')}")
    mine = _ask("GET", f"{_BILLING}/billingAccounts")
    accounts = [] if isinstance(mine, exceptions.GoogleAPICallError) else mine.get("billingAccounts", [])
    usable = [one["name"].partition("/")[2] for one in accounts if one.get("open")]
    if usable and _MAY_LINK in context.held:
        return Row(
            "billing",
            "you",
            "off: nobody pays for the project",
            f"gcloud billing projects link {context.project} --billing-account={usable[0]}",
        )
    return Row(
        "billing",
        "administrator",
        "off: nobody pays for the project",
        f"a Billing Account User links it: gcloud billing projects link {context.project} --billing-account=ACCOUNT",
    )


def _roles(context: _Context) -> Iterator[Row]:
    state: State = "you" if needs.MAY_GRANT in context.held else "administrator"
    fine = True
    for need in context.roles:
        missing = [one for one in need.uses if one not in context.held]
        if not missing:
            continue
        fine = False
        yield Row(
            f"role {need.role}",
            state,
            f"lacks {', '.join(missing)} (notebooks {', '.join(f'{one:02}' for one in need.notebooks(missing))})",
            f"gcloud projects add-iam-policy-binding {context.project} --member={context.member} --role={need.role}",
        )
    if fine:
        yield Row("roles", "ok", "all that these notebooks need")


def _apis(context: _Context) -> Iterator[Row]:
    may = needs.MAY_ENABLE in context.held
    first = [api for api in needs.BEFORE if api not in context.enabled]
    if first:
        yield Row(
            "APIs needed at once",
            "you" if may else "administrator",
            f"off: {', '.join(first)}",
            f"gcloud services enable {' '.join(first)} --project={context.project}",
        )
    later = [api for api in context.apis if api not in context.enabled and api not in needs.BEFORE]
    if later and may:
        yield Row("APIs", "ok", f"off, and enabled by the notebooks: {', '.join(later)}")
    elif later:
        yield Row(
            "APIs",
            "administrator",
            f"off: {', '.join(later)}",
            f"gcloud services enable {' '.join(later)} --project={context.project}",
        )
    elif not first:
        yield Row("APIs", "ok", "all enabled")


def _region(context: _Context) -> Row:
    mend = "gcloud artifacts locations list\nThen: make real PROJECT=… REGION=us-central1"
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+", context.region):
        return Row("region", "you", f"{context.region} is no region, as us-central1 is one", mend)
    if projects.ARTIFACT_REGISTRY not in context.enabled:
        return Row("region", "note", f"{context.region}, not asked for: the Artifact Registry API is off")
    found = _ask("GET", f"{_REGISTRY}/{context.project.resource}/locations/{context.region}")
    if isinstance(found, exceptions.GoogleAPICallError):
        return Row("region", "you", f"Artifact Registry has no {context.region}: {_short(found)}", mend)
    return Row("region", "ok", context.region)


def _quotas(context: _Context) -> Iterator[Row]:
    """Check for quotas of 0, which stop a notebook. Their usage isn't available here."""
    fine = True
    for api in context.apis:
        if api not in context.enabled:
            continue
        url = f"{_USAGE}/v1beta1/{context.project.resource}/services/{api}/consumerQuotaMetrics"
        found = _ask("GET", url, params={"pageSize": "1000"})
        if isinstance(found, exceptions.GoogleAPICallError):
            yield Row("quotas", "note", f"can't be read: {_short(found)}")
            return
        for metric in found.get("metrics", ()):
            if _nothing(metric, context.region):
                fine = False
                yield Row(
                    f"quota {metric.get('displayName', metric['metric'])}",
                    "administrator",
                    f"{metric['metric']} is 0 in {context.region}",
                    "a Quota Administrator raises it: "
                    f"https://console.cloud.google.com/iam-admin/quotas?project={context.project}",
                )
    if fine:
        yield Row("quotas", "ok", "none of the enabled APIs has a quota of 0 here")


def _nothing(metric: dict[str, Any], region: str) -> bool:
    """Return whether the quota of the region, or else the global one, is zero."""
    for limit in metric.get("consumerQuotaLimits", ()):
        fitting = [
            bucket
            for bucket in limit.get("quotaBuckets", ())
            if bucket.get("dimensions", {}).get("region", region) == region
        ]
        # From the least to the most specific, as Google orders them.
        if fitting and fitting[-1].get("effectiveLimit") == "0":
            return True
    return False


def _organisation(context: _Context) -> Iterator[Row]:
    uses = {permission: numbers for need in context.roles for permission, numbers in need.uses.items()}
    question = org_policies.Question(context.region, (*context.apis, *needs.BEFORE), uses)
    fine = True
    for constraint in org_policies.CONSTRAINTS:
        url = f"{_POLICIES}/{context.project.resource}/policies/{constraint}:getEffectivePolicy"
        found = _ask("GET", url)
        if isinstance(found, exceptions.GoogleAPICallError):
            yield Row(
                "organisation's policies",
                "note",
                f"can't be read: {_short(found)}",
            )
            return
        stopped = org_policies.conflict(constraint, found.get("spec", {}).get("rules", ()), question)
        if stopped:
            fine = False
            yield Row(
                f"policy {constraint}",
                "administrator",
                stopped,
                f"an Organization Policy Administrator makes an exception for {context.project}, "
                f"or choose another project\nlook: gcloud org-policies describe {constraint} --effective "
                f"--project={context.project}",
            )
    if fine:
        yield Row("organisation's policies", "ok", "none is in the way")
