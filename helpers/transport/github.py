"""Call GitHub's REST API, in the sandbox at its own Git host."""

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
        path: the path after the host, such as `/repos/OWNER/NAME`.
        token: another user's token. The default is the learner's in the sandbox, and on Google the one in GITHUB_TOKEN.

    Raises requests.RequestException when nothing answers.
    """
    sandbox = target.current().git_host
    if not token and sandbox:
        token = Path(os.environ["WORKBOOK_HOME"], "git", "token").read_text(encoding="utf-8").strip()
    token = token or os.environ.get("GITHUB_TOKEN", "")
    headers = {"Accept": "application/vnd.github+json", **({"Authorization": f"Bearer {token}"} if token else {})}
    with requests.Session() as session:
        # Never connect to the sandbox's plain port through a proxy.
        session.trust_env = not sandbox
        url = f"{sandbox or 'https://api.github.com'}{path}"
        return session.request(method, url, json=body, headers=headers, timeout=60)
