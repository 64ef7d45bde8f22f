"""Filters of builds, as gcloud leaves them to the server."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.api import filters
from sandbox.cloud_build import build_filter
from sandbox.errors import ApiError

BUILD: dict[str, Any] = {
    "id": "b1", "projectId": "p", "status": "SUCCESS", "tags": ["nightly"], "buildTriggerId": "t1",
    "createTime": "2026-03-01T08:00:00.5Z", "startTime": "2026-03-01T08:00:02Z",
    "images": ["us-central1-docker.pkg.dev/p/r/app:v1"],
    "results": {"images": [{"name": "us-central1-docker.pkg.dev/p/r/app:v1", "digest": "sha256:abc"}]},
    "source": {"storageSource": {"bucket": "B", "object": "source.tgz"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('create_time>"2026-01-01T00:00:00Z"', True),
        ('createTime>"2026-04-01T00:00:00Z"', False),
        ('start_time<="2026-03-01T08:00:02+00:00" AND status="SUCCESS"', True),
        ('finish_time>"2026-01-01T00:00:00Z"', False),
        ("images:app", True),
        ("images=app", False),
        ("results.images.digest=sha256:abc", True),
        ('results.images.name:"/other/"', False),
        ("source.storage_source.bucket=B", True),
        ("NOT source.storage_source.object=source.tgz", False),
        ("source.repo_source.repo_name=x", False),
        ("tags=nightly", True),
        ("tags:night", False),
        ("status!=FAILURE project_id=p", True),
        ("trigger_id=t2 OR build_trigger_id=t1", True),
    ],
)
def test_a_filter_holds_for_a_build_or_not(text: str, holds: bool) -> None:
    assert filters.parse(text, build_filter.compare)(BUILD) is holds


@pytest.mark.parametrize("text", ["colour=red", "status>SUCCESS", "create_time>yesterday", "create_time:2026"])
def test_what_cannot_be_compared_is_refused_by_name(text: str) -> None:
    with pytest.raises(ApiError, match="Invalid filter") as refused:
        filters.parse(text, build_filter.compare)
    assert refused.value.status == "INVALID_ARGUMENT"
