"""The state that the parts of one running build share, and the exception that ends it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.cloud_build.builders import Place
from sandbox.cloud_build.log import BuildLog
from sandbox.state.world import World

KILLED = 137


class BuildFailed(Exception):
    """End the build with a status.

    Args:
        status: the build's status.
        kind: `failureInfo.type`, or empty.
        detail: `statusDetail`.
    """

    def __init__(self, status: str, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Running:
    """One build while it runs.

    Attributes:
        build: Google's Build as JSON, which the job stores.
        config: docker's configuration with the build account's credentials.
        cancelled: set when a user cancels the build.
        stopping: set when all steps have to stop, after a cancellation or a failure.
        mark: sets a step's status and stores the build.
        now: returns the time in Google's format.
        builders: the digest of the image of each step that has started.
    """

    world: World
    build: dict[str, Any]
    place: Place
    config: Path
    log: BuildLog
    cancelled: threading.Event
    stopping: threading.Event
    mark: Callable[[dict[str, Any], str], None]
    now: Callable[[], str]
    builders: dict[int, str] = field(default_factory=dict)

    @property
    def labelled(self) -> list[str]:
        """The build's labels as arguments of docker."""
        return [part for text in self.place.labels for part in ("--label", text)]


def exit_code(process: subprocess.Popen[bytes]) -> int:
    """Wait for a docker command and return its exit code, which is 137 if a signal ended it."""
    code = process.wait()
    return KILLED if code < 0 else code
