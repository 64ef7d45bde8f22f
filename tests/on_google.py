"""Google, played by the sandbox: a proxy leads every client of a user's machine there, over TLS, under Google's names.

What a company's network does with its forward proxy: `HTTPS_PROXY` and one CA bundle, for gcloud, Python, curl and a
Docker Engine of our own. No client knows the sandbox's port, and no helper may: what comes in by the port is found in
the sandbox's log of requests. Google's own inside (a build's pushes, Cloud Run's pulls) has the engine that answers
here.
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

from cli.world import starter as starter
from cli.world.starter import World
from helpers import target
from machine import dockerd, stand_in
from machine import engine as machine_engine
from tests import runs
from tests.runs import ROOT

# What the sandbox's own configuration of gcloud has and a user's hasn't.
_SANDBOX_ONLY = re.compile(r"^\[artifacts\]\n(?:.+\n)*", re.MULTILINE)
_SERVICE = re.compile(r"[a-z0-9-]+-\d+\.[a-z0-9-]+\.run\.app")


def documented_hosts() -> frozenset[str]:
    """Google's hosts that the workbook may talk to, from docs/fidelity.toml."""
    return frozenset(tomllib.loads((ROOT / "docs" / "fidelity.toml").read_text())["hosts"])


@dataclass(frozen=True)
class Run(runs.Run):
    """A finished `workbook run --target gcp`, and what the sandbox was asked meanwhile."""

    requests: list[dict[str, Any]]


@dataclass(frozen=True)
class Google:
    """The sandbox in Google's place, and the environment of a user whose network leads to it."""

    world: World
    environment: Mapping[str, str]

    def asked(self, since: int = 0) -> list[dict[str, Any]]:
        """The sandbox's log of requests after a number; none of its first ones is missing."""
        found: list[dict[str, Any]] = self.world.admin(f"requests?since={since}")["requests"]
        assert not found or found[0]["number"] == since + 1, "more requests than the log keeps"
        return found

    def run(self, *arguments: str, root: Path = ROOT, check: bool = True) -> Run:
        """`workbook run --target gcp` as the user's process."""
        before = len(self.asked())
        here = ("--target", "gcp", "--project", self.world.info.project_id)
        ran = runs.run(*here, *arguments, environment=self.environment, root=root)
        assert not check or ran.status == 0, ran.output
        return Run(**vars(ran), requests=self.asked(before))

    def tunnels(self) -> set[str]:
        """The hosts that are not Google's and that somebody was led to, as the edge's log tells."""
        log = (self.world.home / "sandbox.log").read_text()
        return set(re.findall(r"tunnel to (\S+):\d+", log))

    def offences(self, requests: Iterable[Mapping[str, Any]], *, builds: bool = False) -> list[str]:
        """The requests that wouldn't reach Google, or reach what isn't documented; one line each.

        With `builds` those of Cloud Build and Cloud Run are none: they are Google's inside, and push and pull by the
        sandbox's port with accounts of their own.
        """
        return [
            f"{one['door']} {one['verb']} {one['host']}{one['path']} by {one['principal']}"
            for one in requests
            if not _is_google_s(one) and not (builds and _is_inside(one, self.world.info.learner))
        ]


def _is_google_s(request: Mapping[str, Any]) -> bool:
    named = request["host"] in documented_hosts() or bool(_SERVICE.fullmatch(request["host"]))
    return request["door"] == "edge" and named


def _is_inside(request: Mapping[str, Any], learner: str) -> bool:
    who, what = request["principal"], request["path"]
    signing_in = who == "anonymous" and what in ("/v2/", "/v2/token")
    return request["door"] == "port" and (
        signing_in or (who not in (learner, "anonymous") and what.startswith("/v2/us-central1-docker.pkg.dev/"))
    )


@contextlib.contextmanager
def played(folder: Path) -> Iterator[Google]:
    """Start the sandbox, an engine behind the proxy, and give a user's environment; all of it stopped afterwards.

    Skips the test where no engine can be started.
    """
    if os.geteuid() != 0 or dockerd.program() is None:
        pytest.skip("an engine behind a proxy of its own needs root and dockerd")
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(starter.OPTIONS, "--google-urls")
            world = starter.start(folder / "google", project=f"ml-workbook-{secrets.token_hex(3)}", port=0)
        stack.callback(starter.stop, world.home)
        environment = _users(world, folder)
        environment["DOCKER_HOST"] = stack.enter_context(_engine(folder / "engine", environment))
        _give_base(environment["DOCKER_HOST"])
        yield Google(world, environment)


def _users(world: World, folder: Path) -> dict[str, str]:
    """The environment of a user of Google whose network wants a proxy and a CA, with gcloud signed in."""
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
    """A private engine that finds Google through the proxy: the daemon has its way and its CA from its environment."""
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
    """Give the new engine the base image of the one that answers here, if that has one; else a run makes it."""
    here = machine_engine.find()
    with contextlib.closing(machine_engine.client(here)) as client:
        reference = stand_in.find(client)
    if here is None or reference is None:
        return
    with subprocess.Popen(["docker", "--host", here.host, "save", reference], stdout=subprocess.PIPE) as saved:
        load = ["docker", "--host", host, "load", "--quiet"]
        subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True, timeout=120)
