"""Compile comparisons in a filter of builds, such as `status="SUCCESS" AND create_time>"2026-01-31T08:00:00Z"`."""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.api import filters
from sandbox.errors import invalid

Json = dict[str, Any]


def _results(build: Json, field: str) -> tuple[str, ...]:
    return tuple(one.get(field, "") for one in build.get("results", {}).get("images", ()))


def _source(kind: str, field: str) -> Callable[[Json], str]:
    return lambda build: str(build.get("source", {}).get(kind, {}).get(field, ""))


# The fields that gcloud leaves to the server: _STRING_FIELDS and _TIME_FIELDS in api_lib/cloudbuild/filter_rewrite.py.
_FIELDS: Mapping[str, Callable[[Json], Any]] = {
    "status": lambda build: build["status"],
    "id": lambda build: build["id"],
    "build_id": lambda build: build["id"],
    "project_id": lambda build: build["projectId"],
    "trigger_id": lambda build: build.get("buildTriggerId", ""),
    "build_trigger_id": lambda build: build.get("buildTriggerId", ""),
    "tags": lambda build: tuple(build.get("tags", ())),
    "images": lambda build: tuple(build.get("images", ())),
    "results.images.name": lambda build: _results(build, "name"),
    "results.images.digest": lambda build: _results(build, "digest"),
    "source.storage_source.bucket": _source("storageSource", "bucket"),
    "source.storage_source.object": _source("storageSource", "object"),
    "source.repo_source.repo_name": _source("repoSource", "repoName"),
    "source.repo_source.branch_name": _source("repoSource", "branchName"),
    "source.repo_source.tag_name": _source("repoSource", "tagName"),
    "source.repo_source.commit_sha": _source("repoSource", "commitSha"),
}
_TIMES = {"create_time": "createTime", "start_time": "startTime", "finish_time": "finishTime"}
_ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


def compare(path: str, sign: str, value: str) -> filters.Predicate[Json]:
    """Return the predicate of one comparison.

    Raises:
        ApiError: if the field is unknown or does not support the sign.
    """
    field = re.sub(r"(?<=[a-z])[A-Z]", lambda found: f"_{found[0].lower()}", path)
    if field in _TIMES and sign in _ORDERS:
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            raise invalid(f"Invalid filter: {value[:80]!r} is not a time, for example 2026-01-31T08:00:00Z.") from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        key, compared = _TIMES[field], _ORDERS[sign]
        return lambda build: key in build and compared(dt.datetime.fromisoformat(build[key]), moment)
    read = _FIELDS.get(field)
    if read is None or sign not in ("=", "!=", ":"):
        known = ", ".join(sorted((*_FIELDS, *_TIMES)))
        raise invalid(f"Invalid filter: cannot compare {path[:80]!r} with {sign!r}; the fields are {known}.")
    wanted = value.casefold()

    def holds(build: Json) -> bool:
        found = read(build)
        texts = [str(one).casefold() for one in (found if isinstance(found, tuple) else (found,))]
        matched = any(wanted in one if sign == ":" and field != "tags" else one == wanted for one in texts)
        return matched is (sign != "!=")

    return holds
