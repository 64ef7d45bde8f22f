"""Workflows of GitHub Actions: variables, a run and its log, and a fork that is not trusted. GitHub's REST API.

In the sandbox its own Git host runs them. On Google they run at GitHub: what takes more than a public repository is
said there, or done with the token in GITHUB_TOKEN.
"""

from __future__ import annotations

import os
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
    """A run that did not end well; the message is the end of its log."""


class GitHubRefused(RuntimeError):
    """GitHub refused something; the message is its own."""


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Attributes:
        conclusion: `success`, `failure`, `startup_failure` and so on.
        log: of all its jobs.
    """

    repository: str
    number: int
    conclusion: str
    log: str

    def said(self, *words: str) -> str:
        """Return the log's lines that hold one of the words."""
        return "\n".join(line for line in self.log.splitlines() if any(word in line for word in words))


def set_variables(
    repository: str, values: Mapping[str, str], write: Callable[[str], object] = print, *, token: str = ""
) -> None:
    """Give a repository's workflows variables, which they read as `vars.NAME`; without a right to, say where to do it.

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

    Raises:
        RunFailed: when it does not end well.
        TimeoutError: when there is none, or it goes on for a quarter of an hour.
    """
    told: set[str] = set()
    for _ in waiting.attempts(_SECONDS):
        path = f"/repos/{repository}/actions/runs?head_sha={sha}"
        found = _json(github.call("GET", path, token=token))["workflow_runs"]
        if not found:
            continue
        base, run = f"/repos/{repository}/actions", found[0]
        jobs = _json(github.call("GET", f"{base}/runs/{run['id']}/jobs", token=token))["jobs"]
        for job in jobs:
            for step in job["steps"]:
                line = f"{_SIGNS.get(step['conclusion'] or '', '?')} {step['name']}"
                if step["status"] == "completed" and f"{job['id']} {step['number']}" not in told:
                    told.add(f"{job['id']} {step['number']}")
                    write(line)
        if run["status"] == "completed":
            ended = Run(repository, run["id"], run["conclusion"], _log(base, run, jobs, token))
            if ended.conclusion != "success":
                raise RunFailed(ended.said("rror", ": ") or ended.log[-2000:])
            return ended
    raise TimeoutError(f"no run of {sha[:7]} in {repository} has ended within {_SECONDS:.0f} s")


def _log(base: str, run: Mapping[str, Any], jobs: list[dict[str, Any]], token: str) -> str:
    answers = [github.call("GET", f"{base}/jobs/{job['id']}/logs", token=token) for job in jobs]
    # GitHub gives logs to those who are signed in.
    texts = [answer.text if answer.ok else f"{run['html_url']} shows the log." for answer in answers]
    if not jobs:
        texts = list(_json(github.call("GET", f"{base}/runs/{run['id']}", token=token)).get("problems", ()))
    return "\n".join(texts)


def fork(
    repository: str, workflow: str, values: Mapping[str, str], write: Callable[[str], object] = print
) -> Run | None:
    """Have a stranger fork the repository and run its workflow there; return the run, which nothing may trust.

    On Google return None and say what to do: it takes a second account on GitHub.

    Args:
        workflow: the name of its file.
        values: the variables, of which none is a secret.

    Raises GitHubRefused, TimeoutError.
    """
    if not target.current().git_host:
        write(f"With a second account: fork https://github.com/{repository}, enter the same variables there, and run")
        write(f"{workflow} by hand on its page Actions.")
        return None
    token = _stranger()
    copied = f"{STRANGER}/{repository.partition('/')[2]}"
    if github.call("GET", f"/repos/{copied}", token=token).status_code == 404:
        _check(github.call("POST", f"/repos/{repository}/forks", {}, token=token))
    set_variables(copied, values, lambda _: None, token=token)
    branch = _json(github.call("GET", f"/repos/{copied}", token=token))["default_branch"]
    sha = _json(github.call("GET", f"/repos/{copied}/commits/{branch}", token=token))["sha"]
    write(f"{STRANGER} runs {workflow} of {copied}")
    path = f"/repos/{copied}/actions/workflows/{workflow}/dispatches"
    _check(github.call("POST", path, {"ref": branch}, token=token))
    try:
        return follow(copied, sha, write, token=token)
    except RunFailed as failed:
        return Run(copied, 0, "failure", str(failed))


def remove_fork(repository: str) -> None:
    """Delete the stranger's fork at the sandbox's Git host; none there is no error, and none is on Google."""
    if target.current().git_host:
        github.call("DELETE", f"/repos/{STRANGER}/{repository.partition('/')[2]}", token=_stranger())


def _stranger() -> str:
    """Return a token of somebody else at the sandbox's Git host."""
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
