"""The sandbox in Google's place: a proxy sends every client on a user's machine to it, over TLS, under Google's names.

The set-up is that of a company's forward proxy: `HTTPS_PROXY` and one CA bundle for gcloud, Python, curl and a private
Docker Engine. No client or helper may use the sandbox's port, and the sandbox's request log shows any that does.
Google's internal clients (a build's pushes, Cloud Run's pulls) use the engine that runs on this machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.world import starter
from cli.world.starter import World
from helpers import target
from machine import dockerd, stand_in
from machine import engine as machine_engine
from tests import runs
from tests.runs import ROOT

# The part of the sandbox's gcloud configuration that a user of Google doesn't have.
_SANDBOX_ONLY = re.compile(r"^\[artifacts\]\n(?:.+\n)*", re.MULTILINE)
_SERVICE = re.compile(r"[a-z0-9-]+-\d+\.[a-z0-9-]+\.run\.app")


def documented_hosts() -> frozenset[str]:
    """Return Google's hosts that the workbook may use, from docs/fidelity.toml."""
    return frozenset(tomllib.loads((ROOT / "docs" / "fidelity.toml").read_text())["hosts"])


@dataclass(frozen=True)
class Run(runs.Run):
    """A finished `workbook run --target gcp`, and the requests to the sandbox during it."""

    requests: list[dict[str, Any]]


@dataclass(frozen=True)
class Google:
    """The sandbox in Google's place, and the environment of a user whose proxy leads to it."""

    world: World
    environment: Mapping[str, str]

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """Return all requests to the sandbox after the one with this number."""
        found: list[dict[str, Any]] = self.world.admin(f"requests?since={since}")["requests"]
        assert not found or found[0]["number"] == since + 1, "more requests than the log keeps"
        return found

    def run(self, *arguments: str, root: Path = ROOT, check: bool = True) -> Run:
        """Run `workbook run --target gcp` in the user's environment."""
        before = len(self.requests())
        here = ("--target", "gcp", "--project", self.world.info.project_id)
        ran = runs.run(*here, *arguments, environment=self.environment, root=root)
        assert not check or ran.status == 0, ran.output
        return Run(**vars(ran), requests=self.requests(before))

    def tunnels(self) -> set[str]:
        """Return the hosts outside of Google to which the proxy opened tunnels, from its log."""
        log = (self.world.home / "sandbox.log").read_text()
        return set(re.findall(r"tunnel to (\S+):\d+", log))

    def offences(self, requests: Iterable[Mapping[str, Any]], *, builds: bool = False) -> list[str]:
        """Return a line for each request that wouldn't reach Google, or goes to an undocumented host.

        With `builds`, Cloud Build and Cloud Run may push and pull through the sandbox's port with their own accounts,
        as Google's internal clients do.
        """
        return [
            f"{one['door']} {one['verb']} {one['host']}{one['path']} by {one['principal']}"
            for one in requests
            if not _is_to_google(one) and not (builds and _is_internal(one, self.world.info.learner))
        ]


def _is_to_google(request: Mapping[str, Any]) -> bool:
    named = request["host"] in documented_hosts() or bool(_SERVICE.fullmatch(request["host"]))
    return request["door"] == "edge" and named


def _is_internal(request: Mapping[str, Any], learner: str) -> bool:
    who, what = request["principal"], request["path"]
    signing_in = who == "anonymous" and what in ("/v2/", "/v2/token")
    return request["door"] == "port" and (
        signing_in or (who not in (learner, "anonymous") and what.startswith("/v2/us-central1-docker.pkg.dev/"))
    )


@contextlib.contextmanager
def played(folder: Path) -> Iterator[Google]:
    """Start the sandbox and an engine behind its proxy, yield them with a user's environment, and stop both.

    Skips the test where no engine can be started.
    """
    if os.geteuid() != 0 or dockerd.program() is None:
        pytest.skip("an engine behind a proxy of its own needs root and dockerd")
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(starter.OPTIONS, "--google-urls")
            world = starter.start(folder / "google", project=f"ml-workbook-{secrets.token_hex(3)}", port=0)
        stack.callback(starter.stop, world.home)
        environment = _user_environment(world, folder)
        environment["DOCKER_HOST"] = stack.enter_context(_engine(folder / "engine", environment))
        _give_base(environment["DOCKER_HOST"])
        yield Google(world, environment)


def _user_environment(world: World, folder: Path) -> dict[str, str]:
    """Return the environment of a user of Google behind a proxy with its own CA, with gcloud signed in."""
    gcloud = folder / "users-gcloud"
    shutil.copytree(world.home / "gcloud", gcloud)
    configuration = gcloud / "configurations" / "config_default"
    configuration.write_text(_SANDBOX_ONLY.sub("", configuration.read_text()))
    bundle = str(world.home / "ca" / "bundle.pem")
    edge = f"http://127.0.0.1:{world.info.edge_port}"
    proxies = {"HTTPS_PROXY": edge, "https_proxy": edge, "NO_PROXY": "localhost,127.0.0.1"}
    ours = ("WORKBOOK_", "SANDBOX_", "CLOUDSDK_", "SSL_CERT_DIR", "REGISTRY", "PROJECT_", "no_proxy")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        **proxies,
        **dict.fromkeys(target.CA_VARIABLES, bundle),
        "CLOUDSDK_CONFIG": str(gcloud),
        "GOOGLE_APPLICATION_CREDENTIALS": str(world.home / "learner-key.json"),
        "BILLING_ACCOUNT": world.info.billing_account,
        "DOCKER_CONFIG": str(folder / "users-docker"),
    }


_START = "from machine import private_engine; print(private_engine.start(lambda line: None))"
_STOP = "from machine import private_engine; private_engine.stop()"


@contextlib.contextmanager
def _engine(home: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Start a private engine that reaches Google through the proxy, and yield its host."""
    own = {**environment, "WORKBOOK_ENGINE_HOME": str(home)}
    own.pop("DOCKER_HOST", None)

    def call(code: str) -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=own, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    try:
        host = call(_START)
    except RuntimeError as error:
        call(_STOP)
        pytest.skip(f"no engine could be started behind the proxy: {str(error).strip().splitlines()[-1]}")
    try:
        yield host
    finally:
        call(_STOP)
        shutil.rmtree(Path(host.removeprefix("unix://")).parent, ignore_errors=True)


def _give_base(host: str) -> None:
    """Copy the base image from this machine's engine to the new one. Without it a run builds the image."""
    here = machine_engine.find()
    with contextlib.closing(machine_engine.client(here)) as client:
        reference = stand_in.find(client)
    if here is None or reference is None:
        return
    with subprocess.Popen(["docker", "--host", here.host, "save", reference], stdout=subprocess.PIPE) as saved:
        load = ["docker", "--host", host, "load", "--quiet"]
        subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True, timeout=120)
