"""Google's APIs, one file or folder each, and the list of them that the dispatch table is made of."""

from sandbox.google import (
    artifact_registry,
    billing,
    iam,
    iamcredentials,
    logging,
    oauth2,
    resource_manager,
    service_usage,
)

APIS = (
    artifact_registry.API,
    billing.BILLING,
    billing.BUDGETS,
    iam.API,
    iamcredentials.API,
    logging.API,
    oauth2.API,
    resource_manager.API,
    service_usage.API,
)
