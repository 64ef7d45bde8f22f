"""Find what runs of the workbook created in a project and left there, each with the id of its run.

A resource belongs to a run by its label `workbook-run`. Kinds of resources without labels have the label's text in a
description or a tag, or the run's id in a name. Everything else was created by others and is left out.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from google.api_core import exceptions

from helpers import names
from helpers.target import LABEL
from helpers.transport import clients, rest

Kind = Literal[
    "service",
    "container",
    "image",
    "trigger",
    "connection",
    "secret",
    "identity pool",
    "role",
    "service account",
    "repository",
    "build source",
    "bucket",
    "budget",
]
# The order of deletion. Services come before containers and images, because the sandbox runs services in containers,
# and an engine keeps the image of a running container. Roles come before accounts, because a policy keeps deleted
# accounts. A bucket comes after the objects in it.
ORDER: Final[tuple[Kind, ...]] = Kind.__args__  # type: ignore[attr-defined]

IAM: Final = "https://iam.googleapis.com/v1"
STORAGE: Final = "https://storage.googleapis.com/storage/v1"
BUILD: Final = "https://cloudbuild.googleapis.com/v1"
CONNECTIONS: Final = "https://cloudbuild.googleapis.com/v2"
SECRETS: Final = "https://secretmanager.googleapis.com/v1"
BUDGETS: Final = "https://billingbudgets.googleapis.com/v1"
_BILLING: Final = "https://cloudbilling.googleapis.com/v1"
_MANAGER: Final = "https://cloudresourcemanager.googleapis.com/v1"
_RUN: Final = "apis/serving.knative.dev/v1/namespaces"

# The runner's ids, such as `20261125t151006-1a2b3c`, anywhere in a name.
RUN_ID: Final = re.compile(r"(?<![a-z0-9])\d{8}t\d{6}-[0-9a-f]{6}(?![a-z0-9])")
_LONGEST: Final = dt.timedelta(hours=6)
_ACCOUNT: Final = re.compile(r"(?:deleted:)?serviceAccount:(wb-[a-z]+-([0-9a-f]{6}))@")


@dataclass(frozen=True, order=True)
class Leftover:
    """One thing that a run created.

    `name` is a container's id, an image's reference, or on Google the resource name or the address with which it is
    deleted. For a role `name` is the member and `detail` the project.
    `created` is the time (RFC 3339), or "" where the API has none.
    """

    kind: Kind
    name: str
    detail: str = ""
    run: str = ""
    created: str = ""


@dataclass(frozen=True)
class Traces:
    """The leftovers, and the kinds that couldn't be listed, with the reason."""

    found: tuple[Leftover, ...]
    unseen: tuple[tuple[str, str], ...] = ()


def find(location: names.Location, runs: Iterable[str] = ()) -> Traces:
    """Return everything in a project and region that some run created. Changes nothing.

    `runs` are known ids. They are needed because an account's name has only a digest of the run's id.
    """
    found: list[Leftover] = []
    unseen: list[tuple[str, str]] = []

    def look(kind: Kind, finder: Callable[[], Iterator[Leftover]]) -> None:
        try:
            found.extend(finder())
        except (exceptions.Forbidden, exceptions.NotFound, exceptions.MethodNotImplemented) as error:
            # An API that isn't enabled or doesn't exist has no resources.
            if isinstance(error, exceptions.Forbidden) and "SERVICE_DISABLED" not in str(error.details):
                unseen.append((kind, str(error.message).splitlines()[0]))

    look("repository", lambda: repositories(location))
    look("service", lambda: services(location))
    look("service account", lambda: accounts(location.project))
    look("secret", lambda: _secrets(location.project, runs))
    look("budget", lambda: _budgets(location.project))
    look("identity pool", lambda: _pools(location.project))
    known = {one.run for one in found} | set(runs)
    look("trigger", lambda: _triggers(location, known))
    look("connection", lambda: _connections(location, known))
    look("role", lambda: _roles(location.project, known))
    look("build source", lambda: _sources(location, known))
    look("bucket", lambda: _bucket(location.project, [one for one in found if one.kind == "build source"], known))
    return Traces(tuple(sorted(set(found), key=lambda one: (ORDER.index(one.kind), one))), tuple(unseen))


