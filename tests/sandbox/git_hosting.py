"""A repository at the sandbox's Git host, and the real git in a learner's shell."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from cli.world.starter import World

numbers = itertools.count(1)


@dataclass
class Host:
    """The Git host of one world."""

    world: World
    environment: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)

    def token(self, login: str = "example.com") -> str:
        """The token of a user; the learner's is the one that their git has."""
        if login == "example.com":
            return (self.world.home / "git" / "token").read_text().strip()
        if login not in self.tokens:
            self.tokens[login] = self.world.admin("github:token", {"login": login})["token"]
        return self.tokens[login]

    def api(self, verb: str, path: str, body: Any = None, *, login: str = "example.com", status: int = 200) -> Any:
        """One call of the REST API, which must be answered with `status`."""
        headers = {"Authorization": f"Bearer {self.token(login)}"} if login else {}
        with requests.Session() as session:
            session.trust_env = False
            url = f"{self.world.url}/api.github.com{path}"
            answer = session.request(verb, url, json=body, headers=headers, timeout=30)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def repository(self, **more: Any) -> str:
        """A new repository of the learner's: OWNER/NAME."""
        made = self.api("POST", "/user/repos", {"name": f"app-{next(numbers)}", **more}, status=201)
        return str(made["full_name"])

    def events(self) -> list[tuple[str, ...]]:
        """What happened: kind, ref, old, new, actor."""
        with (
            contextlib.closing(sqlite3.connect(f"file:{self.world.home}/state/world.db?mode=ro", uri=True)) as rows,
            rows,
        ):
            return rows.execute("SELECT kind, ref, old, new, actor FROM git_events ORDER BY number").fetchall()


@dataclass
class Clone:
    """A working copy of `repository`, driven with the real git."""

    repository: str
    folder: Path
    environment: dict[str, str]

    def git(self, *arguments: str, fails: str = "") -> str:
        """Run git; with `fails` it must end badly and say that."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == bool(fails), said
        assert fails in said, said
        return done.stdout.strip()

    def commit(self, message: str = "a change", **files: str) -> str:
        """Commit files, by default one that differs each time; gives the SHA."""
        for name, text in (files or {"file": f"{message} {next(numbers)}\n"}).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")
