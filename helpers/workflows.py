"""GitHub Actions: set variables, follow a run and its log, and run in a fork that isn't trusted. GitHub's REST API.

In the sandbox its own Git host runs workflows. On Google, GitHub does, and steps that need a right there are done
with the token in GITHUB_TOKEN, or described to the learner.
"""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests

from helpers import target, waiting
from helpers.transport import github

_SECONDS: Final = 900.0
_SIGNS: Final = {"success": "✓", "failure": "✗", "skipped": "–"}
STRANGER: Final = "mallory"


class RunFailed(RuntimeError):
    """A run failed. The message is the end of its log."""


class GitHubRefused(RuntimeError):
    """GitHub refused a request. The message is GitHub's."""


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Attributes:
        conclusion: `success`, `failure`, `startup_failure` and so on.
        log: the log of all its jobs.
    """

    repository: str
    number: int
    conclusion: str
    log: str

    def said(self, *words: str) -> str:
        """Return the log's lines that contain one of the words."""
        return "\n".join(line for line in self.log.splitlines() if any(word in line for word in words))


def set_variables(
    repository: str, values: Mapping[str, str], write: Callable[[str], object] = print, *, token: str = ""
) -> None:
    """Set the variables that a repository's workflows read as `vars.NAME`. Without a token, say where to set them.

    Raises GitHubRefused.
    """
    if not target.current().git_host and not (token or os.environ.get("GITHUB_TOKEN")):
        write(f"Enter them at https://github.com/{repository}/settings/variables/actions")
        for name, value in values.items():
            write(f"{name}={value}")
        return
    for name, value in values.items():
        base, body = f"/repos/{repository}/actions/variables", {"name": name, "value": value}
        answer = github.call("PATCH", f"{base}/{name}", body, token=token)
        if answer.status_code == 404:
            answer = github.call("POST", base, body, token=token)
        _check(answer)
    write(f"{len(values)} variables in {repository}: {', '.join(values)}")


def follow(repository: str, sha: str, write: Callable[[str], object] = print, *, token: str = "") -> Run:
    """Wait for the newest run of a commit to end, and print its steps as they end.

    Raises RunFailed when it doesn't succeed, TimeoutError when there is none or it takes more than 15 minutes.
    """
    written: set[str] = set()
    # GitHub limits the number of requests.
    for _ in waiting.attempts(_SECONDS, longest=0.5 if target.current().git_host else 2.0):
        path = f"/repos/{repository}/actions/runs?head_sha={sha}"
        found = _json(github.call("GET", path, token=token))["workflow_runs"]
        if not found:
            continue
        base, run = f"/repos/{repository}/actions", found[0]
        jobs = _json(github.call("GET", f"{base}/runs/{run['id']}/jobs", token=token))["jobs"]
        for job in jobs:
            for step in job["steps"]:
                line = f"{_SIGNS.get(step['conclusion'] or '', '?')} {step['name']}"
                if step["status"] == "completed" and f"{job['id']} {step['number']}" not in written:
                    written.add(f"{job['id']} {step['number']}")
                    write(line)
        if run["status"] == "completed":
            ended = Run(repository, run["id"], run["conclusion"], _log(base, run, jobs, token))
            if ended.conclusion != "success":
                raise RunFailed(ended.said("rror", ": ") or ended.log[-2000:])
            return ended
    raise TimeoutError(f"no run of {sha[:7]} in {repository} has ended within {_SECONDS:.0f} s")


def _log(base: str, run: Mapping[str, Any], jobs: list[dict[str, Any]], token: str) -> str:
    answers = [github.call("GET", f"{base}/jobs/{job['id']}/logs", token=token) for job in jobs]
    # GitHub shows logs only to users who are signed in.
    texts = [answer.text if answer.ok else f"{run['html_url']} shows the log." for answer in answers]
    if not jobs:
        texts = list(_json(github.call("GET", f"{base}/runs/{run['id']}", token=token)).get("problems", ()))
    return "\n".join(texts)


def fork(repository: str, branch: str, values: Mapping[str, str], write: Callable[[str], object] = print) -> Run | None:
    """Fork the repository as another user, push to a branch of the fork, and return the run that this starts there.

    On Google return None and describe the steps, because they need a second account on GitHub. `values` are the fork's
    variables, none of which is a secret. Raises GitHubRefused, TimeoutError.
    """
    if not target.current().git_host:
        write(
            f"With a second account: fork https://github.com/{repository} with all branches, enter the same variables"
        )
        write(f"there, enable its workflows on the page Actions, and push a commit to {branch}.")
        return None
    token = _stranger()
    copied = f"{STRANGER}/{repository.partition('/')[2]}"
    if github.call("GET", f"/repos/{copied}", token=token).status_code == 404:
        _check(github.call("POST", f"/repos/{repository}/forks", {}, token=token))
    set_variables(copied, values, lambda _: None, token=token)
    sha = _push(copied, branch, token)
    write(f"{STRANGER} has pushed to {branch} of {copied}")
    try:
        return follow(copied, sha, write, token=token)
    except RunFailed as failed:
        return Run(copied, 0, "failure", str(failed))


def _push(repository: str, branch: str, token: str) -> str:
    """Push an empty commit as the other user, with the token kept off the command line, and return the SHA."""
    url = f"http://{target.current().registry_host}/github.com/{repository}.git"
    login = base64.b64encode(f"{STRANGER}:{token}".encode()).decode()
    values = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader"}
    values |= {"GIT_CONFIG_VALUE_0": f"Authorization: Basic {login}", "GIT_TERMINAL_PROMPT": "0"}
    values |= {
        f"GIT_{who}_{what}": f"{STRANGER}@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    with tempfile.TemporaryDirectory() as folder:

        def git(*arguments: str) -> str:
            done = subprocess.run(
                ["git", *arguments],
                cwd=folder,
                env={**os.environ, **values},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise GitHubRefused(done.stderr.strip()[-500:])
            return done.stdout.strip()

        git("clone", "--quiet", f"--branch={branch}", url, ".")
        git("commit", "--quiet", "--allow-empty", "--message=Let me in")
        git("push", "--quiet", "origin", branch)
        return git("rev-parse", "HEAD")


def remove_fork(repository: str) -> None:
    """Delete the other user's fork at the sandbox's Git host, if it exists. On Google there is none."""
    if target.current().git_host:
        github.call("DELETE", f"/repos/{STRANGER}/{repository.partition('/')[2]}", token=_stranger())


def _stranger() -> str:
    """Return a token of another user at the sandbox's Git host."""
    found = target.admin("github:token", {"login": STRANGER})
    if found is None:
        raise GitHubRefused("the sandbox does not answer, so nobody else can be signed in")
    return str(found["token"])


def _check(answer: requests.Response) -> None:
    if not answer.ok:
        raise GitHubRefused(f"{answer.status_code}: {answer.text[:500]}")


def _json(answer: requests.Response) -> dict[str, Any]:
    _check(answer)
    found: dict[str, Any] = answer.json()
    return found
