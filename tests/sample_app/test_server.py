"""The app through a real gunicorn process: routes, refusals, hosts, logs, start and stop."""

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from predictor.model import load, probabilities

from tests.sample_app.conftest import APP, DEADLINE, Serve, Server


def test_predict_answers_with_prediction_probabilities_and_version(
    server: Server, flower: dict[str, float], model_file: Path
) -> None:
    answer = server.client.post(f"{server.url}/predict", json=flower)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "prediction": "setosa",
        "probabilities": probabilities(load(model_file), flower),
        "model_version": "v-test",
    }


def test_predict_takes_a_charset_in_the_content_type(server: Server, flower: dict[str, float]) -> None:
    answer = server.client.post(
        f"{server.url}/predict",
        data=json.dumps(flower),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    assert answer.status_code == 200


def test_predict_names_every_wrong_field(server: Server, flower: dict[str, float]) -> None:
    del flower["petal_width_cm"]
    answer = server.client.post(f"{server.url}/predict", json=flower | {"sepal_width_cm": "wide", "colour": 1})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "The input can't be used: see fields.",
        "fields": {
            "sepal_width_cm": "must be a number",
            "petal_width_cm": "missing",
            "colour": "unknown field",
        },
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_predict_takes_only_post(server: Server, method: str) -> None:
    answer = server.client.request(method, f"{server.url}/predict")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_predict_takes_only_json(server: Server, content_type: str | None, flower: dict[str, float]) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = server.client.post(f"{server.url}/predict", data=json.dumps(flower).encode(), headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]


@pytest.mark.parametrize(("size", "status"), [(4096, 400), (4097, 413)])
def test_body_has_a_size_limit(server: Server, size: int, status: int) -> None:
    answer = server.client.post(f"{server.url}/predict", data=b" " * size, headers={"Content-Type": "application/json"})
    assert answer.status_code == status


def test_declared_size_is_refused_before_the_body_is_sent(server: Server) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=DEADLINE)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_body_of_unknown_length_is_refused(server: Server, flower: dict[str, float]) -> None:
    answer = server.client.post(
        f"{server.url}/predict",
        data=iter([json.dumps(flower).encode()]),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 411


def test_predict_needs_no_csrf_token_and_no_known_origin(server: Server, flower: dict[str, float]) -> None:
    answer = server.client.post(f"{server.url}/predict", json=flower, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 200


def test_health_names_the_model_version(server: Server) -> None:
    answer = server.client.get(f"{server.url}/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "model_version": "v-test"}
    assert server.client.head(f"{server.url}/health").status_code == 200
    refused = server.client.post(f"{server.url}/health")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/healthz", "/health/", "/predict/", "/admin/", "/static/x", "/.env"])
def test_other_paths_are_not_found(server: Server, path: str) -> None:
    assert server.client.get(f"{server.url}{path}").status_code == 404


def test_only_allowed_hosts_are_served(serve: Serve, server: Server, flower: dict[str, float]) -> None:
    foreign = {"Host": "ml-predictor-1.us-central1.run.app"}
    for answer in (
        server.client.get(f"{server.url}/", headers=foreign),
        server.client.post(f"{server.url}/predict", json=flower, headers=foreign),
    ):
        assert answer.status_code == 400
        assert "ALLOWED_HOSTS" in answer.text
    with serve(ALLOWED_HOSTS="one.example, .us-central1.run.app") as named:
        assert named.client.get(f"{named.url}/", headers=foreign).status_code == 200
        assert named.client.get(f"{named.url}/", headers={"Host": "one.example"}).status_code == 200
        assert named.client.get(f"{named.url}/").status_code == 400
        # A probe uses the address as host, and must still find a healthy container healthy.
        assert named.client.get(f"{named.url}/health").status_code == 200


def test_each_request_is_one_line_of_json(serve: Serve, flower: dict[str, float]) -> None:
    with serve() as running:
        running.client.post(f"{running.url}/predict?who=me", json=flower, headers={"User-Agent": 'a"b\\c'})
        running.wait_for_line("POST /predict 200")
    entry = next(json.loads(line) for line in running.lines if "POST /predict 200" in line)
    assert entry["severity"] == "INFO"
    assert entry["message"] == "POST /predict 200"
    request = entry["httpRequest"]
    assert request["requestMethod"] == "POST"
    assert request["requestUrl"] == "/predict"
    assert request["status"] == 200
    assert request["userAgent"] == 'a"b\\c'
    assert request["latency"].endswith("s")
    assert "who=me" not in "".join(running.lines)
    assert all(json.loads(line)["severity"] for line in running.lines)


def test_sigterm_stops_the_server_with_exit_0(serve: Serve) -> None:
    with serve() as running:
        assert running.client.get(f"{running.url}/health").status_code == 200
        running.process.terminate()
        assert running.process.wait(timeout=DEADLINE) == 0


def test_server_without_its_model_does_not_start(serve: Serve, tmp_path: Path) -> None:
    with serve(MODEL_FILE=str(tmp_path / "none.json")) as running:
        assert running.process.wait(timeout=DEADLINE) != 0
    assert any("Can't read the model" in line for line in running.lines)


def test_health_check_reports_the_servers_state(server: Server) -> None:
    def check(port: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(APP / "healthcheck.py")],
            env={**os.environ, "PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )

    port = urlsplit(server.url).port
    assert port is not None
    healthy = check(port)
    assert (healthy.returncode, healthy.stdout) == (0, "/health answers 200\n")
    # Nothing listens at port 1.
    ill = check(1)
    assert ill.returncode == 1
    assert "No answer from /health" in ill.stderr
