"""The permissions of the predefined roles that the workbook uses.

The roles of Artifact Registry, Cloud Build, Cloud Run and the scanners have exactly the permissions that Google
published on 22 August 2026 (facts/artifact-registry.md, appendix B;
https://cloud.google.com/iam/docs/roles-permissions). Those marked `# unverified` follow Google's descriptions and may
lack permissions that no method here checks. Service agents' roles have only their `artifactregistry.*` permissions.

The notation is `service: resource.verb,verb resource.verb`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """One predefined role.

    Attributes:
        name: `roles/artifactregistry.reader`.
        title: as the console shows it.
    """

    name: str
    title: str
    permissions: frozenset[str]


def held(text: str) -> frozenset[str]:
    """Return the permissions in this file's notation, with one service per line.

    Raises:
        ValueError: for a second service on a line.
    """
    found: set[str] = set()
    for line in text.strip().splitlines():
        service, _, rest = line.strip().partition(": ")
        if ":" in rest:
            raise ValueError(f"One service on a line: {line.strip()}")
        for item in rest.split():
            resource, _, verbs = item.partition(".")
            found.update(f"{service}.{resource}.{verb}" for verb in verbs.split(","))
    return frozenset(found)


_SEE_PROJECTS = held("resourcemanager: projects.get,list")

_READER = held("""
    artifactregistry: attachments.get,list dockerimages.get,list files.download,get,list locations.get,list
    artifactregistry: mavenartifacts.get,list npmpackages.get,list packages.get,list projectconfigs.get
    artifactregistry: projectsettings.get pythonpackages.get,list repositories.downloadArtifacts,exportArtifacts
    artifactregistry: repositories.get,list,listEffectiveTags,listTagBindings,readViaVirtualRepository
    artifactregistry: rules.get,list tags.get,list versions.get,list
    resourcemanager: projects.get
""")
_WRITER = _READER | held("""
    artifactregistry: aptartifacts.create attachments.create,delete files.update,upload kfpartifacts.create
    artifactregistry: packages.update repositories.uploadArtifacts tags.create,update yumartifacts.create
""")
_REPO_ADMIN = _WRITER | held("""
    artifactregistry: files.delete packages.delete repositories.deleteArtifacts rules.create,delete,update
    artifactregistry: tags.delete versions.delete,update
""")
_ADMIN = _REPO_ADMIN | held("""
    artifactregistry: projectconfigs.update projectsettings.update
    artifactregistry: repositories.create,createTagBinding,delete,deleteTagBinding,getIamPolicy,setIamPolicy,update
    cloudkms: keyHandles.create,get,list operations.get projects.showEffectiveAutokeyConfig
""")
_CREATE_ON_PUSH = held("artifactregistry: repositories.createOnPush")
_VIEWER = _READER | _SEE_PROJECTS | held("artifactregistry: repositories.getIamPolicy")
_AGENT_READER = _READER - _SEE_PROJECTS

_BUILDER = (
    _WRITER
    | _CREATE_ON_PUSH
    | _SEE_PROJECTS
    | held("""
    artifactregistry: repositories.deleteArtifacts
    cloudbuild: builds.create,get,list,update locations.get,list operations.get,list workerpools.use
    compute: images.create
    containeranalysis: occurrences.create,delete,get,list,update
    logging: logEntries.create,list views.access
    pubsub: topics.create,publish
    remotebuildexecution: blobs.get
    source: repos.get,list
    storage: buckets.create,get,list objects.create,delete,get,list,update
""")
)

_RUN_DEVELOPER = _SEE_PROJECTS | held("""
    recommender: locations.get,list runServiceCostInsights.get,list,update
    recommender: runServiceCostRecommendations.get,list,update runServiceIdentityInsights.get,list,update
    recommender: runServiceIdentityRecommendations.get,list,update runServicePerformanceInsights.get,list,update
    recommender: runServicePerformanceRecommendations.get,list,update runServiceSecurityInsights.get,list,update
    recommender: runServiceSecurityRecommendations.get,list,update
    run: configurations.get,list executions.cancel,delete,get,list
    run: instances.create,delete,get,getIamPolicy,invoke,list,sshRead,sshRoot,start,stop,update
    run: jobs.create,delete,get,getIamPolicy,list,listEffectiveTags,listTagBindings,run,runWithOverrides
    run: jobs.sshRead,sshRoot,update locations.list,uploadSource operations.delete,get,list prompts.get
    run: revisions.delete,get,list routes.get,invoke,list services.create,delete,get,getIamPolicy,list
    run: services.listEffectiveTags,listTagBindings,sshRead,sshRoot,update tasks.get,list
    run: workerpools.create,delete,get,getIamPolicy,list,sshRead,sshRoot,update
