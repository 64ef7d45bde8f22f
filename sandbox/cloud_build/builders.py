"""The image that a step runs in, and the `docker run` arguments of its container.

Google's registries may be unreachable. So for `gcr.io/cloud-builders/docker` and `…/gcloud`, a container of the base
image gets this machine's docker command and SDK, read-only, and nothing else of the machine.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import containers
from sandbox.artifact_registry.image_names import through
from sandbox.containers import Address, EngineFailed
from sandbox.state.world import World

_DOCKER = ("gcr.io/cloud-builders/docker",)
_GCLOUD = (
    "gcr.io/cloud-builders/gcloud",
    "gcr.io/google.com/cloudsdktool/cloud-sdk",
    "gcr.io/google.com/cloudsdktool/google-cloud-cli",
    "google/cloud-sdk",
)
# Images based on Debian, which the base image may replace.
_DEBIAN = ("python", "debian", "ubuntu", "bash")

MEMORY, PIDS, FILE_BYTES = "2g", "512", 1024 * 1024 * 1024
OUTPUTS = ".outputs"  # in the home folder, with one folder for each step's output


@dataclass(frozen=True)
class Builder:
    """The image and the set-up of a step's container.

    Attributes:
        image: its name on the engine.
        entrypoint: the default if the step sets none; empty means the image's own.
        tools: whether the container gets the docker command, the SDK and the engine's socket.
        log_lines: lines that go to the build's log before the step's own.
    """

    image: str
    entrypoint: str = ""
    tools: bool = False
    log_lines: tuple[str, ...] = ()


def _named(image: str) -> str:
    return re.sub(r"(:[\w][\w.-]*)?(@sha256:[0-9a-f]+)?$", "", image)


def resolve(image: str, address: Address, config: Path) -> Builder:
    """Return the builder of a step, pulling its image if the engine lacks it.

    Args:
        config: docker's configuration with the build account's credentials.

    Raises:
        EngineFailed: if the image cannot be pulled and nothing replaces it.
    """
    name = _named(image)
    if name in _DOCKER or name in _GCLOUD:
        tool = "docker" if name in _DOCKER else "gcloud"
        base = containers.base_image()
        if not base:
            raise EngineFailed("no base image is there for Google's builders; `workbook setup` makes one")
        if containers.program(tool) is None:
            # The step may not need the tool: it may use the image's shell only.
            return Builder(base, tool, True, (f"{image}: {tool} is not on this machine, so this step has none",))
        return Builder(base, tool, True, (f"{image}: this machine's {tool} stands in for it, in a container",))
    local = through(address.registry, image)
    if local == image and containers.has_image(image):
        return Builder(image, log_lines=(f"Already have image (with digest): {image}",))
    try:
        containers.call("pull", "--quiet", local, config=config, seconds=300)
        return Builder(local, log_lines=(f"Pulling image: {image}",))
    except EngineFailed as error:
        base = containers.base_image() if name.removeprefix("docker.io/library/") in _DEBIAN else ""
        if base:
            return Builder(base, log_lines=(f"{image} cannot be pulled here: {base} stands in for it",))
        raise EngineFailed(str(error)) from None


def prepare_tools(world: World) -> Path:
    """Write the builders' `docker` command to a file that can be mounted into a container, and return its path."""
    folder = world.folder / "builders"
    folder.mkdir(exist_ok=True)
    target = folder / "docker"
    shutil.copyfile(Path(__file__).with_name("docker_shim.py"), target)
    target.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return target


def short(world_id: str, build_id: str) -> str:
    """Return an id for names on the engine, distinct also from another world's build of the same id."""
    return f"{world_id}-{build_id[:8]}"


@dataclass(frozen=True)
class Place:
    """The resources that the containers of one build share."""

    build_id: str
    world_id: str
    project: str
    labels: tuple[str, ...]
    network: str
    address: Address
    shim: Path
    authorities: Path

    @property
    def short(self) -> str:
        """The build's id in names on the engine."""
        return short(self.world_id, self.build_id)

    @property
    def workspace(self) -> str:
        """The volume behind /workspace."""
        return f"workbook-{self.short}-workspace"

    @property
    def home(self) -> str:
        """The volume behind /builder/home, with the account's credentials."""
        return f"workbook-{self.short}-home"

    def volume(self, name: str) -> str:
        """Return the engine's name of a volume that steps share."""
        return f"workbook-{self.short}-volume-{name}"

    def container(self, place: int) -> str:
        """Return the name of a step's container."""
        return f"workbook-{self.short}-step-{place}"


