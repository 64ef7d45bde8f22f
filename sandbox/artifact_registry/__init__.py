"""Artifact Registry: the catalog and its rules, the blob store, cleanup, and the REST API."""
