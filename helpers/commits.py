"""A repository at the Git host, its connection to Cloud Build, and the trigger that builds its commits. REST.

In the sandbox its own Git host takes GitHub's place. On Google, steps that need GitHub's web pages are described to
the learner.
"""

from __future__ import annotations

import contextlib
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
    """Git or the Git host refused something. The message is theirs."""


def host(repository: str, write: Callable[[str], object] = print) -> None:
    """Create an empty repository `OWNER/NAME` at the sandbox's Git host. On Google say where to create it.

    Raises GitFailed when it can't be created.
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
    """Raise GitFailed unless git sends the repository's requests to the sandbox, which an old git doesn't."""
    url = f"https://github.com/{repository}.git"
    try:
        done = subprocess.run(["git", "ls-remote", "--get-url", url], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise GitFailed("git isn't on this machine: install it, and run the cell again.") from None
    if "/github.com/" not in done.stdout.removeprefix("https://github.com/"):
        raise GitFailed(f"git would push to {done.stdout.strip() or url} itself: the workbook needs git 2.31 or newer.")


def remove(repository: str, write: Callable[[str], object] = print) -> None:
    """Delete a repository at the sandbox's Git host, if it exists. On Google say that it stays."""
    if not target.current().git_host:
        write(f"{repository} stays on GitHub: delete it there, in its settings.")
        return
    github.call("DELETE", f"/repos/{repository}")


def check(repository: str, ref: str, name: str) -> str:
    """Return the state of a trigger's check on a commit, for example `success` or `in_progress`.

    GitHub shows checks of a private repository only to those who are signed in. For those, return the page's address.
    """
    answer = github.call("GET", f"/repos/{repository}/commits/{ref}/check-runs")
    for one in answer.json().get("check_runs", ()):
        # Cloud Build writes the project in brackets after the trigger's name.
        if str(one["name"]).partition(" ")[0] == name:
            return str(one["conclusion"] or one["status"])
    return f"see https://github.com/{repository}/commit/{ref}"


def working_copy(folder: Path, files: Iterable[Path], root: Path = target.ROOT) -> Path:
    """Replace a folder by copies of the workbook's files and folders, and return it."""
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
    """Commit all changes, push them to `main`, and return the newest commit's SHA. Raises GitFailed."""
    git(folder, "add", "--all")
    if git(folder, "status", "--porcelain"):
        git(folder, "commit", "--quiet", "--message", message)
    git(folder, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    return git(folder, "rev-parse", "HEAD")


def connect(location: names.Location, connection: str, repository: str, write: Callable[[str], object] = print) -> str:
    """Connect a repository to Cloud Build, unless it is connected, and return its resource name.

    Raises google.api_core.exceptions.GoogleAPICallError, TimeoutError.
    """
    url = f"{_BUILD}/v2/{location.resource}/connections"
    if rest.find(f"{url}/{connection}") is None:
        rest.call("POST", url, params={"connectionId": connection}, json={"githubConfig": {}})
        _wait(f"{url}/{connection}")
    consent(location, connection, write)
    name = repository.replace("/", "-").replace(".", "-").lower()
    linked = f"{url}/{connection}/repositories"
    if rest.find(f"{linked}/{name}") is None:
        body = {"remoteUri": f"https://github.com/{repository}.git"}
        rest.call("POST", linked, params={"repositoryId": name}, json=body)
    return str(_wait(f"{linked}/{name}")["name"])


def consent(location: names.Location, connection: str, write: Callable[[str], object] = print) -> None:
    """Wait until GitHub's consent to a connection is given: in the sandbox by this function, on Google by the learner.

    Raises TimeoutError when it isn't given, google.api_core.exceptions.GoogleAPICallError.
    """
    url = f"{_BUILD}/v2/{location.resource}/connections/{connection}"
    stage = ""
    for _ in waiting.attempts(_CONSENT_SECONDS, longest=5.0):
        state = rest.call("GET", url)["installationState"]
        if state["stage"] == "COMPLETE":
            write(f"{connection}: COMPLETE")
            return
        if state["stage"] != stage:
            stage = state["stage"]
            write(f"{stage}: {_CLICKS[stage]}")
            _click(state["actionUri"], write)
    raise TimeoutError(f"{connection} still waits for somebody's consent: {stage}.")


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
    """Create a trigger, or update the one of that name, and return it as Google's JSON.

    `repository` is the resource name of a connected repository, `push` has a pattern for a `branch` or a `tag`, and
    `ignored` are globs of files whose changes start no build.
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
    if rest.find(f"{url}/{name}") is None:
        return rest.call("POST", url, json=body)
    return rest.call("PATCH", f"{url}/{name}", json=body)


def triggers(location: names.Location) -> tuple[dict[str, Any], ...]:
    """Return the region's triggers as Google's JSON, by name."""
    found = rest.call("GET", f"{_BUILD}/v1/{location.resource}/triggers")
    return tuple(found.get("triggers", ()))


def disconnect(location: names.Location, connection: str) -> None:
    """Delete a connection with its repositories and their triggers, as far as they exist."""
    resource = f"{location.resource}/connections/{connection}"
    for one in triggers(location):
        if str(one.get("repositoryEventConfig", {}).get("repository", "")).startswith(f"{resource}/"):
            _delete(f"{_BUILD}/v1/{location.resource}/triggers/{one['id']}")
    _delete(f"{_BUILD}/v2/{resource}")


def _delete(url: str) -> None:
    with contextlib.suppress(exceptions.NotFound):
        rest.call("DELETE", url)


def _wait(url: str) -> dict[str, Any]:
    for _ in waiting.attempts(60.0):
        if (found := rest.find(url)) is not None:
            return found
    raise TimeoutError("Cloud Build hasn't made it within a minute.")
