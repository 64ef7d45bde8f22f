"""How long learners wait for each other: many at once, each with one request after the other, as fast as they come.

    .venv/bin/python benchmarks/registry/learners.py [--learners 30] [--seconds 180]

Each pushes small images, pulls them, lists, and reads a policy, in a repository of a sandbox made for this. Aims:
150 ms for 95 of 100 requests, and less than 200 MB of memory at the end. It exits with 1 when a request fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from cli.world import starter
from sandbox import seed
from sandbox.iam import policies, tokens
from sandbox.state.clock import Clock
from sandbox.state.world import World

PROJECT, HOST = "ml-learners", "us-central1-docker.pkg.dev"
KIND = "application/vnd.oci.image.manifest.v1+json"
REPOSITORIES = f"/artifactregistry.googleapis.com/v1/projects/{PROJECT}/locations/us-central1/repositories"
Request = tuple[str, str, bytes, str]


def requests_of(number: int) -> Iterator[Request]:
    """Yield one learner's requests: verb, path, body, content type."""
    chance = random.Random(number)  # noqa: S311 - contents, no secrets
    repository = f"learner-{number}"
    yield "POST", f"{REPOSITORIES}?repositoryId={repository}", b'{"format": "DOCKER"}', "application/json"
    image = f"/v2/{HOST}/{PROJECT}/{repository}/app"
    while True:
        entries = []
        for content in (b"{}", chance.randbytes(20_000)):
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            yield "POST", f"{image}/blobs/uploads/?digest={digest}", content, "application/octet-stream"
            entries.append({"mediaType": "application/octet-stream", "digest": digest, "size": len(content)})
        config = {**entries[0], "mediaType": "application/vnd.oci.image.config.v1+json"}
        manifest = {"schemaVersion": 2, "mediaType": KIND, "config": config, "layers": entries[1:]}
        yield "PUT", f"{image}/manifests/v{chance.randrange(20)}", json.dumps(manifest).encode(), KIND
        for _ in range(3):
            yield "GET", f"{image}/blobs/{entries[1]['digest']}", b"", ""
            yield "GET", f"{image}/tags/list", b"", ""
            yield "GET", f"{REPOSITORIES}/{repository}/dockerImages?pageSize=20", b"", ""
            yield "GET", f"{REPOSITORIES}/{repository}/packages/app/tags?pageSize=20", b"", ""
            yield "GET", f"{REPOSITORIES}/{repository}:getIamPolicy", b"", ""


def learner(number: int, port: int, token: str, until: float, found: list[tuple[float, int]]) -> None:
    """Make one learner's requests until a moment of the monotonic clock; seconds and status of each."""
    line = HTTPConnection("localhost", port, timeout=60)
    for verb, path, body, kind in requests_of(number):
        if time.monotonic() > until:
            line.close()
            return
        headers = {"Authorization": f"Bearer {token}", **({"Content-Type": kind} if kind else {})}
        began = time.perf_counter()
        line.request(verb, path, body, headers)
        answer = line.getresponse()
        answer.read()
        if answer.status == 302:
            # A blob's bytes are at an address of their own: what a client waits for are both.
            line.request(verb, answer.headers["Location"])
            answer = line.getresponse()
            answer.read()
        found.append((time.perf_counter() - began, answer.status))


def learners(
    numbers: list[int], port: int, token: str, until: float, told: multiprocessing.Queue[list[tuple[float, int]]]
) -> None:
    """Be some of the learners, in a process of their own."""
    found: list[tuple[float, int]] = []
    threads = [threading.Thread(target=learner, args=(number, port, token, until, found)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put(found)


def memory(pid: int) -> int:
    """Return the megabytes that a process has in memory now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def main() -> int:
    """Run them and print what they waited for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=180)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        world = World(home / "state", Clock())
        member = f"serviceAccount:{seed.prepare(world, home, PROJECT, 'us-central1')['learner']}"
        with world.writing() as rows:
            policies.grant(rows, world, f"projects/{PROJECT}", "roles/owner", member)
            rows.execute("INSERT INTO services VALUES (?, 'artifactregistry.googleapis.com', 'x')", (PROJECT,))
        token = tokens.mint(world, member)
        world.close()
        opened = starter.start(home, project=PROJECT, port=0)
        try:
            at_start = memory(opened.info.pid)
            context = multiprocessing.get_context("spawn")
            told: multiprocessing.Queue[list[tuple[float, int]]] = context.Queue()
            until = time.monotonic() + asked.seconds
            groups = [list(range(asked.learners))[place::2] for place in range(2)]
            children = [
                context.Process(target=learners, args=(group, opened.info.port, token, until, told)) for group in groups
            ]
            for child in children:
                child.start()
            found = [one for _ in children for one in told.get()]
            for child in children:
                child.join()
            at_end = memory(opened.info.pid)
        finally:
            starter.stop(home)
    failed = [status for _, status in found if status >= 300]
    parts = statistics.quantiles([seconds * 1000 for seconds, _ in found], n=100)
    print(f"{asked.learners} learners, {asked.seconds:.0f} s, load {os.getloadavg()[0]:.1f}: {len(found)} requests")
    print(f"failed {len(failed)}, p50 {parts[49]:.0f} ms, p95 {parts[94]:.0f} ms (aim 150), p99 {parts[98]:.0f} ms")
    print(f"memory {at_start} MB before, {at_end} MB after (aim 200)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
