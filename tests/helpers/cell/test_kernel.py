"""Errors as a real kernel shows them."""

from __future__ import annotations

import socket
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

START = """
import os
from IPython import get_ipython
from helpers.cell import kernel
kernel.load(get_ipython())
os.environ |= {"WORKBOOK_TARGET": "sandbox", "SANDBOX_URL": "http://127.0.0.1:%d"}
"""
CELLS = {
    "google": "from google.api_core import exceptions\n\nraise exceptions.Forbidden('no role')",
    "docker": "import docker.errors\ndef inner():\n    raise docker.errors.NotFound('no such image')\ninner()",
    "helper": "from helpers import names\nnames.Project('NO GOOD')",
    "name": "wb.image",
    "magic": "docker images",
    "python": "1 / 0",
    "syntax": "for x in y print(x)",
    "down": "import requests\nrequests.get(os.environ['SANDBOX_URL'])",
    "terminal": "%%terminal\ngcloud artifacts repositories list",
    "shell": "!exit 3",
    "client": (
        "from google.cloud import artifactregistry_v1\nfrom google.auth.credentials import AnonymousCredentials\n"
        "client = artifactregistry_v1.ArtifactRegistryClient(transport='rest', credentials=AnonymousCredentials())\n"
        "client.update_repository(artifactregistry_v1.Repository())"
    ),
    "question": '!test "$CLOUDSDK_CORE_DISABLE_PROMPTS" = 1 && echo quiet',
}


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(START % port)]
    book.cells += [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    book.cells += [nbformat.v4.new_code_cell(CELLS["google"]), nbformat.v4.new_code_cell("%tb")]
    NotebookClient(book, timeout=120, allow_errors=True, kernel_name="python3").execute()
    assert not book.cells[0].outputs
    texts = ["\n".join(one.get("text") or "\n".join(one.traceback) for one in cell.outputs) for cell in book.cells[1:]]
    return dict(zip([*CELLS, "again", "whole"], texts, strict=True))


def test_a_library_s_error_is_its_message_and_the_learner_s_line(shown: dict[str, str]) -> None:
    assert shown["google"].splitlines()[:2] == [
        "Forbidden: 403 no role",
        "  in line 3: raise exceptions.Forbidden('no role')",
    ]
    assert shown["docker"].splitlines()[:2] == [
        "NotFound: no such image",
        "  in line 3: raise docker.errors.NotFound('no such image')",
    ]
    assert shown["helper"].startswith("BadName: ")
    assert "  in line 2: names.Project('NO GOOD')" in shown["helper"]
    assert all(len(shown[name].splitlines()) <= 4 for name in ("google", "docker", "helper", "name", "down"))


def test_a_command_and_a_client_called_wrongly_are_a_few_lines_too(shown: dict[str, str]) -> None:
    assert shown["shell"].splitlines()[0] == "CommandFailed: exit status 3. The last lines above say why."
    assert shown["client"].splitlines()[0].startswith("TypeError: ")
    assert "  in line 4: client.update_repository(" in shown["client"]
    assert all(len(shown[name].splitlines()) <= 14 for name in ("shell", "client"))


def test_one_word_shows_the_whole_traceback(shown: dict[str, str]) -> None:
    assert "%tb" in shown["google"]
    assert "Traceback (most recent call last)" in shown["whole"]
    assert "Forbidden" in shown["whole"]


def test_a_usual_mistake_has_its_sentence(shown: dict[str, str]) -> None:
    assert "Run All Above" in shown["name"]
    assert "%%terminal" in shown["magic"]
    assert shown["down"].startswith("The sandbox doesn't run")
    assert "The sandbox doesn't run" in shown["terminal"]


def test_python_s_own_errors_stay_whole(shown: dict[str, str]) -> None:
    assert "Traceback (most recent call last)" in shown["python"]
    assert "%tb" not in shown["python"]
    assert "for x in y print(x)" in shown["syntax"]


def test_gcloud_asks_nothing(shown: dict[str, str]) -> None:
    assert shown["question"].strip() == "quiet"


def test_a_plain_import_stays_light() -> None:
    """A learner's kernel loads it before anything else."""
    told = "import sys; from helpers import exercises; from helpers.cell import kernel; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert not {"docker", "google.api_core", "matplotlib", "nbformat", "requests"} & {*done.stdout.split()}
