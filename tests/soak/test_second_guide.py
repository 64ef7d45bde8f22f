"""The workbook in the second guide's region, with its repository's name: nothing in the notebooks is tied to ours."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.run import execution
from cli.world import starter as starter
from helpers import names, sweep, target
from helpers.cell import documents
from machine import engine as machine_engine

REGION = "southamerica-east1"
REPOSITORY = "mycoolproject-repo"


pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="a long one: make soak"),
    pytest.mark.docker,
    pytest.mark.gcloud,
    pytest.mark.slow,
    pytest.mark.usefixtures("gcloud"),
]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, python_image: str) -> Iterator[target.Target]:
    """A world in that region, with this process's environment set to it."""
    home = tmp_path_factory.mktemp("world")
    opened = starter.start(home, project=f"ml-workbook-{secrets.token_hex(3)}", port=0, region=REGION)
    found = machine_engine.find()
    assert found is not None
    variables = machine_engine.environment(found)
    changes = opened.environment(variables, run=f"test-{secrets.token_hex(3)}", python_image=python_image)
    environment = target.apply({**changes, "REPOSITORY": REPOSITORY, "WORKBOOK_PROGRESS": "off"}, os.environ)
    with contextlib.ExitStack() as stack:
        stack.callback(starter.stop, home)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in set(os.environ) - set(environment):
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        here = target.current()
        stack.callback(lambda: sweep.remove(sweep.find(here)))
        yield here


@pytest.mark.timeout(1800)
def test_every_notebook_runs_there(there: target.Target, tmp_path: Path) -> None:
    assert there.repository_name == names.Repository.parse(f"{REGION}-docker.pkg.dev/{there.project_id}/{REPOSITORY}")
    for path in documents.notebooks():
        result = execution.execute(path, tmp_path / path.name, {})
        assert result.failure is None, f"{path.name}#{result.failure}"
        text = (tmp_path / path.name).read_text(encoding="utf-8")
        said = json.dumps([cell.get("outputs") for cell in json.loads(text)["cells"]])
        assert not re.search(r"us-central1-docker\.pkg\.dev/|/ml-images\b", said), path.name
