"""The checks of a build before it starts, with Google's messages. Pure.

Source: the validation of Google's open-source local builder, whose limits and messages are quoted in
facts/artifact-registry.md section 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_STEPS, MAX_ARGS, MAX_ENV, MAX_IMAGES, MAX_TAGS, MAX_DIR = 100, 100, 100, 100, 64, 1000
MAX_ARG, MAX_STEP_NAME, MAX_ENV_LENGTH, MAX_IMAGE = 10_000, 1000, 65_536, 1000
MAX_TIMEOUT = 24 * 60 * 60  # seconds
DEFAULT_TIMEOUT = 60 * 60

_TAG = re.compile(r"[\w][\w.-]{0,127}")
_STEP_ID = re.compile(r".{1,100}")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_RESERVED_PATHS = ("/workspace", "/builder", "/builder/home", "/builder/outputs", "/var/run/docker.sock")
# No part of a domain begins with a dash: docker would take such a name for an option.
_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>(?:{_PART}\.)+{_PART}(?::\d+)?|localhost(?::\d+)?|{_PART}:\d+)/)?"
    r"(?P<path>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[a-f0-9]{64}))?"
)
LOGGING_CHOICE = (
    "if 'build.service_account' is specified, the build must either (a) specify 'build.logs_bucket', (b) use the "
    "REGIONAL_USER_OWNED_BUCKET build.options.default_logs_bucket_behavior option, or (c) use either "
    "CLOUD_LOGGING_ONLY / NONE logging options: invalid argument"
)


class BuildInvalid(ValueError):
    """A build that Cloud Build refuses. The message is Google's."""


def is_reference(name: str) -> bool:
    """Return whether Docker accepts a text as the name of an image."""
    return bool(name) and len(name) <= MAX_IMAGE and _REFERENCE.fullmatch(name) is not None


def seconds(text: Any, default: float = 0.0) -> float:
    """Return the seconds of a duration such as `900s`, or raise BuildInvalid."""
    if text in (None, ""):
        return default
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)s", str(text))
    if match is None:
        raise BuildInvalid(f"invalid build: invalid duration {text!r}")
    return float(match[1])


def check(build: Mapping[str, Any]) -> None:
    """Raise BuildInvalid for the first fault of a build.

    Args:
        build: Google's Build as JSON, with its substitutions expanded.
    """
    steps: Sequence[Mapping[str, Any]] = build.get("steps", ())
    if not steps:
        raise BuildInvalid("invalid build: no build steps specified")
    if len(steps) > MAX_STEPS:
        raise BuildInvalid(f"invalid build: cannot specify more than {MAX_STEPS} build steps")
    _check_timeouts(build, steps)
    _check_images(build)
    seen: set[str] = set()
    for place, step in enumerate(steps):
        _check_step(step, place)
        _check_order(step, place, seen)
        if step.get("id"):
            seen.add(step["id"])
    _check_volumes(build, steps)
    if build.get("serviceAccount"):
        _check_logging(build)


