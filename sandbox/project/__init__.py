"""APIs on projects: Resource Manager, Service Usage, Billing and organisation policies."""
