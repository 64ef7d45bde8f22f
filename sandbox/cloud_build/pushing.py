"""Push a build's images after its steps.

Source: facts/artifact-registry.md section 5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sandbox import containers
from sandbox.cloud_build.running import BuildFailed, Running, exit_code

ATTEMPTS = 10  # as in logs of failed pushes in public reports
_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})")


def push(running: Running, images: Sequence[str]) -> list[dict[str, Any]]:
    """Push images in their order, and return Google's BuiltImages as JSON.

    Raises:
        BuildFailed: if an image is missing, before any push, or if the registry rejects a push.
    """
    registry = running.place.address.registry
    missing = [image for image in images if not containers.has_image(f"{registry}/{image}")]
    if missing:
        named = " ".join(f'"{image}"' for image in missing)
        raise BuildFailed(
            "FAILURE",
            "PUSH_IMAGE_NOT_FOUND",
            f"failed to find one or more images after execution of build steps: [{named}]",
        )
    return [_push(running, image) for image in images]


def _push(running: Running, image: str) -> dict[str, Any]:
    begun = running.now()
    running.log.line(f"Pushing {image}")
    for attempt in range(1, ATTEMPTS + 1):
        code, output = _once(running, image)
        if running.cancelled.is_set():
            raise BuildFailed("CANCELLED", "", "context canceled")
        if code == 0:
            break
        # Google waits between attempts. Here waiting would not help.
        running.log.line(
            f"ERROR: push attempt {attempt} detected failure, retrying: step exited with non-zero status: {code}"
        )
    else:
        running.log.line("ERROR: failed to push because we ran out of retries.")
        denied = any("denied" in text for text in output)
        raise BuildFailed(
            "FAILURE",
            "PUSH_NOT_AUTHORIZED" if denied else "PUSH_FAILED",
            f'error pushing image "{image}": retry budget exhausted ({ATTEMPTS} attempts): step exited with non-zero '
            f"status: {code}",
        )
    digest = _DIGEST.search("\n".join(output))
    timing = {"startTime": begun, "endTime": running.now()}
    return {"name": image, "digest": digest[1] if digest else "", "pushTiming": timing}


def _once(running: Running, image: str) -> tuple[int, list[str]]:
    output: list[str] = []
    process = containers.start(["push", f"{running.place.address.registry}/{image}"], running.config)
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    with process.stdout:
        for line in process.stdout:
            output.append(line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2])
            running.log.line(output[-1])
    return exit_code(process), output
