"""Service Usage: what is enabled."""

from __future__ import annotations

from tests.observed.facts import Fact
from tests.observed.replay import Request, Stage

HOST = "https://serviceusage.googleapis.com"


def _services(stage: Stage) -> str:
    return f"/v1/projects/{stage.project}/services"


def _list(stage: Stage, fact: Fact) -> Request:
    # Nothing is left of an answer in which no service is; the clients ask for the names alone.
    fields = "services/name,nextPageToken" if ".services[].name" in (fact.answer or {}) else "nextPageToken"
    return Request(_services(stage), {"?fields": fields})


def _operation(stage: Stage, fact: Fact) -> Request:
    verb = "disable" if "Disable" in str((fact.answer or {}).get(".response.@type")) else "enable"
    name = stage.ask("POST", f"{HOST}{_services(stage)}/pubsub.googleapis.com:{verb}")["name"]
    return Request(f"{fact.path.removesuffix('/operations/OP')}/{name}")


PREPARE = {
    "GET /v1/projects/P/services": _list,
    "GET /v1beta1/operations/OP": _operation,
    "POST /v1/projects/P/services/X:enable": lambda stage, fact: Request(
        f"{_services(stage)}/cloudbuild.googleapis.com:enable"
    ),
    "POST /v1beta1/projects/P/services/X:generateServiceIdentity": lambda stage, fact: Request(
        f"/v1beta1/projects/{stage.project}/services/run.googleapis.com:generateServiceIdentity"
    ),
}
