"""A sandbox in a process of its own that a test may kill and start again on the same state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conditions import until

ROOT = Path(__file__).parents[1]


@dataclass
class Sandbox:
    """A sandbox's process; its log is the file `log` of its folder.

    Args:
        home: the folder, which is there.
        project: the id of its project; empty for what a folder has already.
        options: more of the command's.
        variables: more of its environment.
    """

    home: Path
    project: str = ""
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    port: int = 0
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        (self.home / "sandbox.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "sandbox", "--home", str(self.home), "--port", str(self.port)]
        command += ["--project", self.project] if self.project else []
        with (self.home / "log").open("ab") as log:
            child = subprocess.Popen(
                [*command, *self.options], stdout=log, stderr=log, cwd=ROOT, env=os.environ | dict(self.variables)
            )
        self.child = child
        until(lambda: child.poll() is not None or (self.home / "sandbox.json").exists(), pause=0.02)
        assert child.poll() is None, self.log()[-2000:]
        self.port = json.loads((self.home / "sandbox.json").read_text())["port"]

    def log(self) -> str:
        """Return what it printed so far."""
        return (self.home / "log").read_text()

    def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
