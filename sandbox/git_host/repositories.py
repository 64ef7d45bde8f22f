"""Repositories, users and their tokens: who owns what, who may read it, and who may push to it.

The learner's login has a dot: no owner on GitHub has one, so a policy or a trigger that names it lets nobody in there.
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
MAX_PUSH = 100 * 1024 * 1024  # bytes of one push; GitHub's limit is 2 GB
# What a client asks for is looked up in a table, and the folder has a number: no path is made of these.
OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,37}[A-Za-z0-9])?")
NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,100}(?<!\.git)")
RIGHTS = ("pull", "triage", "push", "maintain", "admin")


class Refused(Exception):
    """A repository or a user that cannot be made; the text says why."""


@dataclass(frozen=True)
class Repository:
    """One repository.

    Attributes:
        parent: the id of the one that it was forked from; 0 for none.
    """

    id: int
    owner: str
    name: str
    private: bool
    parent: int
    create_time: str

    @property
    def full_name(self) -> str:
        """OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    @property
    def url(self) -> str:
        """The address as on GitHub."""
        return f"https://github.com/{self.full_name}.git"

    def folder(self, world: World) -> Path:
        """Where the bare repository is."""
        return world.folder / "git" / f"{self.id}.git"


def _of(row: sqlite3.Row) -> Repository:
    return Repository(row["id"], row["owner"], row["name"], bool(row["private"]), row["parent"], row["create_time"])


def find(world: World, owner: str, name: str) -> Repository | None:
    """Return a repository by its name, in any case, as GitHub takes it."""
    with world.reading() as rows:
        row = rows.execute("SELECT * FROM git_repositories WHERE owner = ? AND name = ?", (owner, name)).fetchone()
    return _of(row) if row else None


def by_id(world: World, number: int) -> Repository | None:
    """Return a repository by its number."""
    with world.reading() as rows:
        row = rows.execute("SELECT * FROM git_repositories WHERE id = ?", (number,)).fetchone()
    return _of(row) if row else None


def every(world: World) -> list[Repository]:
    """Return all repositories in the order in which they were made."""
    with world.reading() as rows:
        return [_of(row) for row in rows.execute("SELECT * FROM git_repositories ORDER BY id")]


def create(world: World, owner: str, name: str, *, private: bool = False, parent: int = 0) -> Repository:
    """Make an empty repository.

    Raises:
        Refused: for a name that GitHub does not take, and one that the owner has already.
    """
    if not OWNER.fullmatch(owner):
        raise Refused(f"{owner!r} is no owner's name")
    if not NAME.fullmatch(name):
        raise Refused("name must be letters, digits, '.', '-' and '_', and does not end with .git")
    with world.writing() as rows:
        # Numbers are never given twice: a folder that a crash left behind is nobody's.
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
    """Forget a repository and what belongs to it; its folder goes with it."""
    with world.writing() as rows:
        for table in ("git_refs", "git_collaborators", "git_pull_requests", "git_check_runs"):
            rows.execute(f"DELETE FROM {table} WHERE repository = ?", (repository.id,))  # noqa: S608 - constants
        rows.execute("DELETE FROM git_repositories WHERE id = ?", (repository.id,))
    shutil.rmtree(repository.folder(world), ignore_errors=True)
    write_settings(world)


def right(world: World, repository: Repository, login: str) -> str:
    """Return what somebody may do: "" for nothing, else one of `RIGHTS`; no login is anybody."""
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
    """Whether somebody may push."""
    return right(world, repository, login) in ("push", "maintain", "admin")


def add_user(rows: sqlite3.Connection, login: str) -> None:
    """Make a user, unless there is one of that name."""
    rows.execute("INSERT OR IGNORE INTO git_users (login) VALUES (?)", (login,))


def mint(world: World, login: str, kind: str = "ghp") -> str:
    """Make a token; only its hash is kept.

    Args:
        kind: `ghp` for a personal access token, `gho` for an app's that was given consent, `ghs` for a workflow's.

    Raises:
        Refused: for a login that GitHub does not take.
    """
    if not OWNER.fullmatch(login):
        raise Refused(f"{login!r} is no login")
    token = f"{kind}_{secrets.token_hex(18)}"
    with world.writing() as rows:
        add_user(rows, login)
        rows.execute("INSERT INTO git_tokens (hash, login) VALUES (?, ?)", (_hash(token), login))
    return token


def login_of(world: World, token: str) -> str:
    """Return whose a token is; "" when it is nobody's."""
    with world.reading() as rows:
        row = rows.execute("SELECT login FROM git_tokens WHERE hash = ?", (_hash(token),)).fetchone()
    return str(row["login"]) if row else ""


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def settings_folder(world: World) -> Path:
    """Where the files are that the learner's git reads."""
    return world.folder.parent / "git"


def write_settings(world: World, port: int = 0) -> None:
    """Write what sends the learner's git here: for these repositories alone, and nothing else on github.com.

    Args:
        port: the plain port, when it is known anew.
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
    # It only ever reads: git's own `store` would also keep what somebody else signs in with, for the learner to use.
    say = f'!f() {{ test "$1" = get && cat {shlex.quote(str(credentials))}; }}; f'
    quoted = say.replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        f'[credential "{address}"]',
        "\thelper =",  # an empty one first: no other helper, and no keyring, hears of this host
        f'\thelper = "{quoted}"',
    ]
    for one in every(world):
        lines += [f'[url "{address}/{one.full_name}.git"]', f"\tinsteadOf = {one.url}"]
    _replace(folder / "config", "\n".join(lines) + "\n")


def write_sign_in(world: World, port: int) -> None:
    """Write the learner's token where their git looks for it; once made, it stays."""
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
