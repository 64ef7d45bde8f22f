"""A sandbox in its own process, which a test may kill and start again on the same state."""

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
    """A sandbox's process, which logs to the file `log` in its folder.

    Args:
        home: an existing folder.
        project: the project's id, or an empty string if the folder has a project already.
        options: further options of the command.
        variables: further environment variables.
    """

    home: Path
    project: str = ""
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    port: int = 0
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the sandbox and wait until it answers."""
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
        """Return the log so far."""
        return (self.home / "log").read_text()

    def kill(self) -> None:
        """End the process with SIGKILL, if it was started."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
