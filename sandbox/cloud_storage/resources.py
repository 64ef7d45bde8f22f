"""Buckets and objects as JSON, and the permission checks on them."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from urllib.parse import quote

from sandbox.api.methods import Call
from sandbox.cloud_storage import metadata, objects
from sandbox.cloud_storage.objects import Bucket, Stored
from sandbox.errors import ApiError, not_found
from sandbox.iam import admission
from sandbox.state import projects

NO_BUCKET = "The specified bucket does not exist."


def denied(call: Call, permission: str, what: str) -> ApiError:
    """Return Cloud Storage's 403, which names the caller, for a bucket, an object or a project."""
    caller = call.principal.email or "Anonymous caller"
    return ApiError(
        "PERMISSION_DENIED",
        f"{caller} does not have {permission} access to the {what}. Permission '{permission}' denied on resource (or "
        "it may not exist).",
    )


def bucket_of(call: Call, permission: str, what: str = "bucket") -> Bucket:
    """Return the bucket in the path, if the caller has the permission on it.

    Raises:
        ApiError: NOT_FOUND or PERMISSION_DENIED.
    """
    with call.world.reading() as rows:
        bucket = objects.find_bucket(rows, call.params["bucket"])
    if bucket is None:
        raise not_found(NO_BUCKET)
    if not admission.is_allowed(call, permission, bucket.resource):
        raise denied(call, permission, f"Google Cloud Storage {what}")
    return bucket


def _milliseconds(time: str) -> str:
    """Return a time in Cloud Storage's format, with milliseconds."""
    return dt.datetime.fromisoformat(time).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _access(bucket: Bucket) -> dict[str, Any]:
    # Uniform access can be switched off for 90 days: https://cloud.google.com/storage/docs/uniform-bucket-level-access
    locked = dt.datetime.fromisoformat(bucket.create_time) + dt.timedelta(days=90)
    uniform = {"enabled": True, "lockedTime": _milliseconds(locked.isoformat())}
    return {
        "bucketPolicyOnly": uniform,
        "uniformBucketLevelAccess": uniform,
        "publicAccessPrevention": "inherited",
    }


def render_bucket(call: Call, bucket: Bucket) -> dict[str, Any]:
    """Return a bucket as JSON."""
    project = projects.find(call.world, bucket.project)
    answer: dict[str, Any] = {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket.name}",
        "projectNumber": project.number if project else "",
        "location": bucket.location,
        "locationType": "multi-region" if bucket.location in ("US", "EU", "ASIA") else "region",
        "storageClass": "STANDARD",
        "metageneration": "1",
        "generation": str(int(dt.datetime.fromisoformat(bucket.create_time).timestamp() * 10**6)),
        "timeCreated": _milliseconds(bucket.create_time),
        "updated": _milliseconds(bucket.create_time),
        "etag": "CAE=",
        "iamConfiguration": _access(bucket),
    }
    if answer["locationType"] == "multi-region":
        answer["rpo"] = "DEFAULT"
    else:
        answer["satisfiesPZI"] = True
    labels = json.loads(bucket.labels)
    return answer | ({"labels": labels} if labels else {})


def render(call: Call, stored: Stored) -> dict[str, Any]:
    """Return an object as JSON."""
    created = _milliseconds(stored.create_time)
    answer = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": "1",
        **metadata.fields(stored),
        "contentType": stored.content_type,
        "storageClass": "STANDARD",
        "size": str(stored.size(call.world)),
        "md5Hash": stored.md5,
        **dict.fromkeys(("timeCreated", "updated", "timeStorageClassUpdated", "timeFinalized"), created),
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{stored.bucket}/o/{quote(stored.name, safe='')}",
        "mediaLink": f"https://storage.googleapis.com/download/storage/v1/b/{stored.bucket}/o/"
        f"{quote(stored.name, safe='')}?generation={stored.generation}&alt=media",
    }
    return {key: value for key, value in answer.items() if value}
