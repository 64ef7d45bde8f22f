"""The defaults that Cloud Run writes into a service. Both versions of the API return them.

Source: recordings of Knative services (2023-03-31) and v2 services (2024-04-25), tests/observed/facts/run.json.
"""

from __future__ import annotations

from typing import Any

from sandbox.cloud_run import instances, probes

Json = dict[str, Any]


def fill(template: Json, account: str) -> None:
    """Write the defaults into a revision template.

    Args:
        account: the default account's e-mail address.
    """
    spec = template["spec"]
    spec.pop("nodeSelector", None)
    spec["containerConcurrency"] = spec.get("containerConcurrency") or 80
    spec["timeoutSeconds"] = spec.get("timeoutSeconds") or 300
    spec["serviceAccountName"] = spec.get("serviceAccountName") or account
    container = spec["containers"][0]
    container["ports"] = container.get("ports") or [{"name": "http1", "containerPort": instances.PORT}]
    for port in container["ports"]:
        port.setdefault("name", "http1")
    if _is_default(container.get("startupProbe")):
        # A client may send back the old port's default with a new port. It means the new port's default.
        container["startupProbe"] = probes.default(instances.port_of(container))
    limits = container.setdefault("resources", {}).setdefault("limits", {})
    limits.setdefault("cpu", "1000m")
    limits.setdefault("memory", "512Mi")


def _is_default(probe: Json | None) -> bool:
    return probe is None or probe == probes.default(probe.get("tcpSocket", {}).get("port", 0))