""")

_SERVICE_USAGE_ADMIN = held("""
    cloudquotas: quotas.get,update
    monitoring: timeSeries.list
    serviceusage: consumerpolicy.analyze,get,update contentsecuritypolicy.get,update effectivemcppolicy.get
    serviceusage: effectivepolicy.get groups.list,listExpandedMembers,listMembers mcppolicy.get,update
    serviceusage: operations.get quotas.get,update services.disable,enable,get,list,use values.test
""")

_PUBLISHED = (
    Role("roles/artifactregistry.reader", "Artifact Registry Reader", _READER),
    Role("roles/artifactregistry.writer", "Artifact Registry Writer", _WRITER),
    Role("roles/artifactregistry.repoAdmin", "Artifact Registry Repository Administrator", _REPO_ADMIN),
    Role("roles/artifactregistry.admin", "Artifact Registry Administrator", _ADMIN),
    Role(
        "roles/artifactregistry.createOnPushWriter",
        "Artifact Registry Create-on-Push Writer",
        _WRITER | _CREATE_ON_PUSH,
    ),
    Role(
        "roles/artifactregistry.createOnPushRepoAdmin",
        "Artifact Registry Create-on-Push Repository Administrator",
        _REPO_ADMIN | _CREATE_ON_PUSH,
    ),
    Role("roles/artifactregistry.viewer", "Artifactregistry Viewer", _VIEWER),
    Role(
        "roles/artifactregistry.serviceAgent",
        "Artifact Registry Service Agent",
        held("""
            artifactregistry: repositories.downloadArtifacts,get,readViaVirtualRepository versions.delete
            pubsub: topics.publish
        """),
    ),
    Role(
        "roles/artifactregistry.attachmentReader",
        "Artifact Registry Attachment Reader",
        held("artifactregistry: attachments.get,list files.download"),
    ),
    Role(
        "roles/artifactregistry.attachmentWriter",
        "Artifact Registry Attachment Writer",
        held("artifactregistry: attachments.create,delete,get,list files.download,upload"),
    ),
    Role("roles/cloudbuild.builds.builder", "Cloud Build Service Account", _BUILDER),
    Role(
        "roles/ondemandscanning.admin",
        "On-Demand Scanning Admin",
        held("ondemandscanning: operations.cancel,delete,get,list,wait scans.analyzePackages,listVulnerabilities,scan"),
    ),
    Role(
        "roles/ondemandscanning.viewer",
        "On-Demand Scanning Viewer",
        _SEE_PROJECTS | held("ondemandscanning: operations.get,list,wait scans.listVulnerabilities"),
    ),
    Role(
        "roles/containeranalysis.occurrences.viewer",
        "Container Analysis Occurrences Viewer",
        _SEE_PROJECTS | held("containeranalysis: occurrences.get,list"),
    ),
    Role("roles/run.developer", "Cloud Run Developer", _RUN_DEVELOPER),
    Role("roles/run.invoker", "Cloud Run Invoker", held("run: instances.invoke jobs.run routes.invoke")),
    Role("roles/serviceusage.serviceUsageAdmin", "Service Usage Admin", _SERVICE_USAGE_ADMIN),
    # The part under artifactregistry.* of two service agents' roles.
    Role(
        "roles/run.serviceAgent",
        "Cloud Run Service Agent",
        _AGENT_READER | held("artifactregistry: repositories.uploadArtifacts"),
    ),
    Role("roles/containeranalysis.ServiceAgent", "Container Analysis Service Agent", _AGENT_READER),
)

_IMPERSONATION = held("""
    iam: serviceAccounts.getAccessToken,getOpenIdToken,implicitDelegation,signBlob,signJwt
