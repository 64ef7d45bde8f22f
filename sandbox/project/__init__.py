"""A project seen from outside: Resource Manager, Service Usage, Billing and organisation policies."""
