"""The app as a real process, and a model trained for the run."""

import contextlib
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_APP = ROOT / "sample_app"
APP = SAMPLE_APP / "app"
# In the image the app's folder is the working directory. It isn't a package of this project.
sys.path.insert(0, str(APP))

DEADLINE = 30.0


@dataclass(frozen=True)
class Server:
    """A running gunicorn: its address without a final slash, a client that ignores proxies, and its output."""

    url: str
    client: requests.Session
    process: subprocess.Popen[str]
    lines: list[str]
    arrivals: queue.Queue[str | None]

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Return the first match among the lines that arrive from now on. Fails after ``DEADLINE`` seconds."""
        ends = time.monotonic() + DEADLINE
        while True:
            try:
                line = self.arrivals.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                pytest.fail(
                    f"no line with {pattern!r} within {DEADLINE:.0f} s. Lines so far:\n" + "\n".join(self.lines)
                )
            if line is None:
                pytest.fail(f"the server ended before a line with {pattern!r}:\n" + "\n".join(self.lines))
            if match := re.search(pattern, line):
                return match


Serve = Callable[..., AbstractContextManager[Server]]


def _environment(model_file: Path, settings: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "MODEL_FILE": str(model_file), **settings}


@contextlib.contextmanager
def _serve(model_file: Path, **settings: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0"],
        cwd=APP,
        env=_environment(model_file, settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    arrivals: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            arrivals.put(line.rstrip("\n"))
        arrivals.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    client = requests.Session()
    client.trust_env = False
    server = Server("", client, process, lines, arrivals)
    try:
        url = server.wait_for_line(r"Listening at: (http://127\.0\.0\.1:\d+)").group(1)
        server.wait_for_line(r"Booting worker")
        yield Server(url, client, process, lines, arrivals)
    finally:
        client.close()
        process.terminate()
        try:
            process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(timeout=DEADLINE)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained just now, the way the image's builder stage does it."""
    target = tmp_path_factory.mktemp("model") / "iris.json"
    subprocess.run([sys.executable, str(SAMPLE_APP / "train.py"), str(target)], check=True, capture_output=True)
    return target


@pytest.fixture(scope="session")
def serve(model_file: Path) -> Serve:
    """Run gunicorn with these variables and no others.

    Used as `with serve(ALLOWED_HOSTS="a,b") as server`.
    """
    return lambda **settings: _serve(model_file, **settings)


@pytest.fixture(scope="session")
def server(serve: Serve) -> Iterator[Server]:
    """One server with the default settings, for tests that need no other."""
    with serve(MODEL_VERSION="v-test") as running:
        yield running


@pytest.fixture
def flower() -> dict[str, float]:
    """A valid request: the first flower of the data set, a setosa."""
    return {"sepal_length_cm": 5.1, "sepal_width_cm": 3.5, "petal_length_cm": 1.4, "petal_width_cm": 0.2}
