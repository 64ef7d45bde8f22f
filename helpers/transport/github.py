"""One call of GitHub's REST API: the sandbox's own Git host, or api.github.com, with a token only where it is ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from helpers import target


def call(method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = "") -> requests.Response:
    """Return the answer, whatever its status.

    Args:
        path: after the host, `/repos/OWNER/NAME`.
        token: of somebody else than the learner; in the sandbox the learner's is used without it, at GitHub's the one
            in GITHUB_TOKEN, if there is one.

    Raises requests.RequestException when nobody answers.
    """
    sandbox = target.current().git_host
    if not token and sandbox:
        token = Path(os.environ["WORKBOOK_HOME"], "git", "token").read_text(encoding="utf-8").strip()
    token = token or os.environ.get("GITHUB_TOKEN", "")
    headers = {"Accept": "application/vnd.github+json", **({"Authorization": f"Bearer {token}"} if token else {})}
    with requests.Session() as session:
        # The plain port must never be looked for through a proxy.
        session.trust_env = not sandbox
        url = f"{sandbox or 'https://api.github.com'}{path}"
        return session.request(method, url, json=body, headers=headers, timeout=60)