def repositories(location: names.Location) -> Iterator[Leftover]:
    """Yield the region's repositories with a run's label."""
    client = clients.artifact_registry()
    for one in client.list_repositories(parent=location.resource):
        if run := one.labels.get(LABEL):
            created = one.create_time.isoformat() if one.create_time else ""
            yield Leftover("repository", one.name, f"{one.size_bytes} bytes", run, created)


def services(location: names.Location) -> Iterator[Leftover]:
    """Yield the region's Cloud Run services with a run's label."""
    url = f"https://{location}-run.googleapis.com/{_RUN}/{location.project}/services"
    for one in rest.call("GET", url).get("items", []):
        about = one["metadata"]
        if run := about.get("labels", {}).get(LABEL):
            address = one.get("status", {}).get("url", "")
            yield Leftover("service", f"{url}/{about['name']}", address, run, about.get("creationTimestamp", ""))


def accounts(project: names.Project) -> Iterator[Leftover]:
    """Yield the service accounts whose description is a run's label. Google has no time of creation for them."""
    for one in rest.pages(f"{IAM}/{project.resource}/serviceAccounts", "accounts"):
        if run := _labelled(one.get("description", "")):
            yield Leftover("service account", one["name"], one.get("displayName", ""), run)


def _secrets(project: names.Project, known: Iterable[str]) -> Iterator[Leftover]:
    """Yield secrets with a run's label, and those without it that Cloud Build made for a run's connection."""
    for one in rest.pages(f"{SECRETS}/{project.resource}/secrets", "secrets"):
        name = one["name"].rpartition("/")[2]
        of_connection = _of_connection(name, known) if "-github-oauthtoken-" in name else ""
        if run := one.get("labels", {}).get(LABEL) or of_connection:
            yield Leftover("secret", one["name"], "", run, one.get("createTime", ""))


def _budgets(project: names.Project) -> Iterator[Leftover]:
    """Yield the budgets of the project's billing account that are named `workbook RUN`."""
    account = rest.call("GET", f"{_BILLING}/{project.resource}/billingInfo").get("billingAccountName", "")
    for one in rest.pages(f"{BUDGETS}/{account}/budgets", "budgets") if account else ():
        word, _, run = one.get("displayName", "").partition(" ")
        if word == "workbook" and run and f"projects/{project}" in one.get("budgetFilter", {}).get("projects", ()):
            yield Leftover("budget", one["name"], one["displayName"], run)


def _pools(project: names.Project) -> Iterator[Leftover]:
    """Yield workload identity pools, whose deletion includes their providers."""
    url = f"{IAM}/{project.resource}/locations/global/workloadIdentityPools"
    for one in rest.pages(url, "workloadIdentityPools"):
        if run := _labelled(one.get("description", "")) or _in_name(one["name"]):
            yield Leftover("identity pool", one["name"], one.get("displayName", ""), run)


def _triggers(location: names.Location, known: Iterable[str]) -> Iterator[Leftover]:
    """Yield build triggers by a tag, the description, the name or their account, since they have no labels."""
    for one in rest.pages(f"{BUILD}/{location.resource}/triggers", "triggers"):
        texts = (*one.get("tags", ()), one.get("description", ""))
        run = next((found for text in texts if (found := _labelled(text))), "")
        run = run or _in_name(one.get("name", "")) or _of_account(one.get("serviceAccount", ""), known)
        if run:
            name = f"{location.resource}/triggers/{one['id']}"
            yield Leftover("trigger", name, one.get("name", ""), run, one.get("createTime", ""))


def _connections(location: names.Location, known: Iterable[str]) -> Iterator[Leftover]:
    """Yield connections to GitHub by their names, since they have no labels.

    The deletion of a connection includes its repositories.
    """
    for one in rest.pages(f"{CONNECTIONS}/{location.resource}/connections", "connections"):
        if run := _of_connection(one["name"].rpartition("/")[2], known):
            yield Leftover("connection", f"{CONNECTIONS}/{one['name']}", "", run, one.get("createTime", ""))


def _of_connection(name: str, known: Iterable[str]) -> str:
    return _in_name(name) or next((run for run in known if re.search(rf"-{re.escape(run)}(?![a-z0-9])", name)), "")