def _check_timeouts(build: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> None:
    total = seconds(build.get("timeout"), DEFAULT_TIMEOUT)
    if total < 0:
        raise BuildInvalid("invalid build: build timeout must be positive")
    if total > MAX_TIMEOUT:
        raise BuildInvalid("invalid build: build timeout exceeds 24h0m0s")
    for place, step in enumerate(steps):
        own = seconds(step.get("timeout"))
        if own < 0:
            raise BuildInvalid(f'invalid build: invalid timeout in build step #{place} - "{step.get("id", "")}"')
        if own > total:
            raise BuildInvalid(
                f"invalid build: invalid timeout in build step #{place}: step timeout {own:g}s must not be greater "
                f"than build timeout {total:g}s"
            )


def _check_images(build: Mapping[str, Any]) -> None:
    images = build.get("images", ())
    if len(images) > MAX_IMAGES:
        raise BuildInvalid(f"invalid build: number of images {len(images)} exceeded (max: {MAX_IMAGES})")
    for image in images:
        if not is_reference(image):
            raise BuildInvalid(
                f'invalid build: invalid image name "{image}": could not parse reference: {image or chr(34) * 2}'
            )
    tags = build.get("tags", ())
    if len(tags) > MAX_TAGS:
        raise BuildInvalid(f"invalid build: number of tags {len(tags)} exceeded (max: {MAX_TAGS})")
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise BuildInvalid(f'invalid build: invalid build tag "{tag}": must match format "^[\\w][\\w.-]{{0,127}}$"')


def _check_step(step: Mapping[str, Any], place: int) -> None:
    where = f"invalid build: build step {place}"
    name = step.get("name", "")
    if not name:
        raise BuildInvalid(f"{where} must specify name")
    if len(name) > MAX_STEP_NAME:
        raise BuildInvalid(f"{where} name too long (max: {MAX_STEP_NAME})")
    if not is_reference(name):
        raise BuildInvalid(f'invalid build: invalid build step name "{name}": could not parse reference: {name}')
    args = step.get("args", ())
    if len(args) > MAX_ARGS:
        raise BuildInvalid(f"{where} too many args (max: {MAX_ARGS})")
    for number, argument in enumerate(args):
        if len(argument) > MAX_ARG:
            raise BuildInvalid(f"{where} arg {number} too long (max: {MAX_ARG})")
    env = step.get("env", ())
    if len(env) > MAX_ENV:
        raise BuildInvalid(f"{where} too many envs (max: {MAX_ENV})")
    for number, entry in enumerate(env):
        if "=" not in entry:
            raise BuildInvalid(f"{where} env {number} must be of the form KEY=VALUE")
        if len(entry) > MAX_ENV_LENGTH:
            raise BuildInvalid(f"{where} env {number} too long (max: {MAX_ENV_LENGTH})")
    folder = step.get("dir", "")
    if len(folder) > MAX_DIR:
        raise BuildInvalid(f"{where} dir too long (max: {MAX_DIR})")
    if not folder.startswith("/") and ".." in folder.split("/"):
        raise BuildInvalid(f"{where} dir cannot refer to the parent directory")
    if step.get("script") and (step.get("args") or step.get("entrypoint")):
        raise BuildInvalid(f"{where} cannot specify both script and args or entrypoint")
    if step.get("allowFailure") and step.get("allowExitCodes"):
        # unverified: the proto says that allowFailure wins
        return
    if step.get("id") and not _STEP_ID.fullmatch(step["id"]):
        raise BuildInvalid(f"{where} id too long (max: 100)")


def _check_order(step: Mapping[str, Any], place: int, seen: set[str]) -> None:
    if step.get("id") in seen:
        raise BuildInvalid(f'invalid build: build step #{place} - "{step["id"]}": duplicate build step id')
    waits = step.get("waitFor", ())
    for other in waits:
        if other == "-":
            continue
        if other not in seen:
            raise BuildInvalid(
                f'invalid build: build step #{place} - "{step.get("id", "")}" depends on "{other}", which has not been '
                "defined"
            )
    if len(set(waits)) != len(waits):
        raise BuildInvalid(f'invalid build: build step #{place} - "{step.get("id", "")}" has duplicate dependencies')


def _check_volumes(build: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> None:
    uses: dict[str, int] = {}
    common = build.get("options", {}).get("volumes", ())
    for place, step in enumerate(steps):
        names: set[str] = set()
        paths: set[str] = set()
        for volume in (*step.get("volumes", ()), *common):
            name, path = volume.get("name", ""), volume.get("path", "")
            if not _VOLUME_NAME.fullmatch(name):
                raise BuildInvalid(f'invalid build: build step {place} volume name "{name}" is not valid')
            if not path.startswith("/"):
                raise BuildInvalid(f'invalid build: build step {place} volume path "{path}" is not absolute')
            clean = path.rstrip("/")
            if clean in _RESERVED_PATHS or clean.startswith("/workspace/"):
                raise BuildInvalid(f'invalid build: build step {place} volume path "{path}" is reserved')
            if name in names:
                raise BuildInvalid(f'invalid build: build step {place} has duplicate volume name "{name}"')
            if clean in paths:
                raise BuildInvalid(f'invalid build: build step {place} has duplicate volume path "{path}"')
            names.add(name)
            paths.add(clean)
            uses[name] = uses.get(name, 0) + 1
    for name, count in uses.items():
        if count < 2:
            raise BuildInvalid(f'invalid build: volume "{name}" is used by only one step')


def _check_logging(build: Mapping[str, Any]) -> None:
    options = build.get("options", {})
    if build.get("logsBucket") or options.get("defaultLogsBucketBehavior") == "REGIONAL_USER_OWNED_BUCKET":
        return
    if options.get("logging") not in ("CLOUD_LOGGING_ONLY", "STACKDRIVER_ONLY", "NONE"):
        raise BuildInvalid(LOGGING_CHOICE)
