"""The usual mistakes, each as a learner makes it, and the sentence that helps."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from helpers import names, target
from helpers.cell import mistakes

PROJECT = names.Project("ml-workbook-lab")
LOCAL = target.current(
    {"WORKBOOK_TARGET": "sandbox", **dict.fromkeys(("WORKBOOK_RUN", "REGISTRY_URL"), "x")}
    | {
        "PROJECT_ID": "p",
        "REGION": "us-central1",
        "REPOSITORY": "r",
        "IMAGE": "i",
        "REGISTRY_HOST": "localhost:5001",
        "REGISTRY": "localhost:5001/us-central1-docker.pkg.dev",
    }
)
VALUES = {
    "WORKBOOK_TARGET": "sandbox",
    "REGION": "us-central1",
    "REGISTRY": "localhost:5001/us-central1-docker.pkg.dev",
    "PROJECT_ID": "ml-workbook-lab",
}


def error_of(look: Callable[[], object]) -> Exception:
    try:
        look()
    except Exception as error:  # noqa: BLE001 - the error is what is asked for
        return error
    raise AssertionError("nothing was raised")


def compiled(source: str) -> Callable[[], object]:
    return lambda: compile(source, "cell", "exec")


@pytest.mark.parametrize(
    ("look", "said"),
    [
        pytest.param(compiled("docker images"), mistakes.NOT_A_SHELL, id="docker"),
        pytest.param(compiled("x = 1\ngcloud artifacts repositories list"), mistakes.NOT_A_SHELL, id="gcloud"),
        pytest.param(compiled("export A=1"), mistakes.NOT_A_SHELL, id="export"),
        pytest.param(compiled("docker = = 1"), "", id="python-called-docker"),
        pytest.param(compiled("for x in y print(x)"), "", id="python"),
        pytest.param(lambda: gcloud - -version, mistakes.NOT_A_SHELL, id="a-minus"),  # type: ignore[name-defined] # noqa: F821
        pytest.param(lambda: wb, mistakes.RUN_ABOVE, id="first-cell-skipped"),  # type: ignore[name-defined] # noqa: F821
        pytest.param(lambda: "id: " + PROJECT, mistakes.NOT_TEXT, id="concatenated"),  # type: ignore[operator]
        pytest.param(lambda: ", ".join([PROJECT]), mistakes.NOT_TEXT, id="joined"),  # type: ignore[list-item]
        pytest.param(lambda: json.dumps({"project": PROJECT}), mistakes.NOT_TEXT, id="json"),
        pytest.param(lambda: Path(PROJECT), mistakes.NOT_TEXT, id="opened"),  # type: ignore[arg-type]
        pytest.param(lambda: "1.1.0".resource, mistakes.NOT_A_NAME, id="text-for-a-name"),  # type: ignore[attr-defined]
        pytest.param(lambda: LOCAL.docker_name("1.0.1"), mistakes.NOT_A_NAME, id="text-for-docker"),  # type: ignore[arg-type]
        pytest.param(lambda: "a" + 1, "", id="another-type-error"),  # type: ignore[operator]
        pytest.param(lambda: {}["x"], "", id="a-key"),
    ],
)
def test_a_mistake_is_known(look: Callable[[], object], said: str) -> None:
    assert mistakes.explain(error_of(look), {}) == said


def test_a_file_that_is_given_a_name(tmp_path: Path) -> None:
    assert mistakes.explain(error_of(lambda: (tmp_path / "x").write_text(PROJECT)), {}) == mistakes.NOT_TEXT


def test_no_sandbox_is_told_by_its_port_and_not_by_the_error_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        here = {"WORKBOOK_TARGET": "sandbox", "SANDBOX_URL": f"http://127.0.0.1:{port}"}
        assert mistakes.explain(requests.ConnectionError("reset"), here) == ""
    assert "The sandbox doesn't run" in mistakes.explain(requests.ConnectionError("reset"), here)
    assert mistakes.explain(ValueError("x"), here) == ""
    assert mistakes.explain(requests.ConnectionError("reset"), here | {"WORKBOOK_TARGET": "gcp"}) == ""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(
            "docker pull $REGION-docker.pkg.dev/$PROJECT_ID/ml-images/x:1", mistakes.TWO_FORMS, id="docker-google"
        ),
        pytest.param(
            "gcloud artifacts docker images describe \\\n  $REGISTRY/$PROJECT_ID/ml-images/x:1",
            mistakes.TWO_FORMS,
            id="gcloud-loopback",
        ),
        pytest.param("docker pull $REGISTRY/$PROJECT_ID/ml-images/x:1", "", id="docker"),
        pytest.param("gcloud artifacts docker images list $REGION-docker.pkg.dev/$PROJECT_ID/x", "", id="gcloud"),
        pytest.param("echo us-central1-docker.pkg.dev/a; false", "", id="neither"),
    ],
)
def test_the_two_forms_of_a_name(script: str, said: str) -> None:
    assert mistakes.after_failure(script, VALUES) == said


@pytest.mark.parametrize(
    ("name", "end"),
    [
        pytest.param("project_id", "Is $PROJECT_ID what you mean?", id="case"),
        pytest.param("PROJECT", "Is $PROJECT_ID what you mean?", id="cut"),
        pytest.param("stray", mistakes.UNSET.rpartition(" ")[2], id="unlike-any"),
    ],
)
def test_a_variable_that_is_not_set(name: str, end: str) -> None:
    found = mistakes.after_failure(f"echo ${name}", VALUES, f"before\nbash: line 1: {name}: unbound variable\n")
    assert found.startswith(mistakes.UNSET)
    assert found.endswith(end)


def test_on_google_docker_takes_google_s_form() -> None:
    script = "docker pull us-central1-docker.pkg.dev/p/r/x:1"
    assert mistakes.after_failure(script, VALUES | {"WORKBOOK_TARGET": "gcp"}) == ""
