"""What an access token may be used for: its OAuth scopes, which never give more than the principal's roles do.

Sources: https://developers.google.com/identity/protocols/oauth2/scopes for the names,
https://cloud.google.com/artifact-registry/docs/access-control#gcp for the registry, and public quotes of the refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sandbox.errors import ApiError

PREFIX = "https://www.googleapis.com/auth/"
CLOUD = "cloud-platform"
_OPEN_ID = ("openid", "email", "profile")  # without the beginning that the others have
# Service: the scopes that are enough for everything, and those that are enough to read.
_ENOUGH: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # Policies and buckets need full control: https://cloud.google.com/storage/docs/oauth-scopes
    "storage.googleapis.com": (("devstorage.full_control", "devstorage.read_write"), ("devstorage.read_only",)),
    "iam.googleapis.com": (("iam",), ()),
    "iamcredentials.googleapis.com": (("iam",), ()),
    "logging.googleapis.com": (("logging.admin",), ("logging.read",)),
    "cloudresourcemanager.googleapis.com": (("cloudplatformprojects",), ("cloudplatformprojects.readonly",)),
    "cloudbilling.googleapis.com": (("cloud-billing",), ("cloud-billing.readonly",)),
    # Images are pulled with what a machine of Compute Engine has by default, too.
    "artifactregistry.googleapis.com": (
        (),
        ("devstorage.full_control", "devstorage.read_write", "devstorage.read_only"),
    ),
}
_READING = ("GET", "HEAD")
# Calls that only read, and are sent as POST all the same.
_READING_POSTS = ("list", "getIamPolicy", "testIamPermissions")


def narrow(asked: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes of a token as they are kept: none for one that may do all that its principal may."""
    found = {scope.removeprefix(PREFIX) for scope in asked}
    return () if CLOUD in found else tuple(sorted(found))


def told(scopes: Collection[str]) -> str:
    """Return the scopes as an answer lists them."""
    return " ".join(scope if scope in _OPEN_ID or "/" in scope else f"{PREFIX}{scope}" for scope in scopes or (CLOUD,))


def allow(scopes: Collection[str], service: str, *, reading: bool) -> bool:
    """Whether a token's scopes are enough for a call of a service."""
    if not scopes:
        return True
    everything, read = _ENOUGH.get(service, ((), ()))
    return bool(set(scopes) & {*everything, *((*read, "cloud-platform.read-only") if reading else ())})


def require(scopes: Collection[str], service: str, method: str, verb: str) -> None:
    """Refuse a call that the token's scopes are not enough for, in the words of Google's front end.

    Raises:
        ApiError: PERMISSION_DENIED with the reason ACCESS_TOKEN_SCOPE_INSUFFICIENT.
    """
    reading = verb in _READING or method.rpartition(".")[2] in _READING_POSTS
    if allow(scopes, service, reading=reading):
        return
    raise ApiError(
        "PERMISSION_DENIED",
        "Request had insufficient authentication scopes.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
                "domain": "googleapis.com",
                "metadata": {"service": service, "method": method},
            }
        ],
    )
