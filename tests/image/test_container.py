"""The container itself: built, started, used through its published ports, stopped, started again, without privilege.

WORKBOOK_IMAGE tries one that is published. Otherwise one is built, and its base too: for machines that don't reach
Docker Hub. WORKBOOK_GCLOUD_ARCHIVE saves the download of gcloud in each of its containers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import certifi
import pytest

from machine import engine, stand_in
from tests.browser import chrome
from tests.browser.test_lab import _PANEL, Lab
from tests.image import outside

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="builds an image of 1.3 GB: make soak"),
    pytest.mark.skipif(bool(outside.missing()), reason=outside.missing() or "all is there"),
]

# A shell of the container's sandbox.
_ENVIRONMENT = 'eval "$(workbook env)";'
# What no layer may hold, as the names in its archive begin or end.
LEFT = re.compile(
    r"^(root/\.cache|var/lib/apt/lists/|var/cache/apt/archives/\w|run/ca\.pem|tmp/\w|opt/workbook/(\.sandbox|runs|\.git)/\w)"
    r"|\.deb$|(^|/)(\.env|key\.json|[\w-]+-key\.json|install\.log)$"
)


@pytest.fixture(scope="module")
def privileged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The options of a privileged container, with an engine that takes them."""
    with pytest.MonkeyPatch.context() as patch:
        found = engine.ensure(print)
        patch.setenv("DOCKER_HOST", found.host)
        patch.setenv("DOCKER_BUILDKIT", "1")
        try:
            yield ["--privileged", *outside.ensure_runtime(found, tmp_path_factory.mktemp("runtime"))]
        finally:
            engine.release("image")


