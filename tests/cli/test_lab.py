"""JupyterLab as the learner starts it: token, loopback, the sandbox inside its kernels, and a clean end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests
import websocket
from nbformat.sign import NotebookNotary

from cli import lab
from cli.world import starter
from helpers import target
from helpers.cell import documents
from helpers.target import Target
from tests import conditions

ROOT = Path(__file__).resolve().parents[2]
NotebookWriter = Callable[..., Path]
# What a terminal is told of colours, titles and paste mode.
_CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")


def test_the_learners_work_is_never_overwritten(write_notebook: NotebookWriter, tmp_path: Path) -> None:
    source = write_notebook("00_start_here.ipynb", "1").parent
    folder = tmp_path / "lab" / "notebooks"
    assert lab.copy_notebooks(source, folder) == (("00_start_here.ipynb",), ())
    (folder / "00_start_here.ipynb").write_text("my work")
    write_notebook("01_next.ipynb", "2")
    assert lab.copy_notebooks(source, folder) == (("01_next.ipynb",), ("00_start_here.ipynb",))
    assert (folder / "00_start_here.ipynb").read_text() == "my work"


def test_a_copy_holds_nothing_of_the_recording_and_jupyter_trusts_it(tmp_path: Path) -> None:
    folder = tmp_path / "lab" / "notebooks"
    copied, _ = lab.copy_notebooks(documents.NOTEBOOKS, folder)
    lab.trust([folder / name for name in copied], folder.parent)
    notary = NotebookNotary(
        db_file=str(folder.parent / "signatures.db"), secret_file=str(folder.parent / "signatures.secret")
    )
    for path in documents.notebooks():
        source, copy = documents.read(path), documents.read(folder / path.name)
        cells = [cell for cell in copy.cells if cell.cell_type == "code"]
        assert cells
        assert not any(cell.outputs or cell.execution_count for cell in cells)
        assert [one.source for one in copy.cells if one.cell_type == "code"] == [
            one.source for one in source.cells if one.cell_type == "code"
        ]
        assert notary.check_signature(copy)
    notary.store.close()


def test_a_copy_has_no_link_that_jupyterlab_can_t_follow() -> None:
    cells = [cell for path in documents.notebooks() for cell in lab.unread(documents.read(path)).cells]
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "](../" not in text
    assert "Going to Google (the file `docs/going_to_google.md` in the workbook's folder)" in text
    assert "](01_set_up_the_project.ipynb)" in text


def test_jupyter_listens_on_loopback_and_keeps_its_token() -> None:
    line = lab.command(Path("/somewhere"), ["--no-browser", "--port=9999"])
    assert "--ServerApp.ip=127.0.0.1" in line
    assert not any("token" in word or "password" in word for word in line)
    named = lab.command(Path("notebooks"), ["--ip=10.1.2.3"])
    assert [word for word in named if "ip=" in word] == ["--ip=10.1.2.3"]
    assert line[-2:] == ["--no-browser", "--port=9999"]


@pytest.mark.docker
def test_a_lab_on_google_has_its_names_and_says_who_pays(
    found_engine: object, python_image: str, in_world: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox stands in Google's place."""
    served: list[dict[str, str]] = []
    monkeypatch.setattr(lab, "_serve", lambda line, environment: served.append(environment) or 0)
    said: list[str] = []
    # Twice: the second time there is a copy of gcloud's configuration already.
    assert [lab.lab([], said.append, tmp_path / "home", in_world.project_id) for _ in range(2)] == [0, 0]
    here = target.current(served[1])
    assert (here.name, here.repository) == ("gcp", "ml-images-lab")
    assert here.registry == "us-central1-docker.pkg.dev"
    assert any("is billed to it" in line for line in said)
    assert lab.lab([], said.append, tmp_path / "home", "somebody-elses") == 1
    assert "Google says of the project somebody-elses" in said[-1]
    assert starter.status(tmp_path / "home").world is None


