"""Run the script's lines on an engine, and replace the parts of the answers that differ each time."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import docker
import pytest
from docker.errors import APIError, ContainerError, DockerException

from tests.engine import script

# The newest version of Debian 12's Docker Engine, so that the command sends both engines the same requests.
API: Final = "1.41"
_AGO = r"(?:Less than a second|About an? \w+|\d+ (?:second|minute)s?)"
_SAME: Final = (
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{12}\b", "ID"),
    # Printed by the client if it notices too late that the connection is closed.
    (r"(?m)^time=\S+ level=error msg=\"Can't .*\n", ""),
    (rf"{_AGO} ago", "AGO"),
    (rf"Up {_AGO}", "Up AGO"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z?", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC", "TIME"),
    (r"127\.0\.0\.1:\d{4,5}\b", "PORT"),
    (r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d", "TIME"),
    (r"(?m)^\d{2,7} ", "PID "),
    (r"[ \t]+", " "),
)

_LOOP: Final = """-c "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done\""""


@dataclass(frozen=True)
class Heard:
    """The answer to a line."""

    status: int
    output: str
    error: str


def base(folder: Path) -> Path:
    """Make an archive of a small root file system from this machine's programs."""
    names = (
        "sh",
        "sleep",
        "cat",
        "ls",
        "mkdir",
        "id",
        "env",
        "printenv",
        "touch",
        "echo",
        "test",
        "true",
        "chmod",
        "ln",
        "rm",
        "chown",
        "mknod",
    )
    archive = folder / "base.tar"
    with tarfile.open(archive, "w", dereference=True) as packed:
        for path in sorted(of_this_machine(*names)):
            packed.add(path, path.lstrip("/") if ".so" in path else f"bin/{Path(path).name}")
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nlearner:x:1000:1000::/home/learner:/bin/sh\n"),
            ("etc/group", "root:x:0:\nlearner:x:1000:\nmore:x:1001:learner\n"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            packed.addfile(member, io.BytesIO(text.encode()))
    return archive


def of_this_machine(*programs: str) -> set[str]:
    """Return the paths of this machine's programs and of their libraries."""
    found = set()
    for name in programs:
        path = shutil.which(name)
        if path is None or shutil.which("ldd") is None:
            pytest.skip(f"a root file system is made of this machine's {name}, by ldd")
        told = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        found |= {path, *(word for word in told.split() if word.startswith("/"))}
    return found


def files(work: Path) -> None:
    """Write the script's files."""
    for name, text in script.FILES.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o640)


class Talk:
    """An engine that runs the script."""

    def __init__(self, host: str, home: Path, work: Path, values: dict[str, str]) -> None:
        self._host, self._home, self._work = host, home, work
        self._values = {**values, "work": str(work), "home": str(home), "socket": host.removeprefix("unix://")}

    def same(self, text: str) -> str:
        """Replace the parts that differ each time, such as ids and times."""
        for name, value in sorted(self._values.items(), key=lambda one: -len(one[1])):
            text = text.replace(value, f"<{name}>")
        for pattern, word in _SAME:
            text = re.sub(pattern, word, text)
        return text

    def command(self, line: str) -> Heard:
        """Run a docker command."""
        text, _, given = line.replace("{loop}", _LOOP).partition(" < ")
        for name, value in self._values.items():
            text = text.replace(f"{{{name}}}", value)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._home), "DOCKER_BUILDKIT": "0"}
        environment |= {"DOCKER_HOST": self._host, "DOCKER_API_VERSION": API, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            ["docker", *shlex.split(text)],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=90,
            cwd=self._work,
        )
        return Heard(done.returncode, self.same(done.stdout), self.same(done.stderr))

    def python(self, asked: Callable[[docker.DockerClient], object]) -> Heard:
        """Make a call by docker-py."""
        client = docker.DockerClient(base_url=self._host, version=API, timeout=60)
        try:
            return Heard(0, self.same(repr(asked(client))), "")
        except APIError as error:
            return Heard(error.status_code or -1, "", self.same(f"{type(error).__name__}: {error.explanation}"))
        except ContainerError as error:
            return Heard(error.exit_status, "", self.same(f"{type(error).__name__}: {error}"))
        except (DockerException, LookupError) as error:
            return Heard(-1, "", self.same(f"{type(error).__name__}: {error}"))
        finally:
            client.close()

    def all(self, parts: Collection[str]) -> dict[str, Heard]:
        """Run parts of the script and return the answer to each line."""
        heard: dict[str, Heard] = {}
        for number, (part, line) in enumerate(script.COMMANDS):
            if part in parts:
                heard[name(number, line)] = self.command(line)
        if "python" in parts:
            heard |= {f"python {title}": self.python(asked) for title, asked in script.PYTHON.items()}
        return heard


def name(number: int, line: str) -> str:
    """Return a name for a line: its number and its beginning."""
    return f"{number:03d} {line[:60]}".strip()


NAMES: Final = (
    *(name(number, line) for number, (_, line) in enumerate(script.COMMANDS)),
    *(f"python {title}" for title in script.PYTHON),
)
