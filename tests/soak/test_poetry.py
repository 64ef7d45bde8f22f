"""The real poetry, in a separate environment, installs from a Python repository with hashes in its lock."""

from __future__ import annotations

import os
import secrets
import subprocess
import venv
from pathlib import Path

import pytest

from tests.sandbox.python_repositories import conftest as shared
from tests.sandbox.python_repositories.conftest import Held

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="installs poetry, for make soak"),
]

held = shared.held
PROJECT = """[tool.poetry]
package-mode = false

[tool.poetry.dependencies]
python = ">=3.11,<4"
{package} = "^1.0"

[[tool.poetry.source]]
name = "here"
url = "{url}/simple/"
priority = "primary"
"""


@pytest.fixture(scope="module")
def poetry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Poetry in a new environment, installed with this machine's pip settings."""
    folder = tmp_path_factory.mktemp("poetry")
    venv.create(folder, with_pip=True)
    outside = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    ran = subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "poetry"],
        env=outside,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if ran.returncode:
        pytest.skip(f"poetry can't be installed here: {ran.stderr.strip()[-200:]}")
    return folder / "bin" / "poetry"


def test_poetry_locks_and_installs(poetry: Path, held: Held, tmp_path: Path) -> None:
    package = f"model-{secrets.token_hex(3)}"
    for version in ("1.0", "1.1", "2.0"):
        assert held.upload(package, version).status_code == 200
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT.format(package=package, url=held.url))

    def run(*arguments: str, token: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "POETRY_HTTP_BASIC_HERE_USERNAME": "oauth2accesstoken",
            "POETRY_HTTP_BASIC_HERE_PASSWORD": token,
            "POETRY_CONFIG_DIR": str(tmp_path / "config"),
            "POETRY_CACHE_DIR": str(tmp_path / "cache"),
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }
        return shared.run(poetry, "--directory", project, "--no-interaction", *arguments, **settings)

    refused = run("lock", token="not-a-token")
    assert refused.returncode != 0
    assert not (project / "poetry.lock").exists()
    installed = run("install", token=held.session.credentials.token)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    module = package.replace("-", "_")
    python = project / ".venv" / "bin" / "python"
    said = subprocess.run([python, "-c", f"import {module}; print({module}.VERSION)"], capture_output=True, text=True)
    assert said.stdout == "1.1\n", said.stderr
    lock = (project / "poetry.lock").read_text()
    assert f"{module}-1.1-py3-none-any.whl" in lock
    assert "sha256:" in lock
