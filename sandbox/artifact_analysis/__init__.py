"""Artifact Analysis: automatic and on-demand scans, occurrences, notes, SBOMs and provenance."""
