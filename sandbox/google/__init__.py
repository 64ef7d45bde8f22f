"""Google's APIs, one file or folder each, and the list of them that the dispatch table is made of."""

from sandbox.google import artifact_registry, billing, oauth2, service_usage

APIS = (
    artifact_registry.API,
    billing.BILLING,
    billing.BUDGETS,
    oauth2.API,
    service_usage.API,
)
