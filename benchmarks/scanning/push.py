"""How long a push takes to its findings: the sandbox's scanner beside gcloud's own extractor, on the same image.

    .venv/bin/python benchmarks/scanning/push.py [IMAGE] [--rounds 5] [--json FILE]

IMAGE is in the Docker Engine; without it the sample image is built. Each round pushes a new digest of it (a label
differs), waits for FINISHED_SUCCESS, and then has gcloud's `local-extract` read the packages of the same image. The
scanner's time runs from the end of the push to the response that reports the scan as finished, so it includes matching
and the API, while the extractor only reads. The exit status is 1 if the median is 2 s or more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import google.auth
import google.auth.transport.requests

from cli.world import starter
from helpers import names, projects, registry, repositories, scans, target
from machine import base_image
from machine import engine as machine_engine

LIMIT = 2.0
APIS = ("artifactregistry", "containeranalysis", "containerscanning")
FLAGS = (
    "--remote=False",
    "--provide_fake_results=False",
    "--undefok=additional_package_types,skip_package_types,verbose_errors,use_scalibr",
    "--use_scalibr",
)


@contextlib.contextmanager
def sandbox() -> Iterator[target.Target]:
    """Start a temporary world, and set this process's environment to it."""
    found = machine_engine.find()
    if found is None:
        sys.exit("no Docker Engine answers: make setup starts one")
    with tempfile.TemporaryDirectory() as folder:
        opened = starter.start(Path(folder), project=f"ml-workbook-{secrets.token_hex(3)}", port=0)
        changed = target.apply(opened.environment(machine_engine.environment(found), run="bench"), os.environ)
        os.environ.clear()
        os.environ.update(changed)
        try:
            yield target.current()
        finally:
            starter.stop(Path(folder))


@contextlib.contextmanager
def image_of(client: docker.DockerClient, image: str) -> Iterator[str]:
    """Yield the image, or the sample image, built for this run, if the name is empty."""
    if image:
        yield image
        return
    base = base_image.ensure(client, print)
    tag = f"workbook-bench-{secrets.token_hex(3)}/ml-predictor:v1"
    client.images.build(path=str(target.ROOT), tag=tag, buildargs={"PYTHON_IMAGE": base}, rm=True)
    try:
        yield tag
    finally:
        client.images.remove(tag, force=True)


def extract(extractor: Path, tag: str) -> float:
    """Return the seconds that gcloud's extractor takes on an image in the engine."""
    started = time.perf_counter()
    subprocess.run([str(extractor), f"--resource_uri={tag}", *FLAGS], check=True, capture_output=True)
    return time.perf_counter() - started


def push_and_wait(client: docker.DockerClient, here: target.Target, tag: names.Tag, login: dict[str, str]) -> float:
    """Return the seconds from the end of a push to the end of its scan."""
    repository = here.docker_name(tag.image)
    output = client.images.push(repository, tag=tag.name, auth_config=login)
    if "digest: sha256:" not in output:
        sys.exit(f"the push failed: {output[-300:]}")
    started = time.perf_counter()
    digest = tag.image.digest(registry.manifest(tag).digest)
    found = scans.wait(digest, 60)
    if not found.succeeded:
        sys.exit(f"the scan ended with {found.status}: {found.reason}")
    return time.perf_counter() - started


def main() -> int:
    """Print the seconds of each round, and their median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    gcloud = shutil.which("gcloud")
    extractor = Path(gcloud).resolve().parent / "local-extract" if gcloud else None
    ours: list[float] = []
    theirs: list[float] = []
    with (
        sandbox() as here,
        contextlib.closing(docker.from_env()) as client,
        image_of(client, options.image) as image,
    ):
        projects.enable(here.location.project, *(f"{name}.googleapis.com" for name in APIS))
        repositories.create(here.repository_name)
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        credentials.refresh(google.auth.transport.requests.Request())
        login = {"username": "oauth2accesstoken", "password": credentials.token}
        for number in range(options.rounds):
            tag = here.repository_name.image("bench").tag(f"r{number}")
            context = Path(os.environ["WORKBOOK_HOME"], "bench")
            context.mkdir(exist_ok=True)
            (context / "Dockerfile").write_text(f"FROM {image}\nLABEL round={number}-{secrets.token_hex(4)}\n")
            client.images.build(path=str(context), tag=here.docker_name(tag), rm=True)
            ours.append(push_and_wait(client, here, tag, login))
            if extractor is not None and extractor.exists():
                theirs.append(extract(extractor, here.docker_name(tag)))
            client.images.remove(here.docker_name(tag), force=True)
    mine = statistics.median(ours)
    result = {
        "image": options.image or "the sample image",
        "push_to_findings": [round(one, 2) for one in ours],
        "median": round(mine, 2),
    }
    print(f"push to findings: median {mine:.2f} s of {', '.join(f'{one:.2f}' for one in ours)}")
    if theirs:
        other = statistics.median(theirs)
        result |= {"extractor": [round(one, 2) for one in theirs], "ratio": round(other / mine, 2)}
        print(f"gcloud's extractor alone: median {other:.2f} s of {', '.join(f'{one:.2f}' for one in theirs)}")
        print(f"the extractor takes {other / mine:.2f} times as long")
    else:
        print("gcloud's local-extract isn't on this machine: nothing to compare with")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if mine < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
