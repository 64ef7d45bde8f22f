"""Run the `git` program on bare repositories, without the user's settings and without prompts."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ZERO = "0" * 40
_SECONDS = 120.0
_FILE_LIMIT = 1024 * 1024  # bytes of a file that is read whole
_SETTINGS = {
    "http.receivepack": "true",
    # Check each push before it is accepted, for names that lead out of a folder, broken trees and the like.
    "receive.fsckObjects": "true",
    "receive.unpackLimit": "1",
    "receive.denyDeleteCurrent": "refuse",
    "receive.hideRefs": "refs/pull",
    "receive.autogc": "false",
    "uploadpack.allowAnySHA1InWant": "true",
    "core.hooksPath": os.devnull,
    "core.fsync": "all",
    "core.logAllRefUpdates": "false",
    "gc.auto": "0",
}


class GitMissing(Exception):
    """This machine has no git."""


class GitFailed(Exception):
    """Git ended with an error. The message is git's."""


@dataclass(frozen=True)
class Commit:
    """A commit's author, time, message and parents."""

    sha: str
    author: str
    email: str
    time: str
    message: str
    parents: tuple[str, ...]


def environment() -> dict[str, str]:
    """Return git's environment."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "GitHub",
        "GIT_AUTHOR_EMAIL": "noreply@github.com",
        "GIT_COMMITTER_NAME": "GitHub",
        "GIT_COMMITTER_EMAIL": "noreply@github.com",
    }


def program() -> str:
    """Return the path of git. Raises GitMissing."""
    found = shutil.which("git")
    if found is None:
        raise GitMissing("git is not on this machine; install it, and push again")
    return found


def run(folder: Path, *arguments: str, stdin: bytes = b"", stdout: IO[bytes] | None = None) -> bytes:
    """Run git in a repository and return its output.

    Raises:
        GitFailed: with the last line of git's messages.
        GitMissing: if there is no git.
    """
    command = [program(), f"--git-dir={folder}", *arguments]
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitFailed(f"git {arguments[0]} took longer than {_SECONDS:g} seconds") from None
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitFailed(lines[-1] if lines else f"git {arguments[0]} ended with {done.returncode}")
    return done.stdout or b""


def make(folder: Path, *, max_push: int) -> None:
    """Create an empty bare repository, if it does not exist."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    run(folder, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(folder))
    for key, value in {**_SETTINGS, "receive.maxInputSize": str(max_push)}.items():
        run(folder, "config", key, value)


def refs(folder: Path) -> dict[str, tuple[str, str]]:
    """Return for each branch and tag its object and its commit, which differ for an annotated tag."""
    written = run(folder, "for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", "refs/heads", "refs/tags")
    found: dict[str, tuple[str, str]] = {}
    for line in written.decode("utf-8", "replace").splitlines():
        name, own, *peeled = line.split(" ")
        found[name] = (own, peeled[0] if peeled and peeled[0] else own)
    return found


def resolve(folder: Path, name: str) -> str:
    """Return the commit that a branch, a tag, a ref or a SHA names, or ""."""
    if not name or name.startswith("-") or any(sign in name for sign in ("@{", "..", ":", "^", "~", "\0", "\n")):
        return ""
    tried = [name] if name.startswith("refs/") else [f"refs/heads/{name}", f"refs/tags/{name}"]
    for one in [*tried, name] if _is_hex(name) else tried:
        with contextlib.suppress(GitFailed):
            found = run(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{one}^{{commit}}")
            return found.decode().strip()
    return ""


def _is_hex(name: str) -> bool:
    return 7 <= len(name) <= 40 and set(name) <= set("0123456789abcdef")


def commit(folder: Path, sha: str) -> Commit:
    """Return a commit. Raises GitFailed if it does not exist."""
    shown = "--format=%H%x00%P%x00%an%x00%ae%x00%aI%x00%B"
    text = run(folder, "log", "-1", shown, "--end-of-options", sha).decode("utf-8", "replace")
    name, parents, author, email, time, message = text.split("\0", 5)
    return Commit(name, author, email, time, message.strip("\n"), tuple(parents.split()))


def read(folder: Path, sha: str, path: str) -> bytes | None:
    """Return a file of a commit, or None if it does not exist or has more than 1 MiB."""
    try:
        size = int(run(folder, "cat-file", "-s", f"{sha}:{path}"))
        if size > _FILE_LIMIT:
            raise GitFailed(f"{path} has {size} bytes; {_FILE_LIMIT} are the most that is read of it")
        return run(folder, "cat-file", "blob", f"{sha}:{path}")
    except (GitFailed, ValueError):
        return None


def files(folder: Path, sha: str, prefix: str = "") -> list[str]:
    """Return the paths of a commit's files, or of those below a folder."""
    arguments = ["ls-tree", "-r", "-z", "--name-only", sha]
    text = run(folder, *arguments, *(["--", prefix] if prefix else [])).decode("utf-8", "replace")
    return [path for path in text.split("\0") if path]


def size(folder: Path, sha: str) -> tuple[int, int]:
    """Return the number of a commit's files and their total bytes."""
    lines = [line for line in run(folder, "ls-tree", "-r", "-l", "-z", sha).split(b"\0") if line]
    sizes = [line.split(b"\t", 1)[0].split()[3] for line in lines]
    return len(lines), sum(int(one) for one in sizes if one != b"-")


def changed(folder: Path, old: str, new: str) -> list[str]:
    """Return the paths that differ between two commits, or all files if there was no commit before.

    Source: https://cloud.google.com/build/docs/automating-builds/create-manage-triggers. After a push to a new branch
    all files of the repository count as changed.
    """
    if old == ZERO:
        return files(folder, new)
    text = run(folder, "diff-tree", "-r", "-z", "--no-commit-id", "--name-only", "--no-renames", old, new)
    return [path for path in text.decode("utf-8", "replace").split("\0") if path]


def merge_base(folder: Path, one: str, other: str) -> str:
    """Return the common ancestor of two commits, or the first of them if there is none."""
    try:
        return run(folder, "merge-base", one, other).decode().strip()
    except GitFailed:
        return one


def check_out(folder: Path, url: str, sha: str, target: Path) -> list[str]:
    """Check out one commit into a shallow working copy, as Cloud Build does, and return git's messages.

    Args:
        url: the copy's `origin`.
    """
    target.mkdir(parents=True)
    inside = target / ".git"
    run(inside, "init", "--quiet", "--template=", "--initial-branch=master", str(target))
    run(inside, "remote", "add", "origin", url)
    run(inside, "fetch", "--quiet", "--no-tags", "--depth=1", f"file://{folder}", sha)
    run(inside, f"--work-tree={target}", "-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", sha)
    # Remove it, because it names the folder on this machine.
    (inside / "FETCH_HEAD").unlink(missing_ok=True)
    subject = commit(inside, sha).message.partition("\n")[0]
    return [
        "Initialized empty Git repository in /workspace/.git/",
        f"From {url.removesuffix('.git')}",
        f" * branch            {sha} -> FETCH_HEAD",
        f"HEAD is now at {sha[:7]} {subject}",
    ]