""")

# unverified: every role of this list
_DESCRIBED = (
    Role(
        "roles/iam.serviceAccountUser",
        "Service Account User",
        _SEE_PROJECTS | held("iam: serviceAccounts.actAs,get,list"),
    ),
    Role(
        "roles/iam.serviceAccountTokenCreator",
        "Service Account Token Creator",
        _SEE_PROJECTS | _IMPERSONATION | held("iam: serviceAccounts.get,list"),
    ),
    # https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines
    Role(
        "roles/iam.workloadIdentityUser",
        "Workload Identity User",
        held("iam: serviceAccounts.get,getAccessToken,getOpenIdToken,list"),
    ),
    Role(
        "roles/iam.workloadIdentityPoolAdmin",
        "IAM Workload Identity Pool Admin",
        _SEE_PROJECTS
        | held("""
            iam: workloadIdentityPoolProviders.create,delete,get,list,undelete,update
            iam: workloadIdentityPools.create,delete,get,list,undelete,update
        """),
    ),
    Role(
        "roles/iam.serviceAccountCreator",
        "Create Service Accounts",
        _SEE_PROJECTS | held("iam: serviceAccounts.create,get,list"),
    ),
    Role(
        "roles/iam.serviceAccountKeyAdmin",
        "Service Account Key Admin",
        _SEE_PROJECTS | held("iam: serviceAccountKeys.create,delete,disable,enable,get,list serviceAccounts.get,list"),
    ),
    Role(
        "roles/iam.serviceAccountAdmin",
        "Service Account Admin",
        _SEE_PROJECTS
        | held("""
            iam: serviceAccountKeys.get,list serviceAccounts.create,delete,disable,enable,get,getIamPolicy,list
            iam: serviceAccounts.setIamPolicy,undelete,update
        """),
    ),
    Role(
        "roles/iam.roleAdmin",
        "Role Administrator",
        held("""
            iam: roles.create,delete,get,list,undelete,update
            resourcemanager: projects.get,getIamPolicy
        """),
    ),
    Role(
        "roles/resourcemanager.projectIamAdmin",
        "Project IAM Admin",
        held("resourcemanager: projects.get,getIamPolicy,setIamPolicy"),
    ),
    Role(
        "roles/serviceusage.serviceUsageConsumer",
        "Service Usage Consumer",
        held("serviceusage: operations.get quotas.get services.get,list,use"),
    ),
    # https://cloud.google.com/secret-manager/docs/access-control
    Role(
        "roles/secretmanager.secretAccessor",
        "Secret Manager Secret Accessor",
        _SEE_PROJECTS | held("secretmanager: versions.access"),
    ),
    Role(
        "roles/secretmanager.admin",
        "Secret Manager Admin",
        _SEE_PROJECTS
        | held("""
            secretmanager: secrets.create,delete,get,getIamPolicy,list,setIamPolicy,update
            secretmanager: versions.access,add,destroy,disable,enable,get,list
        """),
    ),
    Role("roles/logging.logWriter", "Logs Writer", held("logging: logEntries.create,route")),
    # Only the permissions to read: https://cloud.google.com/logging/docs/access-control
    Role("roles/logging.viewer", "Logs Viewer", held("logging: logEntries.list logs.list views.get,list")),
    Role(
        "roles/logging.privateLogViewer",
        "Private Logs Viewer",
        held("logging: logEntries.list logs.list privateLogEntries.list views.get,list"),
    ),
    Role(
        "roles/run.admin",
        "Cloud Run Admin",
        _RUN_DEVELOPER
        | held("run: instances.setIamPolicy jobs.setIamPolicy services.setIamPolicy workerpools.setIamPolicy"),
    ),
    Role(
        "roles/cloudbuild.builds.editor",
        "Cloud Build Editor",
        _SEE_PROJECTS
        | held("""
            cloudbuild: builds.create,get,list,update locations.get,list operations.get,list
            remotebuildexecution: blobs.get
        """),
    ),
    Role(
        "roles/cloudbuild.builds.approver",
        "Cloud Build Approver",
        _SEE_PROJECTS
        | held("""
            cloudbuild: builds.approve,get,list
            remotebuildexecution: blobs.get
        """),
    ),
    Role(
        "roles/cloudbuild.connectionAdmin",
        "Cloud Build Connection Admin",
        _SEE_PROJECTS
        | held("""
            cloudbuild: connections.create,delete,fetchLinkableRepositories,get,getIamPolicy,list,setIamPolicy,update
            cloudbuild: repositories.create,delete,fetchGitRefs,get,list
        """),
    ),
    Role(
        "roles/cloudbuild.connectionViewer",
        "Cloud Build Connection Viewer",
        _SEE_PROJECTS
        | held("""
            cloudbuild: connections.fetchLinkableRepositories,get,getIamPolicy,list repositories.fetchGitRefs,get,list
        """),
    ),
    Role("roles/storage.objectViewer", "Storage Object Viewer", _SEE_PROJECTS | held("storage: objects.get,list")),
    Role(
        "roles/billing.admin",
        "Billing Account Administrator",
        _SEE_PROJECTS
        | held("""
            billing: accounts.get,getIamPolicy,list,setIamPolicy,update budgets.create,delete,get,list,update
            billing: resourceAssociations.create,delete,list
            resourcemanager: projects.createBillingAssignment,deleteBillingAssignment
        """),
    ),
    Role("roles/billing.user", "Billing Account User", held("billing: accounts.get,list resourceAssociations.create")),
)

# Further permissions of the basic roles.
_ELSEWHERE = held("""
    cloudbuild: triggers.create,delete,get,list,update,run
    containeranalysis: notes.attachOccurrence,create,delete,get,getIamPolicy,list,listOccurrences,setIamPolicy,update
    containeranalysis: occurrences.getIamPolicy,setIamPolicy
    logging: buckets.get,list logEntries.route logs.delete,list views.get,list
    orgpolicy: policy.get
    resourcemanager: projects.delete,get,getIamPolicy,list,move,setIamPolicy,undelete,update
    storage: buckets.delete,getIamPolicy,setIamPolicy,update objects.getIamPolicy,setIamPolicy
    artifactregistry: vpcscconfigs.get,update
