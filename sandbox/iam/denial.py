"""How the IAM APIs word a 403."""

from __future__ import annotations

from sandbox.errors import ApiError, permission_denied


def denial(permission: str, resource: str) -> ApiError:
    """Return the refusal, which names no resource: google-github-actions/auth, issue 340, and many others."""
    error = permission_denied(permission, resource)
    error.message = f"Permission '{permission}' denied on resource (or it may not exist)."
    error.details[0] |= {"domain": "iam.googleapis.com", "metadata": {"permission": permission}}
    return error
