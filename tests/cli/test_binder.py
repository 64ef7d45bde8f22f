"""The workbook as Binder starts it: Jupyter's command as arguments, a path and a token that Binder chooses."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from cli.world import starter
from tests import conditions

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.docker
@pytest.mark.slow
def test_the_start_serves_what_binder_asks_for(python_image: str, tmp_path: Path) -> None:
    home = tmp_path / "world"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = os.environ | {
        "WORKBOOK_HOME": str(home),
        "WORKBOOK_VENV": sys.prefix,
        "WORKBOOK_INSTALL_GCLOUD": "0",
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "HOME": str(tmp_path),
    }
    options = (f"--port={port}", "--ip=127.0.0.1", "--ServerApp.base_url=/user/one/", "--IdentityProvider.token=given")
    address = f"http://127.0.0.1:{port}/user/one"
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [ROOT / ".binder" / "start", "jupyter-lab", *options], env=environment, stdout=log, stderr=log, cwd=tmp_path
        ) as process,
    ):
        try:
            headers = {"Authorization": "token given"}

            def contents() -> requests.Response | None:
                assert process.poll() is None, (tmp_path / "log").read_text()
                with contextlib.suppress(requests.ConnectionError):
                    return requests.get(f"{address}/api/contents", headers=headers, timeout=10)
                return None

            listed = conditions.until(contents, 180)
            assert "00_start_here.ipynb" in [one["name"] for one in listed.json()["content"]]
            assert requests.get(f"{address}/api/contents", timeout=10).status_code == 403
            assert starter.status(home).world is not None
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            if process.poll() is None:
                process.terminate()
    assert starter.status(home).world is None