""")


def _together(roles: Iterable[Role]) -> frozenset[str]:
    return frozenset().union(*(role.permissions for role in roles))


KNOWN: frozenset[str] = _together(_PUBLISHED) | _together(_DESCRIBED) | _ELSEWHERE

# A billing account is not part of a project. To impersonate a service account, an owner needs the Token Creator role:
# https://cloud.google.com/iam/docs/service-account-permissions
_OWNER = frozenset(
    permission
    for permission in KNOWN - _IMPERSONATION
    if not permission.startswith(("billing.accounts.", "billing.budgets.", "billing.resourceAssociations."))
)


# Only owners and Private Logs Viewers can read Data Access entries.
_PRIVATE_LOGS = "logging.privateLogEntries.list"
# An editor can create secrets, but not read them.
_READ_SECRETS = "secretmanager.versions.access"


def _is_owners_alone(permission: str) -> bool:
    _, resource, verb = permission.split(".")
    return (
        permission in (_PRIVATE_LOGS, _READ_SECRETS)
        or verb in ("setIamPolicy", "createTagBinding", "deleteTagBinding")
        # An editor can change neither custom roles nor identity pools.
        or (resource.startswith(("roles", "workloadIdentityPool")) and verb not in ("get", "list"))
        or (permission.startswith("resourcemanager.") and not verb.startswith(("get", "list")))
    )


# unverified: these rules. An editor has all permissions of an owner except those on access and on the project itself.
# A viewer has the permissions that read, and in Artifact Registry those of its viewer role.
_EDITOR = frozenset(permission for permission in _OWNER if not _is_owners_alone(permission))
_BASIC_VIEWER = _VIEWER | frozenset(
    permission
    for permission in _OWNER
    if permission != _PRIVATE_LOGS
    and not permission.startswith("artifactregistry.")
    and permission.rsplit(".", 1)[1].startswith(("get", "list"))
)

_BASIC = (
    Role("roles/viewer", "Viewer", _BASIC_VIEWER),
    Role("roles/editor", "Editor", _EDITOR),
    Role("roles/owner", "Owner", _OWNER),
)

ROLES: dict[str, Role] = {role.name: role for role in sorted(_PUBLISHED + _DESCRIBED + _BASIC, key=lambda r: r.name)}
PERMISSIONS: dict[str, frozenset[str]] = {name: role.permissions for name, role in ROLES.items()}
