"""Google's APIs, one file or folder each, and the list of them that the dispatch table is made of."""

from sandbox.google import (
    artifact_registry,
    billing,
    cloud_build,
    cloud_run,
    container_analysis,
    iam,
    iamcredentials,
    logging,
    oauth2,
    on_demand_scanning,
    org_policy,
    resource_manager,
    secret_manager,
    service_usage,
    storage,
)

APIS = (
    artifact_registry.API,
    billing.BILLING,
    billing.BUDGETS,
    cloud_build.API,
    cloud_run.API,
    container_analysis.API,
    iam.API,
    iamcredentials.API,
    logging.API,
    oauth2.API,
    on_demand_scanning.API,
    org_policy.API,
    resource_manager.API,
    secret_manager.API,
    service_usage.API,
    storage.API,
)
