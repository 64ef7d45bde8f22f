"""Reserved project ids, which are the projects of Google's agents.

With such a project, a caller could create an account that is another project's agent:
`service-NUMBER@serverless-robot-prod…`.
"""

from __future__ import annotations

import re

from sandbox.iam.members import GOOGLE_MADE

_OF_AGENTS = frozenset(account.partition("@")[2].removesuffix(".iam.gserviceaccount.com") for account in GOOGLE_MADE)
# "Cannot contain restricted strings, such as google, null, undefined, and ssl":
# https://cloud.google.com/resource-manager/docs/creating-managing-projects; the list is not complete there either.
_RESTRICTED = ("google", "null", "undefined", "ssl")
# https://cloud.google.com/iam/docs/service-agents: the projects of service agents
_AGENTS = re.compile(r"gcp-(gae-)?sa-.*|service-.*-prod|.*-robot(-prod)?|gae-api-prod|cloudservices|cloudbuild")


def is_reserved(project_id: str) -> bool:
    """Return whether a project id is Google's own or contains a restricted word."""
    return (
        project_id in _OF_AGENTS
        or _AGENTS.fullmatch(project_id) is not None
        or any(word in project_id for word in _RESTRICTED)
    )
