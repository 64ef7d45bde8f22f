"""Check the notation of the predefined roles, and the permissions that it results in."""

from __future__ import annotations

import re

import pytest

from sandbox.iam import roles


def test_two_services_on_a_line_are_refused() -> None:
    with pytest.raises(ValueError, match=r"One service on a line: a: b\.get c"):
        roles.held("a: b.get c: d.get")


def test_each_permission_is_a_service_a_resource_and_a_verb() -> None:
    names = {name for role in roles.ROLES.values() for name in role.permissions}
    assert [name for name in sorted(names) if not re.fullmatch(r"[a-z]+(\.[A-Za-z]+){2}", name)] == []
    assert "remotebuildexecution.blobs.get" in roles.ROLES["roles/cloudbuild.builds.approver"].permissions
