"""A Python repository through the clients that its users have: twine, pip, uv, and gcloud."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox import conftest as shared
from tests.sandbox.conftest import project
from tests.sandbox.python_repositories import wheels
from tests.sandbox.python_repositories.conftest import Held, pip, run, token_of

UV = os.environ.get("WORKBOOK_UV") or shutil.which("uv") or ""
needs_uv = pytest.mark.skipif(not UV, reason="needs uv on the PATH, or named by WORKBOOK_UV")


def twine(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar", *arguments)


def test_twine_uploads_and_pip_installs_with_the_keyring(held: Held, tmp_path: Path) -> None:
    package = f"model-{secrets.token_hex(3)}"
    for version in ("1.0", "1.1"):
        wheels.write(tmp_path / "dist", package, version)
    (tmp_path / "dist" / f"{package.replace('-', '_')}-1.1.tar.gz").write_bytes(wheels.sdist(package, "1.1"))
    files = sorted((tmp_path / "dist").iterdir())
    uploaded = twine("--repository-url", f"{held.url}/", *files)
    assert uploaded.returncode == 0, uploaded.stdout + uploaded.stderr

    target = tmp_path / "site"
    index = ("--only-binary", ":all:", "--index-url", f"{held.url}/simple/")
    installed = pip("install", *index, "--target", target, package)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert (target / f"{package.replace('-', '_')}.py").read_text() == 'VERSION = "1.1"\n'

    again = twine("--verbose", "--repository-url", f"{held.url}/", files[0])
    assert again.returncode != 0
    assert "Requested entity already exists." in again.stdout + again.stderr


def test_pip_wants_the_hash_that_it_was_given(held: Held, tmp_path: Path) -> None:
    package = f"model-{secrets.token_hex(3)}"
    assert held.upload(package, "1.0").status_code == 200
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"{package}==1.0 --hash=sha256:{'0' * 64}\n")
    index = ("--index-url", f"{held.url}/simple/", "--target", tmp_path / "site")
    refused = pip("install", *index, "--require-hashes", "-r", wanted)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def test_pip_without_a_credential_or_a_right(held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not pip's own option for it, which came with pip 23.1.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    package = f"model-{secrets.token_hex(3)}"
    assert held.upload(package, "1.0").status_code == 200
    stranger = token_of(held.session, shared.account(held.session))
    host = held.url.removeprefix("https://")
    for index, status in (
        (held.url, "401"),
        (f"https://oauth2accesstoken:not-a-token@{host}", "401"),
        (f"https://oauth2accesstoken:{stranger}@{host}", "403"),
    ):
        answer = pip(
            *("download", "-vvv", "--no-input", "--no-deps"),
            *("--index-url", f"{index}/simple/", "--dest", tmp_path, package),
        )
        assert answer.returncode != 0
        assert status in answer.stdout + answer.stderr, answer.stdout + answer.stderr
        assert not list(tmp_path.iterdir())


@needs_uv
def test_uv_publishes_and_installs(held: Held, tmp_path: Path) -> None:
    package = f"model-{secrets.token_hex(3)}"
    file = wheels.write(tmp_path / "dist", package, "2.0")
    token = held.session.credentials.token
    sign_in = {
        "UV_PUBLISH_USERNAME": "oauth2accesstoken",
        "UV_PUBLISH_PASSWORD": token,
        "UV_CACHE_DIR": str(tmp_path / "c"),
    }
    published = run(UV, "publish", "--publish-url", f"{held.url}/", file, **sign_in)
    assert published.returncode == 0, published.stdout + published.stderr
    index = f"https://oauth2accesstoken:{token}@{held.url.removeprefix('https://')}/simple/"
    installed = run(
        *(
            UV,
            "pip",
            "install",
            "--python",
            sys.executable,
            "--index-url",
            index,
            "--target",
            tmp_path / "site",
            package,
        ),
        **sign_in,
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert 'VERSION = "2.0"' in (tmp_path / "site" / f"{package.replace('-', '_')}.py").read_text()


@pytest.mark.gcloud
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="needs gcloud on the PATH")
def test_gcloud_tells_the_settings_and_lists_what_is_there(held: Held, tmp_path: Path) -> None:
    assert held.upload("ml-model", "1.0+cpu").status_code == 200
    where = (f"--project={project()}", "--location=us-central1", f"--repository={held.id}")
    settings = run("gcloud", "artifacts", "print-settings", "python", *where)
    # It puts the key of the account into them, if one is signed in.
    said = re.sub(r"_json_key_base64:[^@]+@", "", settings.stdout)
    assert f"extra-index-url = {held.url}/simple/" in said, settings.stderr
    for noun, more, expected in (
        ("packages", (), "ml-model"),
        ("versions", ("--package=ml-model",), "1.0+cpu"),
        ("files", ("--package=ml-model", "--version=1.0+cpu"), "ml-model%2Fml_model-1.0%2Bcpu-py3-none-any.whl"),
    ):
        listed = run("gcloud", "artifacts", noun, "list", *where, *more, "--format=value(name.basename())")
        assert (listed.returncode, listed.stdout) == (0, f"{expected}\n"), listed.stdout + listed.stderr
    fetched = run(
        *("gcloud", "artifacts", "files", "download", *where, f"--destination={tmp_path}"),
        "ml-model/ml_model-1.0+cpu-py3-none-any.whl",
    )
    assert fetched.returncode == 0, fetched.stderr
    (got,) = tmp_path.iterdir()
    assert got.read_bytes() == wheels.wheel("ml-model", "1.0+cpu")
    gone = run("gcloud", "artifacts", "versions", "delete", "1.0+cpu", "--package=ml-model", *where, "--quiet")
    assert gone.returncode == 0, gone.stderr
    assert held.get("packages").json() == {}
