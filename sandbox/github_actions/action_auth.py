#!/usr/bin/env python3
"""The action google-github-actions/auth, which runs in a job's container without the rest of the sandbox.

Inputs are variables INPUT_…. Outputs and variables go into the files that GITHUB_OUTPUT and GITHUB_ENV name. The steps,
the credential file and the messages are those of https://github.com/google-github-actions/auth (v2 and v3).
"""

import json
import os
import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

NAME = "google-github-actions/auth"
NOT_INJECTED = (
    "GitHub Actions did not inject $ACTIONS_ID_TOKEN_REQUEST_TOKEN or $ACTIONS_ID_TOKEN_REQUEST_URL into this job. "
    "This most likely means the GitHub Actions workflow permissions are incorrect, or this job is being run from a "
    "fork. For more information, please see https://docs.github.com/en/actions/security-guides/"
    "automatic-token-authentication#permissions-for-the-github_token"
)
PROJECT = ("CLOUDSDK_PROJECT", "CLOUDSDK_CORE_PROJECT", "GCP_PROJECT", "GCLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT")
FILE = ("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_GHA_CREDS_PATH")


class Failed(Exception):
    """End the action with an error message."""


def given(name: str) -> str:
    """Return the value of an input."""
    return os.environ.get(f"INPUT_{name.upper()}", "").strip()


def say(text: str) -> None:
    """Print a line without buffering."""
    print(text, flush=True)


def mask(value: str) -> None:
    """Mask a secret in the log from now on."""
    say(f"::add-mask::{value}")


def write(variable: str, pairs: dict[str, str]) -> None:
    """Append lines to one of the runner's files."""
    with open(os.environ[variable], "a", encoding="utf-8") as file:  # noqa: PTH123 - of the runner
        file.writelines(f"{key}={value}\n" for key, value in pairs.items())


def ask(request: urllib.request.Request, what: str) -> dict[str, str]:
    """Send a request and return the JSON of its answer."""
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - addresses of the runner and Google
            found: dict[str, str] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise Failed(f"{what}: ({error.code}) {error.read().decode('utf-8', 'replace').strip()}") from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Failed(f"{what}: {error}") from None


def post(url: str, body: Mapping[str, object], what: str, token: str = "") -> dict[str, str]:
    """Post JSON and return the JSON of the answer."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    return ask(urllib.request.Request(url, json.dumps(body).encode(), headers), what)  # noqa: S310 - as above


def run() -> None:
    """Run the action."""
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
    bearer = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    if not url or not bearer:
        raise Failed(NOT_INJECTED)
    provider, account = given("workload_identity_provider"), given("service_account")
    audience = given("audience") or f"https://iam.googleapis.com/{provider}"
    token_url = f"{url}&audience={urllib.parse.quote(audience, safe='')}"
    headers = {"Authorization": f"Bearer {bearer}"}
    request = urllib.request.Request(token_url, headers=headers)  # noqa: S310 - as above
    subject = ask(request, "failed to get the ID token")["value"]
    mask(subject)
    target = f"//iam.googleapis.com/{provider}"
    impersonation = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
    outputs: dict[str, str] = {}
    variables: dict[str, str] = {}
    if given("create_credentials_file") == "true":
        body = {
            "type": "external_account",
            "audience": target,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {
                "url": token_url,
                "headers": headers,
                "format": {"type": "json", "subject_token_field_name": "value"},
            },
            **({"service_account_impersonation_url": impersonation} if account else {}),
        }
        path = os.path.join(os.environ["GITHUB_WORKSPACE"], f"gha-creds-{secrets.token_hex(8)}.json")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(body, file)
        say(f'Created credentials file at "{path}"')
        outputs["credentials_file_path"] = path
        variables.update(dict.fromkeys(FILE, path))
    project = given("project_id") or account.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
    if project:
        outputs["project_id"] = project
        variables.update(dict.fromkeys(PROJECT, project))
    if given("export_environment_variables") == "true":
        write("GITHUB_ENV", variables)
    write("GITHUB_OUTPUT", outputs)
    exchange = {
        "audience": target,
        "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
        "subjectToken": subject,
    }
    failed = f"failed to generate Google Cloud federated token for {target}"
    federated = post("https://sts.googleapis.com/v1/token", exchange, failed)["access_token"]
    mask(federated)
    write("GITHUB_OUTPUT", {"auth_token": federated})
    if given("token_format") == "access_token":
        if not account:
            raise Failed("google-github-actions/auth needs service_account for token_format: access_token")
        scopes = [one for one in given("access_token_scopes").replace(",", " ").split() if one]
        wanted: dict[str, object] = {"scope": scopes, "lifetime": given("access_token_lifetime")}
        failed = f"failed to generate Google Cloud access token for {account}"
        answer = post(impersonation, wanted, failed, federated)
        mask(answer["accessToken"])
        write(
            "GITHUB_OUTPUT",
            {"access_token": answer["accessToken"], "access_token_expiration": answer["expireTime"]},
        )


if __name__ == "__main__":
    try:
        run()
    except Failed as error:
        say(f"::error::{NAME} failed with: {error}")
        sys.exit(1)