@pytest.fixture(scope="module")
def image(privileged: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return outside.image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return outside.local_options(tmp_path_factory.mktemp("options"))


@pytest.fixture(scope="module")
def running(image: str, privileged: list[str], options: list[str]) -> Iterator[str]:
    """A container with JupyterLab, as compose.yaml starts it; its ports are free ones of this machine's."""
    ports = ["--publish=127.0.0.1::8888", "--publish=127.0.0.1::5001"]
    with outside.volumes() as volumes:
        arguments = [image, "lab", "--LabApp.expose_app_in_browser=True"]
        with outside.container([*privileged, *options, *ports, *volumes], arguments) as found:
            wait_for_lab(found)
            yield found


def wait_for_lab(found: str) -> None:
    """Wait until JupyterLab answers at the published port, which is another one after each start."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        running = outside.docker("inspect", "--format={{.State.Running}}", found)
        assert running == "true", subprocess.run(["docker", "logs", found], capture_output=True, check=False).stderr
        if outside.status(f"{outside.published(found, 8888)}/api") == 200:
            return
    pytest.fail("JupyterLab gave no answer in ten minutes")


def inside(found: str, script: str, seconds: float = 600) -> str:
    """What a bash script prints in the container."""
    return outside.docker("exec", found, "bash", "-c", f"set -eu\n{script}", seconds=seconds)


def test_no_layer_holds_a_secret_a_cache_or_a_ca_of_this_machine(image: str, tmp_path: Path) -> None:
    shipped = certificates(
        outside.docker("run", "--rm", "--entrypoint=cat", image, "/etc/ssl/certs/ca-certificates.crt")
    )
    # What a distribution or a package publishes is everybody's, and older than what the image has.
    published = [*Path("/usr/share/ca-certificates").rglob("*.crt")]
    published += Path(certifi.where()).parents[1].rglob("cacert.pem")
    known = certificates("\n".join(path.read_text(encoding="utf-8") for path in published))
    ours = certificates(stand_in.host_ca_bundle().decode()) - shipped - known
    saved = tmp_path / "image.tar"
    outside.docker("save", f"--output={saved}", image, seconds=600)
    left = []
    with tarfile.open(saved) as outer:
        [about] = json.load(cast(IO[bytes], outer.extractfile("manifest.json")))
        for name in about["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(name)) as layer:
                for member in layer:
                    if "/.wh." in member.name:
                        # says that a file of a layer below is gone
                        continue
                    if LEFT.search(member.name) and not member.isdir():
                        left.append(member.name)
                    elif member.isfile() and member.name.endswith((".crt", ".pem")):
                        text = cast(IO[bytes], layer.extractfile(member)).read().decode(errors="replace")
                        left += [f"{member.name}: a CA of this machine" for _ in certificates(text) & ours]
        settings: dict[str, Any] = json.load(cast(IO[bytes], outer.extractfile(about["Config"])))
    assert left == []
    assert not re.search(r"TOKEN|PASSWORD|SECRET|WORKBOOK_HOME|_CERT", json.dumps(settings["config"]["Env"]))


def certificates(text: str) -> set[str]:
    return set(re.findall(r"-----BEGIN CERTIFICATE-----\s+(\S{64})", text))


def test_lab_opens_only_with_the_printed_token(running: str) -> None:
    said = outside.docker("logs", running)
    [token] = set(re.findall(r"http://localhost:8888/lab\?token=(\w+)", said))
    lab = outside.published(running, 8888)
    assert outside.status(f"{lab}/api/contents?token={token}") == 200
    assert outside.status(f"{lab}/api/contents?token={token[::-1]}") == 403
    assert outside.status(f"{lab}/api/contents") == 403
    assert inside(running, 'stat --format=%a "$(dirname .sandbox/lab/token)/token"') == "600"


def test_inner_container_keeps_its_limit(running: str) -> None:
    """On control groups of version 2 that needs the child group."""
    image = inside(
        running, f"{_ENVIRONMENT} docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | grep -m1 python"
    )
    read = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    said = inside(running, f"{_ENVIRONMENT} docker run --rm --memory 256m --pids-limit 100 {image} sh -c '{read}'")
    assert said == str(256 * 2**20)


@pytest.mark.skipif(chrome.find() is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)")
def test_notebook_4_runs_in_a_browser_through_the_published_port(running: str, tmp_path: Path) -> None:
    program = chrome.find()
    assert program
    inside(running, f"{_ENVIRONMENT} python -c 'from helpers.fast_forward import fast_forward; fast_forward(4)'")
    token = inside(running, "cat .sandbox/lab/token")
    address = outside.published(running, 8888)
    with chrome.open_tab(program, tmp_path / "profile") as tab:
        lab = Lab(tab, tmp_path, address, token)
        tab.look_as(1366, 768, "light")
        tab.open(f"{address}/lab/tree/04_build_and_push.ipynb?token={token}")
        lab.until("window.jupyterapp?.commands.hasCommand('docmanager:open')", 120)
        lab.ask("jupyterapp.restored.then(() => true)")
        lab.ask(_PANEL)
        lab.open("04_build_and_push.ipynb")
        lab.ask(
            "window.ended = false;"
            " jupyterapp.commands.execute('notebook:run-all-cells').finally(() => {window.ended = true}); true"
        )
        # The page looks itself, a minute at a time: a question's answer has to come within two.
        look = (
            "new Promise(then => {const end = Date.now() + 60000; const look = () =>"
            " window.ended || Date.now() > end ? then(window.ended) : setTimeout(look, 50); look()})"
        )
        assert any(lab.ask(look) for _ in range(10)), "the notebook has no end"
        code = "panel().content.widgets.filter(one => one.model.type === 'code')"
        errors = f"{code}.flatMap(one => one.outputArea.model.toJSON()).filter(one => one.output_type === 'error')"
        assert lab.ask(f"{errors}.map(one => one.evalue)") == []
        assert lab.ask(f"{code}.filter(one => !one.model.executionCount).map(one => one.model.id)") == []


def test_service_opens_at_the_hosts_port(running: str) -> None:
    """Any image that listens will do: the base image's Python serves the folder that it is in."""
    deploy = f"""{_ENVIRONMENT}
    gcloud services enable artifactregistry.googleapis.com run.googleapis.com
    gcloud artifacts repositories create opened --location=us-central1 --repository-format=docker
    gcloud auth configure-docker --quiet localhost:5001 2>/dev/null || true
    name=us-central1-docker.pkg.dev/$PROJECT_ID/opened/server:1
    base=$(docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | grep -m1 python)
    docker tag "$base" "localhost:5001/$name"
    docker push --quiet "localhost:5001/$name"
    gcloud run deploy opened --image="$name" --region=us-central1 --allow-unauthenticated --quiet \\
        --command=python3 --args=-m,http.server,8080
    """
    inside(running, deploy)
    url = inside(
        running, f'{_ENVIRONMENT} gcloud run services describe opened --region=us-central1 --format="value(status.url)"'
    )
    assert url.startswith("http://localhost:5001/opened-")
    assert outside.status(url.replace("http://localhost:5001", outside.published(running, 5001))) == 200


def test_restart_keeps_the_state_of_learner_and_engine(running: str) -> None:
    look = (
        f"{_ENVIRONMENT} cat .sandbox/lab/notebooks/mine.txt .sandbox/lab/token;"
        " gcloud artifacts repositories list --location=us-central1 --format='value(name)' 2>/dev/null;"
        " docker images --format '{{.ID}}' | sort"
    )
    inside(running, "echo mine >.sandbox/lab/notebooks/mine.txt")
    before = inside(running, look)
    outside.docker("stop", "--time=60", running)
    # 137 would be a stop that had to be forced.
    assert outside.docker("inspect", "--format={{.State.ExitCode}}", running) in ("0", "143")
    outside.docker("start", running)
    wait_for_lab(running)
    assert inside(running, look) == before
    assert before.startswith("mine\n")


@pytest.mark.parametrize("allowed", [True, False], ids=["privileged", "without privilege"])
def test_all_notebooks_run_inside(allowed: bool, image: str, privileged: list[str], options: list[str]) -> None:
    given = privileged if allowed else []
    with (
        outside.volumes() as volumes,
        outside.container([*given, *options, *volumes], [image, "run", "--strict"]) as found,
    ):
        ended = outside.docker("wait", found, seconds=3600)
        said = subprocess.run(
            ["docker", "logs", found], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        ).stdout
    assert ended == "0", said
    assert said.rstrip().endswith("OK")
    lacks = ["start it with `--privileged`", "It lacks: isolation between containers"]
    assert [sentence in said for sentence in lacks] == [not allowed] * 2
