"""Repositories, users and their tokens, and their rights to read and push.

The learner's login has a dot, which no owner on GitHub has, so a policy that names it gives nobody there a right.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sandbox.git_host import git
from sandbox.state.clock import timestamp
from sandbox.state.schema import next_number
from sandbox.state.world import World

LEARNER = "example.com"
MAX_PUSH = 100 * 1024 * 1024  # bytes of one push. GitHub's limit is 2 GB
# These names are only looked up in a table. Folders have numbers, so no path contains a client's input.
OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,37}[A-Za-z0-9])?")
NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,100}(?<!\.git)")
RIGHTS = ("pull", "triage", "push", "maintain", "admin")


class Refused(Exception):
    """A repository or a user cannot be created. The message is the reason."""


@dataclass(frozen=True)
class Repository:
    """One repository.

    Attributes:
        parent: the id of the repository that it was forked from, or 0.
    """

    id: int
    owner: str
    name: str
    private: bool
    parent: int
    create_time: str

    @property
    def full_name(self) -> str:
        """The name as OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    @property
    def url(self) -> str:
        """The address on GitHub."""
        return f"https://github.com/{self.full_name}.git"

    def folder(self, world: World) -> Path:
        """Return the folder of the bare repository."""
        return world.folder / "git" / f"{self.id}.git"


def _of(row: sqlite3.Row) -> Repository:
    return Repository(row["id"], row["owner"], row["name"], bool(row["private"]), row["parent"], row["create_time"])


def find(world: World, owner: str, name: str) -> Repository | None:
    """Return a repository by its name, or None. As on GitHub, upper and lower case are the same."""
    with world.reading() as rows:
        row = rows.execute("SELECT * FROM git_repositories WHERE owner = ? AND name = ?", (owner, name)).fetchone()
    return _of(row) if row else None


def by_id(world: World, number: int) -> Repository | None:
    """Return a repository by its id, or None."""
    with world.reading() as rows:
        row = rows.execute("SELECT * FROM git_repositories WHERE id = ?", (number,)).fetchone()
    return _of(row) if row else None


def every(world: World) -> list[Repository]:
    """Return all repositories in the order of their creation."""
    with world.reading() as rows:
        return [_of(row) for row in rows.execute("SELECT * FROM git_repositories ORDER BY id")]


def create(world: World, owner: str, name: str, *, private: bool = False, parent: int = 0) -> Repository:
    """Create an empty repository.

    Raises:
        Refused: for a name that GitHub does not accept, and for one that the owner already has.
    """
    if not OWNER.fullmatch(owner):
        raise Refused(f"{owner!r} is no owner's name")
    if not NAME.fullmatch(name):
        raise Refused("name must be letters, digits, '.', '-' and '_', and does not end with .git")
    with world.writing() as rows:
        # Numbers are never reused, so a folder that a crash left behind belongs to no other repository.
        number = next_number(rows, "git repositories") + 1
    created = Repository(number, owner, name, private, parent, timestamp(world.now()))
    git.make(created.folder(world), max_push=MAX_PUSH)
    with world.writing() as rows:
        add_user(rows, owner)
        try:
            rows.execute(
                "INSERT INTO git_repositories (id, owner, name, private, parent, create_time)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (number, owner, name, int(private), parent, created.create_time),
            )
        except sqlite3.IntegrityError:
            raise Refused("name already exists on this account") from None
    write_settings(world)
    return created


def delete(world: World, repository: Repository) -> None:
    """Delete a repository with everything that belongs to it."""
    with world.writing() as rows:
        for table in ("git_refs", "git_collaborators", "git_pull_requests", "git_check_runs"):
            rows.execute(f"DELETE FROM {table} WHERE repository = ?", (repository.id,))  # noqa: S608 - constants
        rows.execute("DELETE FROM git_repositories WHERE id = ?", (repository.id,))
    shutil.rmtree(repository.folder(world), ignore_errors=True)
    write_settings(world)


def right(world: World, repository: Repository, login: str) -> str:
    """Return a user's right, which is one of `RIGHTS`, or "" for none. Without a login, return that of the public."""
    if login and login.lower() == repository.owner.lower():
        return "admin"
    with world.reading() as rows:
        row = rows.execute(
            "SELECT permission FROM git_collaborators WHERE repository = ? AND login = ?", (repository.id, login)
        ).fetchone()
    if row and login:
        return str(row["permission"])
    return "" if repository.private else "pull"


def may_push(world: World, repository: Repository, login: str) -> bool:
    """Return whether a user may push."""
    return right(world, repository, login) in ("push", "maintain", "admin")


def add_user(rows: sqlite3.Connection, login: str) -> None:
    """Add a user, unless there is one of that name."""
    rows.execute("INSERT OR IGNORE INTO git_users (login) VALUES (?)", (login,))


def mint(world: World, login: str, kind: str = "ghp") -> str:
    """Create a token, of which only the hash is stored.

    Args:
        kind: `ghp` for a personal access token, `gho` for that of an app with consent, `ghs` for a workflow's.

    Raises:
        Refused: for a login that GitHub does not accept.
    """
    if not OWNER.fullmatch(login):
        raise Refused(f"{login!r} is no login")
    token = f"{kind}_{secrets.token_hex(18)}"
    with world.writing() as rows:
        add_user(rows, login)
        rows.execute("INSERT INTO git_tokens (hash, login) VALUES (?, ?)", (_hash(token), login))
    return token


def login_of(world: World, token: str) -> str:
    """Return the login of a token's user, or "" for an unknown token."""
    with world.reading() as rows:
        row = rows.execute("SELECT login FROM git_tokens WHERE hash = ?", (_hash(token),)).fetchone()
    return str(row["login"]) if row else ""


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def settings_folder(world: World) -> Path:
    """Return the folder with the files that the learner's git reads."""
    return world.folder.parent / "git"


def write_settings(world: World, port: int = 0) -> None:
    """Write git's settings that redirect these repositories to the sandbox, and no others on github.com.

    Args:
        port: the plain port. 0 means the stored one.
    """
    folder = settings_folder(world)
    folder.mkdir(exist_ok=True, mode=0o700)
    kept = folder / "port"
    if port:
        _replace(kept, f"{port}\n")
    elif not kept.is_file():
        return
    address = f"http://localhost:{kept.read_text(encoding='utf-8').strip()}/github.com"
    credentials = folder / "credentials"
    # A helper that only reads. git's own `store` would also save other users' credentials, for the learner to use.
    say = f'!f() {{ test "$1" = get && cat {shlex.quote(str(credentials))}; }}; f'
    quoted = say.replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        f'[credential "{address}"]',
        "\thelper =",  # an empty value disables all other helpers for this host
        f'\thelper = "{quoted}"',
    ]
    for one in every(world):
        lines += [f'[url "{address}/{one.full_name}.git"]', f"\tinsteadOf = {one.url}"]
    _replace(folder / "config", "\n".join(lines) + "\n")


def write_sign_in(world: World, port: int) -> None:
    """Write the learner's token for their git. An existing token stays valid."""
    folder = settings_folder(world)
    folder.mkdir(exist_ok=True, mode=0o700)
    path = folder / "token"
    token = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if login_of(world, token) != LEARNER:
        token = mint(world, LEARNER)
        _replace(path, f"{token}\n")
    _replace(folder / "credentials", f"username={LEARNER}\npassword={token}\n")
    write_settings(world, port)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.touch(mode=0o600)
    part.write_text(text, encoding="utf-8")
    part.replace(path)
