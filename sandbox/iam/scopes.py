"""OAuth scopes, which limit what an access token may be used for. They grant nothing beyond the principal's roles.

Sources: https://developers.google.com/identity/protocols/oauth2/scopes for the names,
https://cloud.google.com/artifact-registry/docs/access-control#gcp for the registry, and public quotes of the refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sandbox.errors import ApiError

PREFIX = "https://www.googleapis.com/auth/"
CLOUD = "cloud-platform"
_OPEN_ID = ("openid", "email", "profile")  # these have no PREFIX
# Service: the scopes that suffice for every call, and those that suffice for reading.
_ENOUGH: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # Policies and buckets need full control: https://cloud.google.com/storage/docs/oauth-scopes
    "storage.googleapis.com": (("devstorage.full_control", "devstorage.read_write"), ("devstorage.read_only",)),
    "iam.googleapis.com": (("iam",), ()),
    "iamcredentials.googleapis.com": (("iam",), ()),
    "logging.googleapis.com": (("logging.admin",), ("logging.read",)),
    "cloudresourcemanager.googleapis.com": (("cloudplatformprojects",), ("cloudplatformprojects.readonly",)),
    "cloudbilling.googleapis.com": (("cloud-billing",), ("cloud-billing.readonly",)),
    # Images can also be pulled with the default scopes of a Compute Engine machine.
    "artifactregistry.googleapis.com": (
        (),
        ("devstorage.full_control", "devstorage.read_write", "devstorage.read_only"),
    ),
}
_READING = ("GET", "HEAD")
# Calls that only read, although they are a POST.
_READING_POSTS = ("list", "getIamPolicy", "testIamPermissions")


def narrow(requested: Iterable[str]) -> tuple[str, ...]:
    """Return a token's scopes as they are stored; empty if they do not limit what the principal's roles allow."""
    found = {scope.removeprefix(PREFIX) for scope in requested}
    return () if CLOUD in found else tuple(sorted(found))


def as_text(scopes: Collection[str]) -> str:
    """Return the scopes as a response lists them."""
    return " ".join(scope if scope in _OPEN_ID or "/" in scope else f"{PREFIX}{scope}" for scope in scopes or (CLOUD,))


def allow(scopes: Collection[str], service: str, *, reading: bool) -> bool:
    """Return whether a token's scopes suffice for a call of a service."""
    if not scopes:
        return True
    everything, read = _ENOUGH.get(service, ((), ()))
    return bool(set(scopes) & {*everything, *((*read, "cloud-platform.read-only") if reading else ())})


def require(scopes: Collection[str], service: str, method: str, verb: str) -> None:
    """Raise if a token's scopes do not suffice for a call, in the words of Google's front end.

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
