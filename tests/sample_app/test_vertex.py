"""Vertex AI's container contract with a real gunicorn: routes from its variables, predictions from instances."""

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.sample_app.conftest import APP, DEADLINE, Serve, Server

# Vertex AI's default routes.
PREDICT = "/v1/endpoints/123/deployedModels/456:predict"
HEALTH = "/v1/endpoints/123/deployedModels/456"
LARGEST = 1_500_000
# The name of Vertex AI's proxy, which is not in ALLOWED_HOSTS.
FOREIGN = {"Host": "prediction.internal"}


@pytest.fixture(scope="module")
def vertex(serve: Serve) -> Iterator[Server]:
    with serve(MODEL_VERSION="v-test", AIP_HEALTH_ROUTE=HEALTH, AIP_PREDICT_ROUTE=PREDICT) as running:
        yield running


def ask(server: Server, body: Any, **options: Any) -> requests.Response:
    return server.client.post(f"{server.url}{PREDICT}", json=body, headers=FOREIGN, **options)


def test_instances_become_predictions_in_their_order(vertex: Server, flower: dict[str, float]) -> None:
    large = {"sepal_length_cm": 6.3, "sepal_width_cm": 3.3, "petal_length_cm": 6.0, "petal_width_cm": 2.5}
    answer = ask(vertex, {"instances": [flower, large, flower]})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == ["predictions"]
    assert [one["prediction"] for one in answer.json()["predictions"]] == ["setosa", "virginica", "setosa"]
    assert answer.json()["predictions"][0] == vertex.client.post(f"{vertex.url}/predict", json=flower).json()


def test_health_is_served_at_both_routes(vertex: Server) -> None:
    for path in (HEALTH, "/health"):
        answer = vertex.client.get(f"{vertex.url}{path}", headers=FOREIGN)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert vertex.client.post(f"{vertex.url}{HEALTH}").status_code == 405


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"instances": "must be a list of one or more objects"}),
        ({"instances": []}, {"instances": "must be a list of one or more objects"}),
        ({"instances": {"0": 1}}, {"instances": "must be a list of one or more objects"}),
        ({"instances": [1]}, {"instances[0]": "must be an object"}),
        ({"instances": ["FLOWER", {"petal_width_cm": "wide"}], "rows": 1}, {"rows": "unknown field"}),
        ({"instances": ["FLOWER"], "parameters": {"top": 1}}, {"parameters": "this model takes none"}),
        (
            {"instances": ["FLOWER", "NARROW"]},
            {"instances[1].petal_width_cm": "must be greater than 0 and at most 25"},
        ),
    ],
    ids=["nothing", "none", "no-list", "number", "another-field", "parameters", "second-instance"],
)
def test_wrong_instances_are_named(
    vertex: Server, flower: dict[str, float], body: dict[str, Any], fields: dict[str, str]
) -> None:
    known = {"FLOWER": flower, "NARROW": flower | {"petal_width_cm": 0}}
    if isinstance(body.get("instances"), list):
        body = body | {"instances": [known.get(one, one) if isinstance(one, str) else one for one in body["instances"]]}
    answer = ask(vertex, body)
    assert answer.status_code == 400
    assert answer.json()["fields"] == fields


def test_empty_parameters_are_accepted(vertex: Server, flower: dict[str, float]) -> None:
    assert ask(vertex, {"instances": [flower], "parameters": {}}).status_code == 200


def test_answer_to_thousands_of_wrong_instances_is_short(vertex: Server) -> None:
    answer = ask(vertex, {"instances": [{}] * 5000})
    assert answer.status_code == 400
    assert len(answer.json()["fields"]) < 30


@pytest.mark.parametrize(("size", "status"), [(LARGEST, 400), (LARGEST + 1, 413)], ids=["largest", "one-more"])
def test_request_has_at_most_1_5_mb(vertex: Server, size: int, status: int) -> None:
    headers = FOREIGN | {"Content-Type": "application/json"}
    answer = vertex.client.post(f"{vertex.url}{PREDICT}", data=b" " * size, headers=headers)
    assert answer.status_code == status


def test_answer_has_at_most_1_5_mb(vertex: Server, flower: dict[str, float]) -> None:
    """A prediction is longer than its instance, so the answer reaches the limit first."""
    body = {"instances": [flower] * 15_000}
    assert len(json.dumps(body)) < LARGEST
    answer = ask(vertex, body)
    assert answer.status_code == 413
    assert "fewer instances" in answer.json()["error"]
    assert ask(vertex, {"instances": [flower] * 5_000}).status_code == 200


def test_other_methods_and_types_are_refused(vertex: Server) -> None:
    assert vertex.client.get(f"{vertex.url}{PREDICT}").status_code == 405
    assert vertex.client.post(f"{vertex.url}{PREDICT}", data="x=1").status_code == 415


def test_routes_need_their_variables(server: Server, flower: dict[str, float]) -> None:
    assert server.client.post(f"{server.url}{PREDICT}", json={"instances": [flower]}).status_code == 404
    assert server.client.get(f"{server.url}{HEALTH}").status_code == 404


def test_own_route_uses_vertexs_format_if_vertex_names_it(serve: Serve, flower: dict[str, float]) -> None:
    with serve(AIP_HEALTH_ROUTE="/health", AIP_PREDICT_ROUTE="/predict") as named:
        answer = named.client.post(f"{named.url}/predict", json={"instances": [flower]})
        assert answer.json()["predictions"][0]["prediction"] == "setosa"
        assert named.client.get(f"{named.url}/health").status_code == 200


@pytest.mark.parametrize(
    ("settings", "port"),
    [({"AIP_HTTP_PORT": "9091", "PORT": "8080"}, "9091"), ({"PORT": "9092"}, "9092"), ({}, "8080")],
    ids=["vertex", "cloud-run", "neither"],
)
def test_server_listens_at_vertexs_port(settings: dict[str, str], port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIP_HTTP_PORT", "PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert runpy.run_path(str(APP / "gunicorn.conf.py"))["bind"] == f"0.0.0.0:{port}"


def test_health_check_uses_vertexs_port(vertex: Server) -> None:
    port = str(urlsplit(vertex.url).port)
    done = subprocess.run(
        [sys.executable, str(APP / "healthcheck.py")],
        env={"AIP_HTTP_PORT": port, "PORT": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stdout) == (0, "/health answers 200\n")
