"""What the parts of one running build share, and how one of them ends it."""

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
    """The build ends here.

    Args:
        status: of the build.
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
        build: Google's Build as JSON; its job writes it down.
        config: docker's configuration with the build account's credentials.
        cancelled: set when somebody cancelled the build.
        stopping: set when no step may go on: after a cancellation, and after a failure.
        mark: gives a step its status and writes the build down.
        now: the time as Google writes it.
        builders: of each step that began, the digest of the image that it ran in.
    """

    world: World
    build: dict[str, Any]
    place: Place
    config: Path
    told: BuildLog
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
    """How a docker command ended; one that a signal ended counts as killed."""
    code = process.wait()
    return KILLED if code < 0 else code
