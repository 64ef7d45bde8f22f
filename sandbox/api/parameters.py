"""The query parameters of each method. Others are refused before the method runs.

A parameter that Google documents and the sandbox does not support gets 501; one that does not exist gets 400 in the
words of Google's front end. Source: the methods' discovery documents of November 2026.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from starlette.datastructures import QueryParams

from sandbox.api import field_masks, strict_json
from sandbox.errors import check_fields, unimplemented, unknown_field

# https://cloud.google.com/apis/docs/system-parameters. `system_parameters` acts on some; the others identify the caller
# or choose a protocol.
_OF_EVERY_METHOD = frozenset(
    ("access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint", "quotaUser", "uploadType")
) | {"upload_protocol", "userIp", "userProject", "$.xgafv", "$alt", "$fields", "$prettyPrint", "$callback", "$key"}
_PAGES = "pageSize pageToken"
_KNATIVE = "continue labelSelector limit fieldSelector includeUninitialized resourceVersion watch"
_CONDITIONS = "ifGenerationMatch ifGenerationNotMatch ifMetagenerationMatch ifMetagenerationNotMatch"
# By the end of a method's id; the longest match applies.
_TAKEN: Mapping[str, str] = {
    "list": _PAGES,
    "patch": "updateMask",
    "iam.projects.serviceAccounts.patch": "",
    "logging.entries.list": "",
    "getIamPolicy": "options.requestedPolicyVersion",
    "projects.updateProjectSettings": "updateMask",
    "repositories.create": "repositoryId",
    "artifactregistry.projects.locations.repositories.list": f"{_PAGES} filter orderBy",
    "repositories.packages.list": f"{_PAGES} filter orderBy",
    "packages.versions.list": f"{_PAGES} filter orderBy view",
    "packages.versions.get": "view",
    "packages.versions.delete": "force",
    "packages.tags.list": f"{_PAGES} filter",
    "packages.tags.create": "tagId",
    "repositories.dockerImages.list": f"{_PAGES} orderBy",
    "repositories.files.list": f"{_PAGES} filter orderBy",
    "genericArtifacts.upload": "upload_id",
    # gcloud repeats projectId, id and triggerId, which are also in the path.
    "builds.create": "parent projectId",
    "builds.list": f"{_PAGES} filter parent projectId",
    "builds.get": "id projectId",
    "triggers.create": "projectId",
    "triggers.list": f"{_PAGES} projectId",
    "triggers.get": "projectId triggerId",
    "triggers.delete": "projectId triggerId",
    "triggers.patch": "projectId triggerId updateMask",
    "connections.create": "connectionId",
    "connections.fetchLinkableRepositories": _PAGES,
    # No location is ever unreachable here, so every list is complete.
    "connections.list": f"{_PAGES} returnPartialSuccess",
    "connections.repositories.list": f"{_PAGES} returnPartialSuccess",
    # "Not supported, and ignored by Cloud Run": all but the first three, and the three of a deletion.
    "namespaces.services.list": _KNATIVE,
    "namespaces.revisions.list": _KNATIVE,
    "namespaces.services.delete": "apiVersion kind propagationPolicy",
    "namespaces.revisions.delete": "apiVersion kind propagationPolicy",
    "locations.services.list": f"{_PAGES} {_KNATIVE}",
    "locations.services.create": "serviceId",
    "notes.create": "noteId",
    "notes.list": f"{_PAGES} filter returnPartialSuccess",
    "occurrences.list": f"{_PAGES} filter returnPartialSuccess",
    "occurrences.getVulnerabilitySummary": "filter returnPartialSuccess",
    "serviceAccounts.keys.list": "keyTypes",
    "serviceAccounts.keys.get": "publicKeyType",
    "roles.list": f"{_PAGES} showDeleted view",
    "roles.delete": "etag",
    "workloadIdentityPools.create": "workloadIdentityPoolId",
    "workloadIdentityPools.list": f"{_PAGES} showDeleted",
    "providers.create": "workloadIdentityPoolProviderId",
    "providers.list": f"{_PAGES} showDeleted",
    "scans.vulnerabilities.list": _PAGES,
    "ondemandscanning.projects.locations.operations.list": f"{_PAGES} filter returnPartialSuccess",
    "secrets.create": "secretId",
    "secrets.list": f"{_PAGES} filter",
    "secrets.delete": "etag",
    "cloudresourcemanager.projects.list": f"{_PAGES} filter",
    "serviceusage.services.list": f"{_PAGES} filter",
    "services.batchGet": "names",
    # Access is uniform here, so `projection=full` adds no access control lists.
    "storage.buckets.insert": "project projection",
    "storage.buckets.list": "project prefix maxResults pageToken projection returnPartialSuccess",
    "storage.buckets.get": "projection",
    "storage.objects.list": "prefix delimiter includeTrailingDelimiter startOffset endOffset projection "
    "maxResults pageToken",
    "storage.objects.get": f"generation {_CONDITIONS} projection",
    "storage.objects.delete": f"generation {_CONDITIONS}",
    "storage.objects.insert": f"{_CONDITIONS} name upload_id projection",
    "storage.xml.getObject": f"generation {_CONDITIONS}",
    "oauth2.tokeninfo": "access_token",
}
_REFUSED: Mapping[str, str] = {
    "artifactregistry.projects.locations.list": "filter extraLocationTypes",
    "billingAccounts.list": "filter parent",
    "budgets.list": "scope",
    "oauth2.tokeninfo": "id_token",
    # Also in the path
    "builds.get": "name",
    "triggers.run": "name",
    "triggers.get": "name",
    "triggers.delete": "name",
    "triggers.create": "parent",
    "triggers.list": "parent",
    "connections.delete": "etag validateOnly",
    "connections.repositories.list": "filter",
    "connections.repositories.delete": "etag validateOnly",
    "namespaces.services.create": "dryRun",
    "namespaces.services.replaceService": "dryRun",
    "namespaces.services.delete": "dryRun",
    "namespaces.revisions.delete": "dryRun",
    "locations.services.list": "showDeleted",
    "locations.services.create": "validateOnly",
    "locations.services.delete": "etag validateOnly",
    "run.projects.locations.services.patch": "allowMissing forceNewRevision validateOnly",
    "iam.roles.list": "parent",
    "secrets.versions.list": "filter",
    "services.consumerQuotaMetrics.list": "view",
}
# Methods that use nothing of their message: its fields, which repeat the path.
_MESSAGES: Mapping[str, str] = {
    "artifactregistry.projects.locations.operations.cancel": "",
    "builds.cancel": "id name projectId",
    "builds.retry": "id name projectId",
    "projects.getAncestry": "",
    "projects.undelete": "",
    # An empty message: the SBOM goes to Cloud Storage, as it does here.
    "resources.exportSBOM": "cloudStorageLocation",
    "workloadIdentityPools.undelete": "",
    "providers.undelete": "",
    "iam.projects.serviceAccounts.disable": "",
    "iam.projects.serviceAccounts.enable": "",
    "serviceusage.services.enable": "",
}


def check(method: str, query: QueryParams) -> None:
    """Raise for a parameter that a method does not take.

    Raises:
        ApiError: UNIMPLEMENTED if Google documents it, INVALID_ARGUMENT otherwise.
    """
    for given, value in query.multi_items():
        name = field_masks.camel(given)
        if given in _OF_EVERY_METHOD or {given, name} & taken(method):
            continue
        # unverified: what Cloud Storage answers to an unknown parameter
        if name not in refused(method) and not method.startswith("storage."):
            raise unknown_field(
                given, f"Cannot bind query parameter. Field '{given}' could not be found in request message."
            )
        if value.lower() not in ("", "0", "false"):
            raise unimplemented(f"the parameter {name} of {method}")


def check_message(method: str, content: bytes) -> None:
    """Raise for an unknown field in the message of a method that uses nothing of it.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    fields = _of_message(method)
    if fields is not None and content.strip():
        body = strict_json.loads_object(content)
        # A recording of 2025 repeats the name in the message, and Google answered 200.
        check_fields(body, {"name", "parent", *fields})


@functools.cache
def _of_message(method: str) -> frozenset[str] | None:
    return _row(_MESSAGES, method)


@functools.cache
def taken(method: str) -> frozenset[str]:
    """Return the parameters that a method acts on, or ignores as Google does."""
    return _row(_TAKEN, method) or frozenset()


@functools.cache
def refused(method: str) -> frozenset[str]:
    """Return the parameters of a method that Google documents and the sandbox does not support."""
    return _row(_REFUSED, method) or frozenset()


def _row(table: Mapping[str, str], method: str) -> frozenset[str] | None:
    fits = [key for key in table if f".{method}".endswith(f".{key}")]
    return frozenset(table[max(fits, key=len)].split()) if fits else None
