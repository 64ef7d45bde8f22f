"""Decide whether a change fires a trigger, and with which substitutions. Pure.

Sources: google/devtools/cloudbuild/v1/cloudbuild.proto (PushFilter, PullRequestFilter, BuildTrigger.ignored_files and
included_files), gcloud's help of `builds triggers create github` (a pattern may match anywhere, so `foo` matches
`foobar`), https://cloud.google.com/build/docs/automating-builds/create-manage-triggers (skipping a build).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import re2

_SKIP = ("[skip ci]", "[ci skip]")
COMMAND = "/gcbrun"


class BadPattern(ValueError):
    """A pattern that Google does not accept. The message is the reason."""


@dataclass(frozen=True)
class Change:
    """A change at the Git host, reduced to the properties that triggers match.

    Attributes:
        branch: the branch that was pushed. For a pull request, its base branch.
        tag: the tag that was pushed.
        files: the paths that differ.
        message: the commit's message.
        pull_request: whether the change is a pull request or a comment on one.
        head: the pull request's own branch.
        trusted: whether the pull request's author may push to the repository.
        command: whether a user who may push to the repository wrote /gcbrun, as description or comment.
        comment: whether the event is a comment, which fires a trigger only by its command.
    """

    branch: str = ""
    tag: str = ""
    files: tuple[str, ...] = ()
    message: str = ""
    pull_request: bool = False
    head: str = ""
    trusted: bool = True
    command: bool = False
    comment: bool = False


def compile_pattern(pattern: str) -> Any:
    """Return a compiled RE2 pattern, or raise BadPattern, for example for a lookahead."""
    options = re2.Options()
    # By default RE2 also writes each invalid pattern to stderr.
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it can't be read"
        raise BadPattern(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None


def matches(filter_: Mapping[str, Any], field: str, name: str) -> bool:
    """Return whether a branch or a tag passes a filter's pattern, which `invertRegex` negates."""
    found = bool(compile_pattern(filter_[field]).search(name))
    return found != bool(filter_.get("invertRegex"))


def compile_glob(glob: str) -> re.Pattern[str]:
    """Return the expression of a glob of Go's filepath.Match, with `**` for any number of folders.

    Raises:
        BadPattern: if the glob is malformed.
    """
    out, place = [], 0
    while place < len(glob):
        sign = glob[place]
        place += 1
        if sign == "*" and glob.startswith("*", place):
            place += 1
            if glob.startswith("/", place):
                place += 1
                out.append("(?:.*/)?")
            else:
                out.append(".*")
        elif sign == "*":
            out.append("[^/]*")
        elif sign == "?":
            out.append("[^/]")
        elif sign == "[":
            text, place = _class(glob, place)
            out.append(text)
        elif sign == "\\":
            if place == len(glob):
                raise BadPattern("syntax error in pattern")
            out.append(re.escape(glob[place]))
            place += 1
        else:
            out.append(re.escape(sign))
    return re.compile("".join(out), re.DOTALL)


def _class(glob: str, place: int) -> tuple[str, int]:
    end = place
    negated = glob.startswith("^", end)
    end += negated
    pieces: list[str] = []
    while not (glob.startswith("]", end) and pieces):
        first, end = _one(glob, end)
        last = first
        if glob.startswith("-", end) and not glob.startswith("]", end + 1):
            last, end = _one(glob, end + 1)
        if last < first:
            raise BadPattern("syntax error in pattern")
        pieces.append(f"{re.escape(first)}-{re.escape(last)}")
    return f"(?!/)[{'^' if negated else ''}{''.join(pieces)}]", end + 1


def _one(glob: str, place: int) -> tuple[str, int]:
    if glob.startswith("\\", place):
        place += 1
    elif glob.startswith(("-", "]"), place):
        raise BadPattern("syntax error in pattern")
    if place >= len(glob):
        raise BadPattern("syntax error in pattern")
    return glob[place], place + 1


def why_not(trigger: Mapping[str, Any], change: Change) -> str:
    """Return the reason why a change does not fire a trigger of its repository, or "" if it does.

    Args:
        trigger: Google's BuildTrigger as JSON, with `github` or `repositoryEventConfig`.
    """
    if trigger.get("disabled"):
        return "the trigger is disabled"
    event = trigger.get("github") or trigger.get("repositoryEventConfig") or {}
    refused = _pull_request(event, change) if change.pull_request else _push(event, change)
    if refused:
        return refused
    # A user requested the build, whatever the files and the message are. # unverified
    if change.comment:
        return ""
    if any(mark in change.message for mark in _SKIP):
        return "the commit's message says to skip it"
    return _files(trigger, change.files)


def _push(event: Mapping[str, Any], change: Change) -> str:
    push = event.get("push")
    if not push:
        return "the trigger is for pull requests"
    for kind, name in (("branch", change.branch), ("tag", change.tag)):
        if name:
            if not push.get(kind):
                return f"the trigger is not for a {kind}"
            return "" if matches(push, kind, name) else f"the {kind} {name} does not match {push[kind]}"
    return "nothing was pushed"


def _pull_request(event: Mapping[str, Any], change: Change) -> str:
    wanted = event.get("pullRequest")
    if not wanted:
        return "the trigger is for pushes"
    if not matches(wanted, "branch", change.branch):
        return f"the branch {change.branch} does not match {wanted['branch']}"
    if change.comment and not change.command:
        return f"the comment is no {COMMAND} of somebody who may push"
    control = wanted.get("commentControl", "COMMENTS_DISABLED")
    if control == "COMMENTS_ENABLED" and not change.command:
        return f"somebody who may push must comment {COMMAND}"
    if control == "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY" and not (change.trusted or change.command):
        return f"somebody who may push must comment {COMMAND}"
    return ""


def _files(trigger: Mapping[str, Any], files: tuple[str, ...]) -> str:
    ignored = [compile_glob(one) for one in trigger.get("ignoredFiles", ())]
    included = [compile_glob(one) for one in trigger.get("includedFiles", ())]
    if not ignored and not included:
        return ""
    left = [path for path in files if not any(one.fullmatch(path) for one in ignored)]
    if not left:
        return "only ignored files changed"
    if included and not any(one.fullmatch(path) for one in included for path in left):
        return "no included file changed"
    return ""


def substitutions(
    trigger: Mapping[str, Any], change: Change, *, commit: str, repository: str, number: int = 0, head_url: str = ""
) -> dict[str, str]:
    """Return the substitutions that a trigger sets in addition to the user's.

    Source: https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values

    Args:
        repository: OWNER/NAME.
        number: the pull request's number.
        head_url: the repository of the pull request's branch.
    """
    branch = change.head if change.pull_request else change.branch
    found = {
        "TRIGGER_NAME": str(trigger["name"]),
        "TRIGGER_BUILD_CONFIG_PATH": str(trigger.get("filename", "")),
        "COMMIT_SHA": commit,
        "REVISION_ID": commit,
        "SHORT_SHA": commit[:7],
        "REPO_NAME": repository.rpartition("/")[2],
        "REPO_FULL_NAME": repository,
        "BRANCH_NAME": branch,
        "TAG_NAME": change.tag,
        "REF_NAME": branch or change.tag,
    }
    if change.pull_request:
        found |= {
            "_PR_NUMBER": str(number),
            "_HEAD_BRANCH": change.head,
            "_BASE_BRANCH": change.branch,
            "_HEAD_REPO_URL": head_url,
        }
    return found
