"""The actions that a workflow may use. The sandbox implements them with the inputs and outputs of the real ones.

Sources: action.yml of https://github.com/actions/checkout, https://github.com/google-github-actions/auth,
https://github.com/google-github-actions/setup-gcloud and https://github.com/docker/login-action.
Unsupported inputs are refused by name, and some are accepted only with values that change nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_VERSION = re.compile(r"v\d{1,3}(\.\d{1,4}){0,2}|[0-9a-f]{40}")


@dataclass(frozen=True)
class Action:
    """One action.

    Attributes:
        inputs: the supported inputs with their defaults.
        fixed: inputs that are accepted only with certain values.
        required: inputs that must be given.
    """

    inputs: Mapping[str, str]
    fixed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required: tuple[str, ...] = ()


CHECKOUT, AUTH, SETUP = "actions/checkout", "google-github-actions/auth", "google-github-actions/setup-gcloud"
LOGIN = "docker/login-action"

ACTIONS: dict[str, Action] = {
    CHECKOUT: Action({}, {"fetch-depth": ("1",), "persist-credentials": ("true", "false"), "clean": ("true",)}),
    AUTH: Action(
        {
            "workload_identity_provider": "",
            "service_account": "",
            "project_id": "",
            "audience": "",
            "create_credentials_file": "true",
            "export_environment_variables": "true",
            "cleanup_credentials": "true",
            "token_format": "",
            "access_token_lifetime": "3600s",
            "access_token_scopes": "https://www.googleapis.com/auth/cloud-platform",
        },
        {"token_format": ("", "access_token"), "universe": ("googleapis.com",)},
        ("workload_identity_provider",),
    ),
    SETUP: Action(
        {"project_id": ""},
        {"version": ("latest",), "skip_install": ("true", "false"), "skip_tool_cache": ("true", "false")},
    ),
    LOGIN: Action(
        {"registry": "", "username": "", "password": ""}, {"ecr": ("auto", "false"), "logout": ("true", "false")}
    ),
}


def problems(uses: str, given: Mapping[str, str]) -> list[str]:
    """Return the problems of a `uses:` and its `with:`, each as a sentence."""
    name, _, version = uses.partition("@")
    action = ACTIONS.get(name)
    if action is None:
        return [f"uses: {uses[:200]} is an action that the workbook's sandbox can't do; it does {', '.join(ACTIONS)}"]
    found = []
    if not _VERSION.fullmatch(version):
        found.append(f"uses: {uses[:200]} names no version: v4, or a commit's full SHA")
    for key, value in given.items():
        if key in action.fixed:
            if value not in action.fixed[key] and "${{" not in value:
                allowed = " or ".join(repr(one) for one in action.fixed[key])
                found.append(f"{name} takes {key}: {allowed} here, not {value[:100]!r}")
        elif key not in action.inputs:
            found.append(f"{name} is given {key}, which the workbook's sandbox does not do")
    found += [f"{name} needs {key}" for key in action.required if not given.get(key)]
    return found


def inputs(uses: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return an action's inputs with their defaults."""
    return {**ACTIONS[uses.partition("@")[0]].inputs, **given}
