"""The identity that Python acts as, and docker's credentials. No token is ever shown."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import google.auth
import google.auth.exceptions
from google.auth import impersonated_credentials
from google.auth.transport.requests import AuthorizedSession, Request

from helpers import target

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")
# The user name with which Google's registries accept an access token.
_TOKEN_USER: Final = "oauth2accesstoken"  # noqa: S105 - a user name, no secret


class SignInFailed(RuntimeError):
    """docker login was refused. The message is docker's."""


@dataclass(frozen=True)
class Who:
    """The identity that Python's clients act as. `kind` is `service account` or `user`."""

    email: str
    kind: str

    def __str__(self) -> str:
        return f"{self.email} ({self.kind})"

    @property
    def member(self) -> str:
        """The identity as a policy names it: `user:…` or `serviceAccount:…`."""
        return f"{'user' if self.kind == 'user' else 'serviceAccount'}:{self.email}"


@dataclass(frozen=True)
class TokenState:
    """Whether an access token is available, and when it expires (UTC), without the token."""

    present: bool
    expires: datetime | None
    reason: str = ""


@dataclass(frozen=True)
class DockerConfig:
    """The credentials in docker's config.json: helpers by registry, and registries with a stored password."""

    path: Path
    helpers: dict[str, str]
    logins: tuple[str, ...]


def who_am_i() -> Who:
    """Return the identity of the default credentials.

    Raises google.auth.exceptions.GoogleAuthError when there are none.
    """
    credentials, _ = google.auth.default(scopes=list(_SCOPES))
    email = getattr(credentials, "service_account_email", "")
    if email:
        return Who(email, "service account")
    with AuthorizedSession(credentials) as session:  # type: ignore[no-untyped-call]
        found = session.get("https://openidconnect.googleapis.com/v1/userinfo", timeout=30).json()
    return Who(str(found.get("email", "unknown")), "user")


def as_service_account(email: str, seconds: int = 600) -> Any:
    """Return credentials of a service account by impersonation, for the argument `credentials` of Google's clients.

    No key is created, and calls are logged under both names. The first call that uses them raises
    google.auth.exceptions.RefreshError unless you have `iam.serviceAccounts.getAccessToken` on the account.
    """
    source, _ = google.auth.default(scopes=[_SCOPES[0]])
    return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source, email, [_SCOPES[0]], lifetime=seconds
    )


def token_state() -> TokenState:
    """Request an access token and return its state. A refusal raises nothing, but is returned as the reason."""
    try:
        credentials = _refreshed()
    except google.auth.exceptions.GoogleAuthError as error:
        return TokenState(present=False, expires=None, reason=str(error))
    expiry: datetime | None = credentials.expiry
    return TokenState(present=bool(credentials.token), expires=expiry.replace(tzinfo=UTC) if expiry else None)


def sign_in(registry_host: str | None = None, *, service_account: str = "", folder: Path | None = None) -> None:
    """Sign docker in with `docker login` and an access token, which expires within an hour. This needs no gcloud.

    `service_account` signs in as that account by impersonation, and `folder` is a separate configuration for
    `docker --config`. Raises SignInFailed with docker's message, and google.auth.exceptions.RefreshError without the
    right to impersonate.
    """
    host = registry_host or target.current().registry_host
    credentials = as_service_account(service_account) if service_account else None
    ran = subprocess.run(
        [
            "docker",
            *(["--config", str(folder)] if folder else []),
            "login",
            "--username",
            _TOKEN_USER,
            "--password-stdin",
            host,
        ],
        input=str(_refreshed(credentials).token),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if ran.returncode != 0:
        raise SignInFailed(f"docker login {host} was refused (exit status {ran.returncode}): {ran.stderr.strip()}")


def docker_config(folder: Path | None = None) -> DockerConfig:
    """Read docker's configuration, which may be absent. Raises ValueError when it isn't JSON."""
    named = os.environ.get("DOCKER_CONFIG")
    path = (folder or (Path(named) if named else Path.home() / ".docker")) / "config.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8") or "{}") if path.exists() else {}
    # With a credential store (keychain, pass), docker keeps the password there and leaves an empty entry here.
    stored = bool(content.get("credsStore"))
    logins = [host for host, entry in content.get("auths", {}).items() if stored or _has_password(entry)]
    return DockerConfig(path, dict(content.get("credHelpers", {})), tuple(sorted(logins)))


def signed_in(registry_host: str | None = None, *, folder: Path | None = None) -> bool:
    """Return whether docker has a helper or a password for the registry, valid or not."""
    host = registry_host or target.current().registry_host
    found = docker_config(folder)
    return host in found.helpers or host in found.logins


def _refreshed(credentials: Any = None) -> Any:
    if credentials is None:
        credentials, _ = google.auth.default(scopes=list(_SCOPES))
    credentials.refresh(Request())
    return credentials


def _has_password(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    if entry.get("identitytoken"):
        return True
    try:
        user, _, password = base64.b64decode(entry.get("auth", "")).partition(b":")
    except (binascii.Error, TypeError):
        return False
    return bool(user and password)
