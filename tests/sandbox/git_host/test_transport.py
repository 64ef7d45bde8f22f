"""The real git against the Git host: what it takes, what it refuses, and what it writes down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.sandbox.git_hosting import Clone, Host

ZERO = "0" * 40
Make = Callable[..., Clone]


def test_a_push_to_githubs_address_arrives_here_and_is_an_event(host: Host, clone: Make) -> None:
    repository = host.repository()
    work = clone(repository)
    first = work.commit()
    work.git("push", "origin", "main")
    second = work.commit()
    work.git("push", "origin", "main")
    assert host.events()[-2:] == [
        ("push", "refs/heads/main", ZERO, first, "example.com"),
        ("push", "refs/heads/main", first, second, "example.com"),
    ]
    copy = clone(repository)
    copy.git("pull", "--quiet", "origin", "main")
    assert copy.git("rev-parse", "HEAD") == second


def test_tags_branches_and_deletions_are_events_of_their_own(host: Host, clone: Make) -> None:
    work = clone(host.repository())
    sha = work.commit()
    work.git("tag", "light")
    work.git("tag", "--annotate", "--message=a release", "v1.0.0")
    work.git("push", "--quiet", "origin", "main", "light", "v1.0.0", "main:refs/heads/team/topic")
    work.git("push", "--quiet", "origin", ":refs/heads/team/topic")
    seen = [(ref, old, new) for _, ref, old, new, _ in host.events()[-5:]]
    assert seen[:4] == [
        (ref, ZERO, sha) for ref in ("refs/heads/main", "refs/heads/team/topic", "refs/tags/light", "refs/tags/v1.0.0")
    ]
    assert seen[4] == ("refs/heads/team/topic", sha, ZERO)


def test_the_first_branch_is_the_default_one(host: Host, clone: Make) -> None:
    repository = host.repository()
    work = clone(repository)
    work.commit()
    work.git("push", "--quiet", "origin", "main:trunk")
    assert host.api("GET", f"/repos/{repository}")["default_branch"] == "trunk"


def test_nothing_is_written_into_the_users_own_settings(host: Host, clone: Make, tmp_path: Path) -> None:
    work = clone(host.repository())
    work.commit()
    work.git("push", "--quiet", "origin", "main")
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("clone-")]


@pytest.mark.parametrize("name", ["app", "app-that-github-has"])
def test_repositories_that_the_sandbox_does_not_host_stay_where_they_are(host: Host, clone: Make, name: str) -> None:
    work = clone(host.repository())
    for url in (f"https://github.com/example.com/{name}.git", "https://github.com/git/git.git"):
        work.git("remote", "add", "other", url)
        assert work.git("remote", "get-url", "other") == url
        work.git("remote", "remove", "other")


def test_a_push_needs_a_sign_in(host: Host, clone: Make) -> None:
    repository = host.repository()
    work = clone(repository)
    work.commit()
    address = f"{host.world.url}/github.com/{repository}.git"
    work.git(
        "-c", "credential.helper=", "push", address.replace("localhost", "127.0.0.1"), "main", fails="could not read"
    )
    with_token = address.replace("http://", "http://nobody:ghp_000000000000000000000000000000000000@")
    work.git("push", with_token, "main", fails="Authentication failed")
    assert not [event for event in host.events() if event[3] == work.git("rev-parse", "HEAD")]


def test_a_push_needs_a_right(host: Host, clone: Make) -> None:
    repository = host.repository()
    owner = clone(repository)
    owner.commit()
    owner.git("push", "--quiet", "origin", "main")
    other = clone(repository, login="mallory")
    other.git("pull", "--quiet", "origin", "main")
    other.commit()
    other.git("push", "origin", "main", fails=f"Permission to {repository}.git denied to mallory")
    host.api("PUT", f"/repos/{repository}/collaborators/mallory", {"permission": "push"}, status=204)
    other.git("push", "--quiet", "origin", "main")
    assert host.events()[-1][4] == "mallory"


def test_a_private_repository_is_not_there_for_others(host: Host, clone: Make) -> None:
    repository = host.repository(private=True)
    clone(repository).git("fetch", "origin")
    clone(repository, login="mallory").git("fetch", "origin", fails="not found")
    host.api("GET", f"/repos/{repository}", login="mallory", status=404)
    host.api("GET", f"/repos/{repository}", login="", status=404)


@pytest.mark.parametrize(
    "path",
    [
        "/example.com/../../state/world.db/info/refs?service=git-upload-pack",
        "/example.com/%2e%2e/%2e%2e/info/refs?service=git-upload-pack",
        "/example.com/..%2f..%2f1.git/info/refs?service=git-upload-pack",
        "/../1.git/info/refs?service=git-upload-pack",
        "/1.git/info/refs?service=git-upload-pack",
        "/{repository}.git/objects/info/packs",
        "/{repository}.git/HEAD",
        "/{repository}.git/config",
        "/{repository}.git/../../admin-token",
        "/{repository}.git/info/refs?service=git-upload-archive",
        "/{repository}.git/info/refs",
        "/{repository}.git/info/refs?service=--upload-pack=touch",
    ],
)
def test_paths_lead_to_repositories_and_nowhere_else(host: Host, path: str) -> None:
    url = f"{host.world.url}/github.com{path.format(repository=host.repository())}"
    with requests.Session() as session:
        session.trust_env = False
        # As it is written: requests would make the path shorter itself.
        asked = requests.Request("GET", url, auth=("x", host.token())).prepare()
        asked.url = url
        assert session.send(asked, timeout=30).status_code in (400, 404, 501)


def test_trees_that_would_leave_their_folder_are_refused(host: Host, clone: Make) -> None:
    work = clone(host.repository())
    blob = work.git("hash-object", "-w", "--stdin")
    for name in (".git", "..", ".GIT"):
        raw = b"100644 " + name.encode() + b"\0" + bytes.fromhex(blob)
        tree = _object(work, "tree", raw)
        commit = work.git("commit-tree", tree, "-m", "a trick")
        work.git("push", "origin", f"{commit}:refs/heads/trick", fails="remote unpack failed")


def test_a_ref_that_is_not_the_users_is_refused(host: Host, clone: Make) -> None:
    work = clone(host.repository())
    work.commit()
    work.git("push", "origin", "main:refs/pull/1/head", fails="deny updating a hidden ref")


def test_a_push_that_is_too_large_is_refused_and_changes_nothing(host: Host, clone: Make) -> None:
    repository = host.repository()
    work = clone(repository)
    with (work.folder / "large").open("wb") as file:
        for _ in range(101):
            file.write(os.urandom(1024 * 1024))
    sha = work.commit("large", small="1")
    work.git("-c", "http.postBuffer=200000000", "-c", "pack.compression=0", "push", "origin", "main", fails="413")
    assert not [event for event in host.events() if event[3] == sha]
    assert host.api("GET", f"/repos/{repository}/branches") == []


def _object(work: Clone, kind: str, content: bytes) -> str:
    done = subprocess.run(
        ["git", "hash-object", "-w", "--literally", "-t", kind, "--stdin"],
        cwd=work.folder,
        env=work.environment,
        input=content,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()
