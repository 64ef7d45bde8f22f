"""How each method of the sandbox is called with its whole message: what it needs first, and what it does with a field.

In paths and in bodies `{project}` stands for the project and `{id}` for a name that nothing has yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]
Before = tuple[tuple[str, str, Json], ...]


@dataclass(frozen=True)
class Recipe:
    """One method.

    Attributes:
        base: what a request needs at least.
        under: paths of the messages whose fields are sent as well, and where the answer tells each; `-` for nowhere.
        before: calls that make what it needs.
        acted: fields that are acted on and not told back.
        ignored: fields that Google ignores too, as its documentation says.
        words: what a refusal says instead of a field's name.
        masked: whether a field that is sent is named in the mask as well: in the query, or at this path of the body.
        instead: fields of which the base has one, and a message has one at most.
        told: where in the answer the message itself stands.
    """

    verb: str
    url: str
    base: Json = field(default_factory=dict)
    under: Mapping[str, str] = field(default_factory=dict)
    before: Before = ()
    acted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    masked: str = ""
    instead: tuple[str, ...] = ()
    told: str = ""


IAM = "https://iam.googleapis.com/v1/projects/{project}"
ACCOUNT = f"{IAM}/serviceAccounts/{{id}}@{{project}}.iam.gserviceaccount.com"
NEW_ACCOUNT = ("POST", f"{IAM}/serviceAccounts", {"accountId": "{id}"})
ROLE = {"roleId": "{id}", "role": {"title": "t", "includedPermissions": ["storage.objects.get"]}}
NEW_ROLE = ("POST", f"{IAM}/roles", ROLE)
POOLS = f"{IAM}/locations/global/workloadIdentityPools"
NEW_POOL = ("POST", f"{POOLS}?workloadIdentityPoolId={{id}}", {})
PROVIDER = {"oidc": {"issuerUri": "https://example.com"}, "attributeMapping": {"google.subject": "assertion.sub"}}
NEW_PROVIDER = ("POST", f"{POOLS}/{{id}}/providers?workloadIdentityPoolProviderId={{id}}", PROVIDER)
SECRETS = "https://secretmanager.googleapis.com/v1/projects/{project}/secrets"
SECRET = {"replication": {"automatic": {}}}
NEW_SECRET = ("POST", f"{SECRETS}?secretId={{id}}", SECRET)
VERSION = {"payload": {"data": "c29tZQ=="}}
NEW_VERSION = ("POST", f"{SECRETS}/{{id}}:addVersion", VERSION)
RESOURCES = "https://cloudresourcemanager.googleapis.com/v1/projects"
NEW_PROJECT = ("POST", RESOURCES, {"projectId": "{id}"})
USAGE = "https://serviceusage.googleapis.com/v1/projects/{project}/services"
ANALYSIS = "https://containeranalysis.googleapis.com/v1/projects/{project}"
SBOM = {"sbomReference": {"format": "SPDX", "version": "2.3"}}
NEW_NOTE = ("POST", f"{ANALYSIS}/notes?noteId={{id}}", SBOM)
OCCURRENCE = {"resourceUri": "https://example.com/{id}", "noteName": "projects/{project}/notes/{id}"} | {
    "sbomReference": {"payloadType": "a", "payload": {"predicateType": "b"}}
}
REGISTRY = "https://artifactregistry.googleapis.com/v1/projects/{project}/locations/us-central1/repositories"
NOTES = (
    "sbomReference", "attestation", "build", "compliance", "deployment", "discovery", "dsseAttestation", "image",
    "package", "secret", "upgrade", "vulnerability", "vulnerabilityAssessment",
)  # fmt: skip
OCCURRENCES = NOTES[:-1]
NEW_REPOSITORY = ("POST", f"{REGISTRY}?repositoryId={{id}}", {"format": "DOCKER"})
STORAGE = "https://storage.googleapis.com"
RUN = "https://us-central1-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{project}/services"
KNATIVE: Json = {"metadata": {"name": "{id}"}, "spec": {"template": {"spec": {"containers": [{"image": "nginx"}]}}}}
BUDGETS = "https://billingbudgets.googleapis.com/v1/{billing}/budgets"
BUDGET = {
    "amount": {"specifiedAmount": {"currencyCode": "USD", "units": "5"}},
    "thresholdRules": [{"thresholdPercent": 0.5}],
}

PACKAGE = f"{REGISTRY}/{{id}}/packages/app"
# The manifest of an image without layers, with a tag of its own.
NEW_IMAGE = ("PUSH", "", {})
NEW_TAG = ("POST", f"{PACKAGE}/tags?tagId=other", {"version": f"{PACKAGE}/versions/{{digest}}".partition("/v1/")[2]})
HOSTS = ("github", "bitbucketCloud", "bitbucketDataCenter", "githubEnterprise", "gitlab")
CONNECTIONS = "https://cloudbuild.googleapis.com/v2/projects/{project}/locations/us-central1/connections"
NEW_OCCURRENCE = ("POST", f"{ANALYSIS}/occurrences", OCCURRENCE)

_POLICY = {"policy": "", "policy.bindings": "bindings"}
_POLICY_WORDS = {
    "updateMask": "updateMask",
    "auditConfigs": "audit configurations",
    "etag": "concurrent",
    "version": "7",
}
_OWNER = {"bindings": [{"role": "roles/viewer", "members": ["allUsers"]}]}
_CONTAINER = {
    "": "",
    "metadata": "metadata",
    "spec": "spec",
    "spec.template": "spec.template",
    "spec.template.metadata": "spec.template.metadata",
    "spec.template.spec": "spec.template.spec",
    "spec.template.spec.containers": "spec.template.spec.containers",
}


def _set_policy(url: str, *before: tuple[str, str, Json], base: Json | None = None) -> Recipe:
    policy = {"policy": _OWNER} if base is None else base
    return Recipe("POST", f"{url}:setIamPolicy", policy, {"": "-", **_POLICY}, before, ("policy",), words=_POLICY_WORDS)


def _test_permissions(url: str, *before: tuple[str, str, Json]) -> Recipe:
    return Recipe("POST", f"{url}:testIamPermissions", {"permissions": ["a.b.get"]}, {}, before, ("permissions",))


def _etag(verb: str) -> Recipe:
    return Recipe("POST", f"{SECRETS}/{{id}}/versions/1:{verb}", {}, {}, (NEW_SECRET, NEW_VERSION))


RECIPES: dict[str, Recipe] = {
    "iam.projects.serviceAccounts.create": Recipe(
        "POST", f"{IAM}/serviceAccounts", {"accountId": "{id}"}, {"": "-", "serviceAccount": ""}, (),
        ("accountId", "serviceAccount"), ignored=("etag",),
    ),
    "iam.projects.serviceAccounts.patch": Recipe(
        "PATCH", ACCOUNT, {"serviceAccount": {}, "updateMask": "displayName"}, {"": "-", "serviceAccount": ""},
        (NEW_ACCOUNT,), ("serviceAccount", "updateMask"), masked="updateMask",
    ),
    "iam.projects.serviceAccounts.keys.create": Recipe("POST", f"{ACCOUNT}/keys", {}, {}, (NEW_ACCOUNT,)),
    "iam.projects.serviceAccounts.setIamPolicy": _set_policy(
        ACCOUNT, NEW_ACCOUNT,
        base={"policy": {"bindings": [{"role": "roles/viewer", "members": ["user:ana@example.com"]}]}},
    ),
    "iam.projects.serviceAccounts.testIamPermissions": _test_permissions(ACCOUNT, NEW_ACCOUNT),
    "iam.permissions.queryTestablePermissions": Recipe(
        "POST", "https://iam.googleapis.com/v1/permissions:queryTestablePermissions",
        {"fullResourceName": "//cloudresourcemanager.googleapis.com/projects/{project}"}, {}, (),
        ("fullResourceName", "pageSize"), words={"pageToken": "Invalid page token"},
    ),
    "iam.projects.roles.create": Recipe(
        "POST", f"{IAM}/roles", ROLE, {"": "-", "role": ""}, (), ("roleId", "role"), ignored=("etag", "deleted"),
    ),
    "iam.projects.roles.patch": Recipe(
        "PATCH", f"{IAM}/roles/{{id}}", {}, {}, (NEW_ROLE,), (), ("name",),
        {"includedPermissions": "Permission some-text", "etag": "concurrent"}, masked="?",
    ),
    "iam.projects.roles.undelete": Recipe(
        "POST", f"{IAM}/roles/{{id}}:undelete", {}, {},
        (NEW_ROLE, ("DELETE", f"{IAM}/roles/{{id}}", {})), words={"etag": "concurrent"},
    ),
    "iam.projects.locations.workloadIdentityPools.create": Recipe(
        "POST", f"{POOLS}?workloadIdentityPoolId={{id}}", {}, told="response",
    ),
    "iam.projects.locations.workloadIdentityPools.patch": Recipe(
        "PATCH", f"{POOLS}/{{id}}", {"displayName": "a"}, {}, (NEW_POOL,), masked="?", told="response",
    ),
    "iam.projects.locations.workloadIdentityPools.providers.create": Recipe(
        "POST", NEW_PROVIDER[1], PROVIDER, {"": "", "oidc": "oidc"}, (NEW_POOL,), told="response",
        words={"attributeCondition": "attribute condition", "jwksJson": "JWK"},
    ),
    "iam.projects.locations.workloadIdentityPools.providers.patch": Recipe(
        "PATCH", f"{POOLS}/{{id}}/providers/{{id}}", {"displayName": "a"}, {}, (NEW_POOL, NEW_PROVIDER), masked="?",
        told="response", words={"attributeCondition": "attribute condition", "attributeMapping": "attribute mapping"},
    ),
    "iamcredentials.projects.serviceAccounts.generateAccessToken": Recipe(
        "POST",
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{id}@{project}.iam.gserviceaccount.com"
        ":generateAccessToken",
        {"scope": ["https://www.googleapis.com/auth/cloud-platform"]}, {},
        (NEW_ACCOUNT, ("POST", f"{ACCOUNT}:setIamPolicy", {"policy": {"bindings": [
            {"role": "roles/iam.serviceAccountTokenCreator", "members": ["serviceAccount:{learner}"]}]}})),
        ("scope", "lifetime"),
    ),
    "logging.entries.list": Recipe(
        "POST", "https://logging.googleapis.com/v2/entries:list", {"resourceNames": ["projects/{project}"]}, {}, (),
        ("resourceNames", "pageSize", "filter", "orderBy"),
        words={"pageToken": "Invalid page token", "projectIds": "projects/some-text"},
    ),
    "secretmanager.projects.secrets.create": Recipe(
        "POST", NEW_SECRET[1], SECRET, {"": "", "replication": "replication", "replication.automatic": "-"}, (),
        ignored=("etag",),
        words=dict.fromkeys(("userManaged", "customerManagedEncryption", "colour"), "not replicated automatically"),
    ),
    "secretmanager.projects.secrets.patch": Recipe(
        "PATCH", f"{SECRETS}/{{id}}", {}, {}, (NEW_SECRET,), masked="?", words={"replication": "replication"},
    ),
    "secretmanager.projects.secrets.addVersion": Recipe(
        "POST", f"{SECRETS}/{{id}}:addVersion", VERSION, {"": "-", "payload": "-"}, (NEW_SECRET,), ("payload", "data"),
        words={"dataCrc32c": "checksum"},
    ),
    "secretmanager.projects.secrets.versions.enable": _etag("enable"),
    "secretmanager.projects.secrets.versions.disable": _etag("disable"),
    "secretmanager.projects.secrets.versions.destroy": _etag("destroy"),
    "secretmanager.projects.secrets.setIamPolicy": _set_policy(f"{SECRETS}/{{id}}", NEW_SECRET),
    "secretmanager.projects.secrets.testIamPermissions": _test_permissions(f"{SECRETS}/{{id}}", NEW_SECRET),
    "cloudresourcemanager.projects.create": Recipe(
        "POST", RESOURCES, {"projectId": "{id}"}, {}, (), ("projectId",),
        words={"parent": "inside an organisation"}, told="response",
    ),
    "cloudresourcemanager.projects.update": Recipe(
        "PUT", f"{RESOURCES}/{{id}}", {"name": "a name"}, {}, (NEW_PROJECT,),
        words={"parent": "inside an organisation"},
    ),
    "cloudresourcemanager.projects.getIamPolicy": Recipe(
        "POST", f"{RESOURCES}/{{project}}:getIamPolicy", {}, {"": "-", "options": "-"}, (),
        words={"options": "requestedPolicyVersion"},
    ),
    "cloudresourcemanager.projects.setIamPolicy": _set_policy(
        f"{RESOURCES}/{{id}}", NEW_PROJECT,
        base={"policy": {"bindings": [{"role": "roles/owner", "members": ["serviceAccount:{learner}"]}]}},
    ),
    "cloudresourcemanager.projects.testIamPermissions": _test_permissions(f"{RESOURCES}/{{project}}"),
    "serviceusage.services.batchEnable": Recipe(
        "POST", f"{USAGE}:batchEnable", {"serviceIds": ["pubsub.googleapis.com"]}, {}, (), ("serviceIds",),
    ),
    "serviceusage.services.disable": Recipe(
        "POST", f"{USAGE}/pubsub.googleapis.com:disable", {}, {},
        (("POST", f"{USAGE}/pubsub.googleapis.com:enable", {}),),
        # No API here depends on another, and no calls are counted: see `_Disable`.
        ("disableDependentServices", "checkIfServiceHasUsage"),
    ),
    "cloudbilling.projects.updateBillingInfo": Recipe(
        "PUT", "https://cloudbilling.googleapis.com/v1/projects/{project}/billingInfo",
        {"billingAccountName": "{billing}"},
    ),
    "billingbudgets.budgets.create": Recipe(
        "POST", BUDGETS, BUDGET,
        {"": "", "amount": "amount", "amount.specifiedAmount": "amount.specifiedAmount",
         "thresholdRules": "thresholdRules", "budgetFilter": "budgetFilter"},
        words={"currencyCode": "currency", "lastPeriodAmount": "lastPeriodAmount"},
    ),
    "containeranalysis.projects.notes.create": Recipe(
        "POST", NEW_NOTE[1], SBOM, {"": "", "sbomReference": "sbomReference"}, (), ("kind",), ignored=("name",),
        words={"kind": "other kinds"}, instead=NOTES,
    ),
    "containeranalysis.projects.notes.batchCreate": Recipe(
        "POST", f"{ANALYSIS}/notes:batchCreate", {"notes": {"{id}": SBOM}}, {"": ""},
    ),
    "containeranalysis.projects.notes.patch": Recipe(
        "PATCH", f"{ANALYSIS}/notes/{{id}}", SBOM, {}, (NEW_NOTE,), ("kind",),
        words={"kind": "other kinds"}, instead=NOTES,
    ),
    "containeranalysis.projects.occurrences.create": Recipe(
        "POST", f"{ANALYSIS}/occurrences", OCCURRENCE,
        {"": "", "sbomReference": "sbomReference", "sbomReference.payload": "sbomReference.payload"}, (NEW_NOTE,),
        ("kind",), words={"kind": "kind"}, instead=OCCURRENCES,
    ),
    "ondemandscanning.projects.locations.scans.analyzePackages": Recipe(
        "POST", "https://ondemandscanning.googleapis.com/v1/projects/{project}/locations/us/scans:analyzePackages",
        {"resourceUri": "a", "packages": [{"package": "a", "version": "1", "packageType": "OS"}]},
        {"": "-", "packages": "-"}, (),
        ("resourceUri", "packages", "package", "version", "packageType", "cpeUri", "fileLocation", "patchedCve"),
        # What a package says of itself beyond what advisories ask for decides nothing here.
        ("architecture", "binarySourceInfo", "binaryVersion", "dependencyChain", "hashDigest", "layerDetails",
         "licenses", "maintainer", "os", "osVersion", "sourceVersion", "unused"),
    ),
    "storage.buckets.insert": Recipe(
        "POST", f"{STORAGE}/storage/v1/b?project={{project}}", {"name": "{id}"},
    ),
    "run.namespaces.services.replaceService": Recipe(
        "PUT", f"{RUN}/{{id}}", KNATIVE, _CONTAINER, (("POST", RUN, KNATIVE),), ignored=("deletionTimestamp",),
        words={"serviceAccountName": "service account", "volumeMounts": "volumes", "resourceVersion": "Conflict"},
    ),
    "run.projects.locations.services.setIamPolicy": _set_policy(
        "https://run.googleapis.com/v1/projects/{project}/locations/us-central1/services/{id}", ("POST", RUN, KNATIVE)
    ),
    "run.projects.locations.services.testIamPermissions": _test_permissions(
        "https://run.googleapis.com/v1/projects/{project}/locations/us-central1/services/{id}", ("POST", RUN, KNATIVE)
    ),
    "artifactregistry.projects.locations.repositories.packages.patch": Recipe(
        "PATCH", PACKAGE, {}, {}, (NEW_REPOSITORY, NEW_IMAGE), masked="?",
    ),
    "artifactregistry.projects.locations.repositories.packages.versions.patch": Recipe(
        "PATCH", f"{PACKAGE}/versions/{{digest}}", {}, {}, (NEW_REPOSITORY, NEW_IMAGE), masked="?",
    ),
    "artifactregistry.projects.locations.repositories.packages.versions.batchDelete": Recipe(
        "POST", f"{PACKAGE}/versions:batchDelete",
        {"names": ["projects/{project}/locations/us-central1/repositories/{id}/packages/app/versions/{digest}"]}, {},
        (NEW_REPOSITORY, NEW_IMAGE), ("names", "validateOnly"),
    ),
    "artifactregistry.projects.locations.repositories.packages.tags.create": Recipe(
        "POST", NEW_TAG[1], NEW_TAG[2], {}, (NEW_REPOSITORY, NEW_IMAGE),
    ),
    "artifactregistry.projects.locations.repositories.packages.tags.patch": Recipe(
        "PATCH", f"{PACKAGE}/tags/other", NEW_TAG[2], {}, (NEW_REPOSITORY, NEW_IMAGE, NEW_TAG),
    ),
    "cloudbuild.projects.locations.connections.create": Recipe(
        "POST", f"{CONNECTIONS}?connectionId={{id}}", {"githubConfig": {}}, {}, (), told="response",
        instead=tuple(f"{host}Config" for host in HOSTS),
        words=dict.fromkeys((f"{host}Config" for host in HOSTS), "connections to "),
    ),
    "run.namespaces.services.create": Recipe(
        "POST", RUN, KNATIVE, _CONTAINER, ignored=("deletionTimestamp",),
        words={"serviceAccountName": "service account", "volumeMounts": "volumes"},
    ),
    "artifactregistry.projects.locations.repositories.patch": Recipe(
        "PATCH", f"{REGISTRY}/{{id}}", {}, {}, (NEW_REPOSITORY,), masked="?",
        words={"cleanupPolicies": "Cleanup policy"},
    ),
    "artifactregistry.projects.updateProjectSettings": Recipe(
        "PATCH", "https://artifactregistry.googleapis.com/v1/projects/{project}/projectSettings", {}, masked="?",
        words={"legacyRedirectionState": "redirection"},
    ),
    "artifactregistry.projects.locations.repositories.setIamPolicy": _set_policy(f"{REGISTRY}/{{id}}", NEW_REPOSITORY),
    "artifactregistry.projects.locations.repositories.testIamPermissions": _test_permissions(
        f"{REGISTRY}/{{id}}", NEW_REPOSITORY
    ),
}  # fmt: skip
# The same methods at a location.
RECIPES |= {
    name.replace("projects.", "projects.locations."): replace(
        recipe, url=recipe.url.replace("{project}", "{project}/locations/us-central1"), before=tuple(
            (verb, url.replace("{project}", "{project}/locations/us-central1"), body)
            for verb, url, body in recipe.before
        ), base=json.loads(json.dumps(recipe.base).replace("{project}", "{project}/locations/us-central1")),
    )
    for name, recipe in RECIPES.items() if name.startswith("containeranalysis.")
}  # fmt: skip

# What takes a message and isn't here: the test that sends its fields, or why it has none that count.
ELSEWHERE = {
    "artifactregistry.projects.locations.repositories.create": "sandbox/test_every_field.py",
    "artifactregistry.projects.locations.repositories.genericArtifacts.upload": "sandbox/artifact_registry/"
    "test_generic_artifacts.py",
    "cloudbuild.projects.builds.approve": "sandbox/cloud_build/test_firing.py",
    "cloudbuild.projects.builds.create": "sandbox/test_every_field.py",
    "cloudbuild.projects.locations.connections.repositories.create": "sandbox/cloud_build/test_connections.py",
    "cloudbuild.projects.triggers.create": "sandbox/test_every_field.py",
    "cloudbuild.projects.triggers.patch": "sandbox/test_every_field.py",  # checked as a new one is
    "cloudbuild.projects.triggers.run": "sandbox/cloud_build/test_firing.py",
    "containeranalysis.projects.locations.occurrences.patch": "sandbox/artifact_analysis/test_note_methods.py",
    "containeranalysis.projects.occurrences.patch": "sandbox/artifact_analysis/test_note_methods.py",
    "run.projects.locations.services.create": "sandbox/test_every_field.py",
    "run.projects.locations.services.patch": "sandbox/test_every_field.py",  # checked as a new one is
    "storage.objects.insert": "sandbox/cloud_storage/test_nothing_in_silence.py",
    "sts.token": "sandbox/iam/test_federation.py",
}
