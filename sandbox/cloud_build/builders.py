"""Which image a step runs in, and how its container is started.

Google's builders cannot be had where Google's registries cannot be reached. For `gcr.io/cloud-builders/docker` and
`…/gcloud` a container of the base image gets this machine's docker command and SDK, read-only, and nothing else of it.
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
# Debian's family, for which the base image may stand in.
_DEBIAN = ("python", "debian", "ubuntu", "bash")

MEMORY, PIDS, FILE_BYTES = "2g", "512", 1024 * 1024 * 1024
OUTPUTS = ".outputs"  # in the home folder: one folder for what each step puts out


@dataclass(frozen=True)
class Builder:
    """Where a step runs.

    Attributes:
        image: as the engine knows it.
        entrypoint: what runs when the step names none; empty leaves it to the image.
        tools: whether the container gets the docker command, the SDK and the engine's socket.
        says: lines for the log.
    """

    image: str
    entrypoint: str = ""
    tools: bool = False
    says: tuple[str, ...] = ()


def _named(image: str) -> str:
    return re.sub(r"(:[\w][\w.-]*)?(@sha256:[0-9a-f]+)?$", "", image)


def resolve(image: str, address: Address, config: Path) -> Builder:
    """Return the builder of a step, pulled where it is not there yet.

    Args:
        config: docker's configuration with the build account's credentials.

    Raises:
        EngineFailed: when it cannot be pulled and nothing stands in for it.
    """
    name = _named(image)
    if name in _DOCKER or name in _GCLOUD:
        tool = "docker" if name in _DOCKER else "gcloud"
        base = containers.base_image()
        if not base:
            raise EngineFailed("no base image is there for Google's builders; `workbook setup` makes one")
        if containers.program(tool) is None:
            # A step may still do without it, in its shell.
            return Builder(base, tool, True, (f"{image}: {tool} is not on this machine, so this step has none",))
        return Builder(base, tool, True, (f"{image}: this machine's {tool} stands in for it, in a container",))
    local = through(address.registry, image)
    if local == image and containers.has_image(image):
        return Builder(image, says=(f"Already have image (with digest): {image}",))
    try:
        containers.call("pull", "--quiet", local, config=config, seconds=300)
        return Builder(local, says=(f"Pulling image: {image}",))
    except EngineFailed as error:
        base = containers.base_image() if name.removeprefix("docker.io/library/") in _DEBIAN else ""
        if base:
            return Builder(base, says=(f"{image} cannot be pulled here: {base} stands in for it",))
        raise EngineFailed(str(error)) from None


def prepare_tools(world: World) -> Path:
    """Write the builders' `docker` where a container can be given it."""
    folder = world.folder / "builders"
    folder.mkdir(exist_ok=True)
    target = folder / "docker"
    shutil.copyfile(Path(__file__).with_name("docker_shim.py"), target)
    target.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return target


def short(world_id: str, build_id: str) -> str:
    """See `Place.short`."""
    return f"{world_id}-{build_id[:8]}"


@dataclass(frozen=True)
class Place:
    """What the containers of one build share."""

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
        """What tells this build's names from others' on the engine, also from another world's build of the same id."""
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
        """Return the volume behind one that steps share."""
        return f"workbook-{self.short}-volume-{name}"

    def container(self, place: int) -> str:
        """Return the name of a step's container."""
        return f"workbook-{self.short}-step-{place}"


def arguments(
    place: Place, number: int, step: Mapping[str, Any], options: Mapping[str, Any], builder: Builder
) -> list[str]:
    """`docker run …` for one step."""
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
        # The last one counts: it is read-only.
        f"BUILDER_OUTPUT=/builder/home/{OUTPUTS}/{number}",
    ):
        run += ["--env", entry]
    return run + _command(step, builder)


def bind(source: Path | str, target: str, *, written: bool = False) -> list[str]:
    """Docker's option that shows a file or a folder of this machine in a container, whatever its path holds.

    `--volume` cannot say a path with a colon. This one is a line of CSV.
    """
    line = io.StringIO()
    fields = ["type=bind", f"source={source}", f"target={target}", *([] if written else ["readonly"])]
    csv.writer(line, lineterminator="").writerow(fields)
    return ["--mount", line.getvalue()]


def tools(place: Place) -> tuple[list[str], dict[str, str]]:
    """Return the options and the variables that give a container this machine's docker and gcloud, and the network."""
    docker, gcloud = containers.program("docker"), containers.program("gcloud")
    # On the machine's network: that is where the sandbox listens, on loopback alone.
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


def cloudbuild_is_named(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a build needs its network: a step names it, or runs in an image of its own."""
    return any(
        _named(step["name"]) not in (*_DOCKER, *_GCLOUD) or any("cloudbuild" in text for text in step.get("args", ()))
        for step in steps
    )