def arguments(
    place: Place, number: int, step: Mapping[str, Any], options: Mapping[str, Any], builder: Builder
) -> list[str]:
    """Return the arguments of `docker` that run one step."""
    folder = step.get("dir", "")
    run = ["run", "--rm", "--init", "--name", place.container(number)]
    for text in place.labels:
        run += ["--label", text]
    run += [*containers.limits(MEMORY, PIDS), "--ulimit", f"fsize={FILE_BYTES}"]
    run += ["--volume", f"{place.workspace}:/workspace", "--volume", f"{place.home}:/builder/home"]
    for volume in (*options.get("volumes", ()), *step.get("volumes", ())):
        run += ["--volume", f"{place.volume(volume['name'])}:{volume['path']}"]
    run += ["--workdir", folder if folder.startswith("/") else f"/workspace/{folder}".rstrip("/")]
    environment = {"HOME": "/builder/home"}
    if builder.tools:
        mounts, more = tools(place)
        run += mounts
        environment |= more
    else:
        run += ["--network", place.network]
    for entry in (
        *(f"{key}={value}" for key, value in environment.items()),
        *options.get("env", ()),
        *step.get("env", ()),
        # Last, so that the step cannot override it.
        f"BUILDER_OUTPUT=/builder/home/{OUTPUTS}/{number}",
    ):
        run += ["--env", entry]
    return run + _command(step, builder)


def bind(source: Path | str, target: str, *, written: bool = False) -> list[str]:
    """Return docker's options that mount a file or folder of this machine.

    `--volume` cannot express a path with a colon. `--mount` takes a line of CSV.
    """
    line = io.StringIO()
    fields = ["type=bind", f"source={source}", f"target={target}", *([] if written else ["readonly"])]
    csv.writer(line, lineterminator="").writerow(fields)
    return ["--mount", line.getvalue()]


def tools(place: Place) -> tuple[list[str], dict[str, str]]:
    """Return the options and the variables that give a container this machine's docker, gcloud and network."""
    docker, gcloud = containers.program("docker"), containers.program("gcloud")
    # On the machine's network, because the sandbox listens on loopback only.
    mounts = ["--network", "host", *bind(containers.socket(), "/var/run/docker.sock", written=True)]
    if docker is not None:
        mounts += bind(docker, "/usr/local/lib/docker-cli/docker")
    mounts += bind(place.shim, "/usr/local/bin/docker")
    mounts += bind(place.authorities, "/builder/ca.pem")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if gcloud is not None:
        sdk = gcloud.parent.parent
        mounts += bind(sdk, "/usr/lib/google-cloud-sdk")
        path = f"/usr/lib/google-cloud-sdk/bin:{path}"
    proxy = f"http://127.0.0.1:{place.address.edge}"
    forced = "" if containers.has_bridge() else "host"
    environment = {
        "PATH": path,
        "DOCKER_BUILDKIT": "0",
        "SANDBOX_REGISTRY": place.address.registry,
        "SANDBOX_BUILD": place.short,
        "SANDBOX_LABELS": " ".join(place.labels),
        "SANDBOX_BUILD_NETWORK": forced,
        "SANDBOX_STEP_NETWORK": place.network,
        "SANDBOX_PLATFORM": os.environ.get("WORKBOOK_PLATFORM", ""),
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": "localhost,127.0.0.1",
        "no_proxy": "localhost,127.0.0.1",
        "REQUESTS_CA_BUNDLE": "/builder/ca.pem",
        "SSL_CERT_FILE": "/builder/ca.pem",
        "CURL_CA_BUNDLE": "/builder/ca.pem",
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": "/builder/ca.pem",
        "CLOUDSDK_CORE_PROJECT": place.project,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "/builder/home/.access-token",
        "CLOUDSDK_PYTHON_SITEPACKAGES": "0",
    }
    return mounts, environment


def _command(step: Mapping[str, Any], builder: Builder) -> list[str]:
    if step.get("script"):
        script = step["script"]
        if not script.startswith("#!"):
            return ["--entrypoint", "sh", builder.image, "-c", script]
        starter = 'file=$(mktemp) && printf %s "$1" > "$file" && chmod +x "$file" && exec "$file"'
        return ["--entrypoint", "sh", builder.image, "-c", starter, "sh", script]
    entrypoint = step.get("entrypoint") or builder.entrypoint
    return [*(("--entrypoint", entrypoint) if entrypoint else ()), builder.image, *step.get("args", ())]


def needs_network(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a step names the network `cloudbuild`, or runs in an image other than Google's builders."""
    return any(
        _named(step["name"]) not in (*_DOCKER, *_GCLOUD) or any("cloudbuild" in text for text in step.get("args", ()))
        for step in steps
    )
