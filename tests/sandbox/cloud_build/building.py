"""What tests of builds share: a build's configuration, its start, its end, its log and its containers."""

from __future__ import annotations

from typing import Any

import docker
from google.auth.transport.requests import AuthorizedSession

from tests import conditions
from tests.sandbox.conftest import ask, project

RUNNING = ("PENDING", "QUEUED", "WORKING")
DOCKER = "gcr.io/cloud-builders/docker"


def base() -> str:
    return f"https://cloudbuild.googleapis.com/v1/projects/{project()}/locations/us-central1"


def bash(text: str, **more: Any) -> dict[str, Any]:
    return {"name": DOCKER, "entrypoint": "bash", "args": ["-ec", text.replace("$", "$$")], **more}


def config(email: str, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    options = {"logging": "CLOUD_LOGGING_ONLY", **more.pop("options", {})}
    return {"steps": list(steps), "serviceAccount": email, "options": options, **more}


def start(session: AuthorizedSession, body: dict[str, Any]) -> str:
    found: str = ask(session, "POST", f"{base()}/builds", body)["metadata"]["build"]["id"]
    return found


def look(session: AuthorizedSession, build: str) -> dict[str, Any]:
    return ask(session, "GET", f"{base()}/builds/{build}")


def until(session: AuthorizedSession, build: str, wanted: Any, seconds: float = 90) -> dict[str, Any]:
    def finished() -> dict[str, Any] | None:
        found = look(session, build)
        return found if wanted(found) else None

    return conditions.until(finished, seconds)


def finish(session: AuthorizedSession, body: dict[str, Any]) -> dict[str, Any]:
    return until(session, start(session, body), lambda found: found["status"] not in RUNNING)


def log(session: AuthorizedSession, build: str) -> str:
    body = {
        "resourceNames": [f"projects/{project()}"],
        "filter": f'logName="projects/{project()}/logs/cloudbuild" AND resource.labels.build_id="{build}"',
        "pageSize": 1000,
    }
    entries = ask(session, "POST", "https://logging.googleapis.com/v2/entries:list", body).get("entries", [])
    return "\n".join(entry.get("textPayload", "") for entry in entries)


def of_build(engine: docker.DockerClient, build: str) -> list[Any]:
    found: list[Any] = engine.containers.list(
        all=True, ignore_removed=True, filters={"label": f"workbook-build={build}"}
    )
    return found
