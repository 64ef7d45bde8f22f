"""SIGKILL at random moments of git pushes: acknowledged commits survive, and each push starts its build once."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from sandbox import seed
from sandbox.cloud_build import connections
from sandbox.git_host import repositories
from sandbox.iam import tokens
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.conditions import until
from tests.sandboxes import Sandbox

WHOLE = os.environ.get("WORKBOOK_SOAK") == "1"
KILLS = 20 if WHOLE else 2
PUSHERS = 3
CONFIG = "steps: [{name: gcr.io/cloud-builders/docker, args: [version]}]\noptions: {logging: NONE}\n"


class Server(Sandbox):
    """A sandbox without an engine, whose builds end immediately, which is enough to see that they started."""

    def rows(self, query: str) -> list[tuple[str, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/state/world.db?mode=ro", uri=True)) as rows:
            return rows.execute(query).fetchall()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if shutil.which("git") is None:
        pytest.skip("git isn't on the PATH")
    name = f"ml-workbook-{secrets.token_hex(3)}"
    world = World(tmp_path / "state", Clock())
    about = seed.prepare(world, tmp_path, name, "us-central1")
    with world.writing() as rows:
        rows.execute("INSERT OR IGNORE INTO services VALUES (?, 'cloudbuild.googleapis.com', 'x')", (name,))
    token = tokens.mint(world, f"serviceAccount:{about['learner']}")
    made = repositories.create(world, repositories.LEARNER, "app")
    project = projects.find(world, name)
    assert project is not None
    connections.map_app(world, project, "us-central1", made)
    world.close()
    # Without an engine, because steps would take time.
    found = Server(tmp_path, variables=(("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock"),))
    try:
        found.start()
        url = (
            f"http://localhost:{found.port}/cloudbuild.googleapis.com/v1/projects/{name}/locations/us-central1/triggers"
        )
        event = {"owner": repositories.LEARNER, "name": "app", "push": {"branch": ".*"}}
        body = {"name": "all", "filename": "cloudbuild.yaml", "github": event}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=60)
            assert answer.status_code == 200, answer.text
        yield found
    finally:
        found.kill()


class Pusher(threading.Thread):
    """A client that commits and pushes to its own branch, and repeats a failed push until git succeeds."""

    def __init__(self, server: Server, number: int, stop: threading.Event) -> None:
        super().__init__()
        self.server, self.stop = server, stop
        self.branch = f"branch-{number}"
        self.folder = server.home / f"clone-{number}"
        self.heard: list[str] = []
        settings = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "include.path", "GIT_CONFIG_NOSYSTEM": "1"}
        settings |= {"GIT_CONFIG_VALUE_0": str(server.home / "git" / "config"), "HOME": str(server.home)}
        who = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "me")
        who |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "me@example.com")
        self.environment = os.environ | settings | who | {"GIT_TERMINAL_PROMPT": "0"}

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def run(self) -> None:
        self.folder.mkdir()
        self.git("init", "--quiet", f"--initial-branch={self.branch}")
        self.git("remote", "add", "origin", f"https://github.com/{repositories.LEARNER}/app.git")
        (self.folder / "cloudbuild.yaml").write_text(CONFIG)
        while not self.stop.is_set():
            (self.folder / "file").write_text(secrets.token_hex(2000))
            self.git("add", "--all")
            self.git("commit", "--quiet", "--message", "a change")
            sha = self.git("rev-parse", "HEAD").stdout.strip()
            while self.git("push", "--quiet", "origin", self.branch).returncode != 0:
                if self.stop.wait(0.05):
                    return
            self.heard.append(sha)


def test_no_push_is_lost_and_no_build_begun_twice_or_forgotten(server: Server) -> None:
    stop = threading.Event()
    pushers = [Pusher(server, number, stop) for number in range(PUSHERS)]
    for one in pushers:
        one.start()
    draw = random.Random(20)
    try:
        for _ in range(KILLS):
            before = sum(len(one.heard) for one in pushers)
            # Kill at a random moment of a push, after at least one was acknowledged.
            until(lambda before=before: sum(len(one.heard) for one in pushers) > before, pause=0.01)
            threading.Event().wait(draw.uniform(0.0, 0.4))
            server.kill()
            server.start()
    finally:
        stop.set()
        for one in pushers:
            one.join()
    heard = {sha for one in pushers for sha in one.heard}
    assert len(heard) >= KILLS
    events = _settled(server)
    pushed = [new for (new,) in server.rows("SELECT new FROM git_events WHERE kind = 'push'")]
    assert heard <= set(pushed)
    assert len(pushed) == len(set(pushed))
    begun = server.rows("SELECT event, trigger FROM trigger_builds")
    builds = [json.loads(build) for (build,) in server.rows("SELECT build FROM builds")]
    shas = [build["sourceProvenance"]["resolvedGitSource"]["revision"] for build in builds]
    assert sorted(shas) == sorted(pushed)
    assert len(begun) == events == len(builds)
    # The repository is intact.
    folder = server.home / "state" / "git" / "1.git"
    subprocess.run(["git", "--git-dir", str(folder), "fsck", "--strict"], check=True, capture_output=True)


def _settled(server: Server) -> int:
    """Wait until every event is handled, and return their number."""

    def look() -> tuple[str, ...] | None:
        ((events,),) = server.rows("SELECT COALESCE(MAX(number), 0) FROM git_events")
        ((heard,),) = server.rows("SELECT heard FROM git_listeners WHERE name = 'triggers'")
        return (events,) if events == heard else None

    return int(until(look, pause=0.05)[0])
