"""The list of Google's APIs in the dispatch table."""

from sandbox.artifact_analysis.api import API as ARTIFACT_ANALYSIS
from sandbox.artifact_analysis.on_demand_scanning import API as ON_DEMAND_SCANNING
from sandbox.artifact_registry.api import API as ARTIFACT_REGISTRY
from sandbox.cloud_build.api import API as CLOUD_BUILD
from sandbox.cloud_logging.api import API as CLOUD_LOGGING
from sandbox.cloud_run.api import API as CLOUD_RUN
from sandbox.cloud_storage.api import API as CLOUD_STORAGE
from sandbox.iam.api import API as IAM
from sandbox.iam.credentials import API as IAM_CREDENTIALS
from sandbox.iam.oauth2 import API as OAUTH2
from sandbox.iam.oauth2 import LEGACY as OAUTH2_LEGACY
from sandbox.iam.sts import API as SECURITY_TOKEN_SERVICE
from sandbox.project.billing import BILLING, BUDGETS
from sandbox.project.org_policy import API as ORG_POLICY
from sandbox.project.resource_manager import API as RESOURCE_MANAGER
from sandbox.project.service_usage import API as SERVICE_USAGE
from sandbox.secret_manager.api import API as SECRET_MANAGER

APIS = (
    ARTIFACT_REGISTRY,
    BILLING,
    BUDGETS,
    CLOUD_BUILD,
    CLOUD_RUN,
    ARTIFACT_ANALYSIS,
    IAM,
    IAM_CREDENTIALS,
    CLOUD_LOGGING,
    OAUTH2,
    OAUTH2_LEGACY,
    ON_DEMAND_SCANNING,
    ORG_POLICY,
    RESOURCE_MANAGER,
    SECRET_MANAGER,
    SECURITY_TOKEN_SERVICE,
    SERVICE_USAGE,
    CLOUD_STORAGE,
)
