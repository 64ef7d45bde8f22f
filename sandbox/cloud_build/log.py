"""A build's log: a file in Cloud Storage, entries in Cloud Logging, or both, as the build's options say.

Lines go to the file immediately, and to Cloud Logging in batches, at the latest after half a second. So a line appears
even if the step prints nothing after it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.cloud_logging import entries
from sandbox.redaction import redact
from sandbox.state.world import World

_BATCH = 50  # lines
_HOLD_SECONDS = 0.5
_LIMIT = 8 * 1024 * 1024  # characters of one log


class BuildLog:
    """Write a build's log. Several threads may use it.

    Args:
        to_file: whether to write the file.
        to_logging: whether to write entries.
        hidden: a text to remove from every line, which is the sandbox's address before Google's names.
    """

    def __init__(
        self, world: World, build: Mapping[str, Any], path: Path, *, to_file: bool, to_logging: bool, hidden: str
    ) -> None:
        self._world = world
        self._build = build
        self._path = path
        self._to_file = to_file
        self._to_logging = to_logging
        self._hidden = hidden
        self._lock = threading.Lock()
        self._held: list[str] = []
        self._due: threading.Timer | None = None
        self._written = 0
        if to_file:
            path.write_text("")

    def line(self, text: str) -> None:
        """Add one line, with secrets redacted and image names as on Google."""
        text = redact(text.replace(self._hidden, "") if self._hidden else text)
        with self._lock:
            if self._written > _LIMIT:
                return
            self._written += len(text) + 1
            if self._written > _LIMIT:
                text = "The log is full: the sandbox keeps 8 MiB of it."
            if self._to_file:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(text + "\n")
            if self._to_logging:
                self._held.append(text)
                if len(self._held) >= _BATCH:
                    self._flush()
                elif self._due is None:
                    self._due = threading.Timer(_HOLD_SECONDS, self.flush)
                    self._due.daemon = True
                    self._due.start()

    def flush(self) -> None:
        """Write the entries that wait."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if not self._held:
            return
        body = {
            "resource": {
                "type": "build",
                "labels": {
                    "build_id": self._build["id"],
                    "build_trigger_id": self._build.get("buildTriggerId", ""),
                    "project_id": self._build["projectId"],
                },
            },
            "severity": "INFO",
        }
        with self._world.writing(tick=False) as rows:
            for text in self._held:
                entries.write(rows, self._world, self._build["projectId"], "cloudbuild", {**body, "textPayload": text})
        self._held.clear()