@pytest.mark.docker
@pytest.mark.slow
def test_lab_serves_with_a_token_and_stops_cleanly(python_image: str, tmp_path: Path) -> None:
    home = tmp_path / "world"
    # A learner's own settings, as installers write them.
    learners = tmp_path / "learner"
    learners.mkdir()
    (learners / ".bashrc").write_text('export PATH="/usr/games:$PATH" DOCKER_HOST=tcp://elsewhere:1 THEIRS=kept\n')
    environment = dict(os.environ) | {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "HOME": str(learners),
    }
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cli.main",
            "lab",
            "--home",
            str(home),
            "--",
            "--no-browser",
            f"--port={_free_port()}",
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            address, token = "", ""
            for line in process.stdout:
                found = re.search(r"(http://127\.0\.0\.1:\d+)/lab\S*\?token=(\w+)", line)
                if found:
                    address, token = found[1], found[2]
                    break
            assert token
            assert _status(f"{address}/api/contents") == 403
            headers = {"Authorization": f"token {token}"}
            opened = starter.status(home).world
            assert opened is not None
            kernel = requests.post(
                f"{address}/api/kernels", headers=headers, json={"name": "python3"}, timeout=30
            ).json()
            printed = _execute(
                address, token, kernel["id"], "from helpers import target; print(target.current().registry_host)"
            )
            assert printed == f"localhost:{opened.info.port}\n"
            cell = "from helpers import workbook; workbook.begin(0)"
            assert f"Project  {opened.info.project_id}" in _execute(address, token, kernel["id"], cell)
            # 401 and not a name that cannot be found: the terminal's curl reaches the sandbox, and trusts it.
            # Before the first cell: who opens a notebook in the middle gets a sentence, and `%%terminal` is there.
            other = requests.post(f"{address}/api/kernels", headers=headers, json={"name": "python3"}, timeout=30)
            assert "Run All Above" in _execute(address, token, other.json()["id"], "wb.image")
            assert _execute(address, token, other.json()["id"], "%%terminal\necho here") == "here\n"
            # The terminal has this environment's programs first, whatever the learner's settings do to PATH.
            folder = str(Path(sys.executable).parent)
            assert f"<{folder}>" in _type(address, token, 'echo "<${PATH%%:*}>"', f"<{folder}>")
            assert "<kept unix>" in _type(address, token, 'echo "<$THEIRS ${DOCKER_HOST%%:*}>"', "<kept unix>")
            command = "curl -s -o /dev/null -w '<%{http_code}>' https://iam.googleapis.com/v1/roles"
            assert "<401>" in _type(address, token, command, "<401>")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            if process.poll() is None:
                process.terminate()
    assert starter.status(home).world is None
    with pytest.raises(requests.ConnectionError):
        requests.get(address, timeout=5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _status(url: str) -> int:
    """The answer's status; Jupyter prints its address shortly before it listens there."""

    def found() -> int | None:
        with suppress(requests.ConnectionError):
            return requests.get(url, timeout=10).status_code
        return None

    return conditions.until(found, 30)


def _type(address: str, token: str, command: str, expected: str, seconds: float = 120.0) -> str:
    """Type a command into a new terminal of JupyterLab; gives what the terminal showed until `expected` came.

    A shell that is still starting may drop what is typed, so the command waits for the prompt. `recv` answers Jupyter's
    pings by itself and then never times out, so they are received as frames.
    """
    headers = {"Authorization": f"token {token}"}
    name = requests.post(f"{address}/api/terminals", headers=headers, timeout=30).json()["name"]
    url = f"{address.replace('http', 'ws', 1)}/terminals/websocket/{name}?token={token}"
    shown, typed = "", False
    deadline = time.monotonic() + seconds
    with closing(websocket.create_connection(url, timeout=seconds)) as connection:
        connection.settimeout(5)
        while expected not in shown:
            assert time.monotonic() < deadline, f"{expected!r} did not come: {shown!r}"
            try:
                opcode, frame = connection.recv_data(control_frame=True)
            except websocket.WebSocketTimeoutException:
                opcode, frame = None, b""
            if opcode == websocket.ABNF.OPCODE_TEXT:
                kind, *content = json.loads(frame)
                shown += content[0] if kind == "stdout" else ""
            # A prompt of another form is taken for one when nothing follows it.
            ready = opcode is None or re.search(r"[$#] \Z", _CONTROL_SEQUENCE.sub("", shown))
            if ready and shown and not typed:
                connection.send(json.dumps(["stdin", f"{command}\r"]))
                typed = True
    return shown


def _execute(address: str, token: str, kernel: str, code: str) -> str:
    """Run code in a kernel through Jupyter's own API; gives what it printed.

    The reply and the output come through two channels, in either order; `idle` is the last word of the second.
    """
    url = f"{address.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?token={token}"
    identifier = uuid.uuid4().hex
    request = {
        "header": {
            "msg_id": identifier,
            "msg_type": "execute_request",
            "username": "",
            "session": "s",
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "channel": "shell",
        "content": {"code": code, "silent": False, "store_history": False, "allow_stdin": False},
    }
    printed = ""
    with closing(websocket.create_connection(url, timeout=60)) as connection:
        connection.send(json.dumps(request))
        while True:
            message = json.loads(connection.recv())
            if message["parent_header"].get("msg_id") != identifier:
                continue
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
            if message["msg_type"] == "error":
                return "\n".join(message["content"]["traceback"])
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return printed
