"""From a commit to a service: the repository at the Git host, its connection to Cloud Build, and the trigger. REST.

In the sandbox a Git host of its own stands in for GitHub: what needs GitHub's own pages is done there, and on Google
said.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import requests
from google.api_core import exceptions

from helpers import names, target, waiting
from helpers.transport import github, rest

_BUILD: Final = "https://cloudbuild.googleapis.com"
_CONSENT_SECONDS: Final = 600.0


class GitFailed(RuntimeError):
    """Git, or the Git host, refused something; the message is theirs."""


def host(repository: str, write: Callable[[str], object] = print) -> None:
    """Make an empty repository `OWNER/NAME` at the sandbox's Git host; on Google say where to make it.

    Raises GitFailed when it can't be made.
    """
    if not target.current().git_host:
        write(f"Make an empty repository {repository} at https://github.com/new, unless you have it already.")
        return
    if github.call("GET", f"/repos/{repository}").status_code == 404:
        answer = github.call("POST", "/user/repos", {"name": repository.partition("/")[2]})
        if answer.status_code != 201:
            raise GitFailed(f"{repository} can't be made: {answer.text[:300]}")
    _require_redirection(repository)
    found = github.call("GET", f"/repos/{repository}").json()
    write(f"{found['clone_url']}: there, at the sandbox's own Git host")


def _require_redirection(repository: str) -> None:
    """See that git goes to the sandbox with what is meant for it: an old one doesn't read the variables that say so."""
    url = f"https://github.com/{repository}.git"
    try:
        done = subprocess.run(["git", "ls-remote", "--get-url", url], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise GitFailed("git isn't on this machine: install it, and run the cell again.") from None
    if "/github.com/" not in done.stdout.removeprefix("https://github.com/"):
        raise GitFailed(f"git would push to {done.stdout.strip() or url} itself: the workbook needs git 2.31 or newer.")


def remove(repository: str, write: Callable[[str], object] = print) -> None:
    """Delete a repository at the sandbox's Git host; gone already is no error. On Google it stays, and you are told."""
    if not target.current().git_host:
        write(f"{repository} stays on GitHub: delete it there, in its settings.")
        return
    github.call("DELETE", f"/repos/{repository}")


def check(repository: str, ref: str, name: str) -> str:
    """Return what the Git host shows beside a commit for a trigger, for example `success` or `in_progress`.

    On GitHub a private repository shows it to you alone: then this is the address to look at.
    """
    answer = github.call("GET", f"/repos/{repository}/commits/{ref}/check-runs")
    for one in answer.json().get("check_runs", ()):
        # Cloud Build writes the project in brackets after the trigger's name.
        if str(one["name"]).partition(" ")[0] == name:
            return str(one["conclusion"] or one["status"])
    return f"see https://github.com/{repository}/commit/{ref}"


def working_copy(folder: Path, files: Iterable[Path], root: Path = target.ROOT) -> Path:
    """Return a new folder with copies of files and folders of the workbook; what was there is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for one in files:
        place = folder / one.relative_to(root)
        if one.is_dir():
            shutil.copytree(one, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(one, place)
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git in a working copy and return what it wrote. Raises GitFailed."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GitFailed(done.stderr.strip() or f"git {arguments[0]} ended with {done.returncode}")
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    """Commit everything that changed, push it to `main`, and return the commit's SHA. Raises GitFailed.

    Without a change it returns the newest commit, and pushes nothing that is pushed already.
    """
    git(folder, "add", "--all")
    if git(folder, "status", "--porcelain"):
        git(folder, "commit", "--quiet", "--message", message)
    git(folder, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    return git(folder, "rev-parse", "HEAD")


def connect(location: names.Location, connection: str, repository: str, write: Callable[[str], object] = print) -> str:
    """Connect a repository to Cloud Build and return its resource name; what is there stays.

    Raises google.api_core.exceptions.GoogleAPICallError, TimeoutError.
    """
    url = f"{_BUILD}/v2/{location.resource}/connections"
    if _get(f"{url}/{connection}") is None:
        rest.call("POST", url, params={"connectionId": connection}, json={"githubConfig": {}})
        _wait(lambda: _get(f"{url}/{connection}"))
    consent(location, connection, write)
    name = repository.replace("/", "-").replace(".", "-").lower()
    linked = f"{url}/{connection}/repositories"
    if _get(f"{linked}/{name}") is None:
        body = {"remoteUri": f"https://github.com/{repository}.git"}
        rest.call("POST", linked, params={"repositoryId": name}, json=body)
    return str(_wait(lambda: _get(f"{linked}/{name}"))["name"])


def consent(location: names.Location, connection: str, write: Callable[[str], object] = print) -> None:
    """Give GitHub's consent to a connection: in the sandbox with two clicks, on Google by you, in a browser.

    Raises TimeoutError when nobody gives it, google.api_core.exceptions.GoogleAPICallError.
    """
    url = f"{_BUILD}/v2/{location.resource}/connections/{connection}"
    told = ""
    for _ in waiting.attempts(_CONSENT_SECONDS, longest=5.0):
        state = rest.call("GET", url)["installationState"]
        if state["stage"] == "COMPLETE":
            write(f"{connection}: COMPLETE")
            return
        if state["stage"] != told:
            told = state["stage"]
            write(f"{told}: {_CLICKS[told]}")
            _click(state["actionUri"], write)
    raise TimeoutError(f"{connection} still waits for somebody's consent: {told}.")


_CLICKS: Final = {
    "PENDING_USER_OAUTH": "open the link, sign in to GitHub, click Authorize Google Cloud Build",
    "PENDING_INSTALL_APP": "open the link, choose your repository, click Install",
}


def _click(link: str, write: Callable[[str], object]) -> None:
    if not target.current().git_host:
        write(link)
        return
    page, _, state = link.partition("?state=")
    with requests.Session() as browser:
        browser.trust_env = False
        answer = browser.post(page, data={"state": state}, timeout=60, allow_redirects=False)
    if answer.status_code >= 400:
        raise GitFailed(answer.text[-300:])


def trigger(
    location: names.Location,
    name: str,
    repository: str,
    *,
    push: Mapping[str, str],
    account: str,
    substitutions: Mapping[str, str],
    description: str = "",
    ignored: Sequence[str] = (),
) -> dict[str, Any]:
    """Make a trigger, or bring the one of that name up to date, and return it as Google's JSON.

    `repository` is the resource name of a connected one, `push` a pattern for a `branch` or a `tag`, `ignored` globs of
    files whose changes fire nothing.
    Raises google.api_core.exceptions.GoogleAPICallError.
    """
    url = f"{_BUILD}/v1/{location.resource}/triggers"
    body = {
        "name": name,
        "description": description,
        "filename": "cloudbuild.yaml",
        "repositoryEventConfig": {"repository": repository, "push": dict(push)},
        "serviceAccount": f"{location.project.resource}/serviceAccounts/{account}",
        "substitutions": dict(substitutions),
        **({"ignoredFiles": list(ignored)} if ignored else {}),
    }
    if _get(f"{url}/{name}") is None:
        return rest.call("POST", url, json=body)
    return rest.call("PATCH", f"{url}/{name}", json=body)


def triggers(location: names.Location) -> tuple[dict[str, Any], ...]:
    """Return the region's triggers as Google's JSON, by name."""
    found = rest.call("GET", f"{_BUILD}/v1/{location.resource}/triggers")
    return tuple(found.get("triggers", ()))


def disconnect(location: names.Location, connection: str) -> None:
    """Delete a connection with its repositories and their triggers; what is gone already is no error."""
    resource = f"{location.resource}/connections/{connection}"
    for one in triggers(location):
        if str(one.get("repositoryEventConfig", {}).get("repository", "")).startswith(f"{resource}/"):
            _delete(f"{_BUILD}/v1/{location.resource}/triggers/{one['id']}")
    _delete(f"{_BUILD}/v2/{resource}")


def _get(url: str) -> dict[str, Any] | None:
    try:
        return rest.call("GET", url)
    except exceptions.NotFound:
        return None


def _delete(url: str) -> None:
    try:
        rest.call("DELETE", url)
    except exceptions.NotFound:
        return


def _wait(look: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    for _ in waiting.attempts(60.0):
        found = look()
        if found is not None:
            return found
    raise TimeoutError("Cloud Build hasn't made it within a minute.")