def _roles(project: names.Project, known: Iterable[str]) -> Iterator[Leftover]:
    """Yield accounts of runs in the project's policy, including deleted accounts."""
    policy = rest.call(
        "POST", f"{_MANAGER}/{project.resource}:getIamPolicy", json={"options": {"requestedPolicyVersion": 3}}
    )
    hashes = {digits(run): run for run in known}
    for entry in policy.get("bindings", ()):
        for member in entry.get("members", ()):
            match = _ACCOUNT.match(member)
            if match and match[2] in hashes:
                yield Leftover("role", member, project.resource, hashes[match[2]])


def _sources(location: names.Location, known: Iterable[str]) -> Iterator[Leftover]:
    """Yield uploaded sources with the run's id in the object's name, and those that a run's build fetched."""
    bucket = f"{location.project}_cloudbuild"
    url = f"{STORAGE}/b/{bucket}/o"
    of_builds = dict(_fetched(location, known))
    for one in rest.pages(url, "items"):
        run = _in_path(one["name"], known) or of_builds.get((bucket, one["name"]), "")
        if run:
            address = f"{url}/{one['name'].replace('/', '%2F')}"
            yield Leftover("build source", address, f"{one.get('size', 0)} bytes", run, one.get("timeCreated", ""))


def _fetched(location: names.Location, known: Iterable[str]) -> Iterator[tuple[tuple[str, str], str]]:
    try:
        listed = list(rest.pages(f"{BUILD}/{location.resource}/builds", "builds"))
    except exceptions.Forbidden:
        return
    for one in listed:
        source = one.get("source", {}).get("storageSource", {})
        texts = (*one.get("substitutions", {}).values(), *one.get("images", ()))
        run = _of_account(one.get("serviceAccount", ""), known)
        run = run or next((found for text in texts if (found := _in_name(text))), "")
        if run and source:
            yield (source["bucket"], source["object"]), run


def _bucket(project: names.Project, sources: list[Leftover], known: Iterable[str]) -> Iterator[Leftover]:
    """Yield the bucket for sources if it was created during a run and contains only objects of runs.

    gcloud creates the bucket again when it is needed.
    """
    url = f"{STORAGE}/b/{project}_cloudbuild"
    created = rest.call("GET", url)["timeCreated"]
    if len(list(rest.pages(f"{url}/o", "items"))) != len(sources):
        return
    made = dt.datetime.fromisoformat(created)
    times = {run: dt.datetime.fromisoformat(_moment(run)) for run in known if _moment(run)}
    # The id has whole seconds.
    fitting = [run for run, start in times.items() if start <= made <= start + _LONGEST]
    if fitting:
        yield Leftover("bucket", url, "", max(fitting), created)


def digits(run: str) -> str:
    """Return the six digits at the end of the names of a run's service accounts."""
    return hashlib.sha256(run.encode()).hexdigest()[:6]


def _moment(run: str) -> str:
    """Return when the run began (RFC 3339) according to its id, or "" for another form of id."""
    if not RUN_ID.fullmatch(run):
        return ""
    return f"{run[:4]}-{run[4:6]}-{run[6:8]}T{run[9:11]}:{run[11:13]}:{run[13:15]}Z"


def began(run: str, leftovers: Iterable[Leftover] = ()) -> str:
    """Return when a run began (RFC 3339), from its id or else from its oldest leftover, or "" if neither has it."""
    times = (one.created for one in leftovers if one.run == run and one.created)
    return _moment(run) or min(times, default="")


def _labelled(text: str) -> str:
    label, sign, run = text.partition("=")
    return run.strip() if label == LABEL and sign else ""


def _in_name(text: str) -> str:
    match = RUN_ID.search(text)
    return match[0] if match else ""


def _in_path(name: str, known: Iterable[str]) -> str:
    """Return the id of a run that is a part of an object's path, or ""."""
    parts = name.split("/")
    return next((run for run in known if run in parts), "") or next((part for part in parts if _moment(part)), "")


def _of_account(account: str, known: Iterable[str]) -> str:
    email = account.rpartition("/")[2]
    return next((run for run in known if re.match(rf"wb-[a-z]+-{digits(run)}@", email)), "")
