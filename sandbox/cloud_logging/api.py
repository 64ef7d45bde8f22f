"""logging.googleapis.com: read the log entries that the sandbox's own jobs write.

Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list and, for filters,
https://cloud.google.com/logging/docs/view/logging-query-language (comparisons; no functions, no search in all fields).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.api import filters, lists, shapes
from sandbox.api.methods import Api, Call, Method, ordered
from sandbox.cloud_logging.entries import of_project
from sandbox.errors import ApiError, check_fields, invalid, permission_denied, unimplemented
from sandbox.iam import admission
from sandbox.state import projects

SERVICE = "logging.googleapis.com"
TITLE = "Cloud Logging API"

_LONGEST_FILTER = 20_000  # characters: https://cloud.google.com/logging/quotas
_PROJECT = re.compile(r"projects/([a-z0-9-]+)")
_ORDERS = {"": False, "timestamp asc": False, "timestamp": False, "timestamp desc": True}
# Data Access entries are private: https://cloud.google.com/logging/docs/access-control
_PERMISSIONS = {False: "logging.logEntries.list", True: "logging.privateLogEntries.list"}

Entry = dict[str, Any]


def _predicate(text: str) -> Callable[[Entry], bool]:
    """Return the predicate of a filter. A comparison with a missing field is false."""
    if len(text) > _LONGEST_FILTER:
        raise invalid(f"The filter is longer than {_LONGEST_FILTER} characters.")  # unverified: the sentence
    return filters.parse(text, _comparison, _unknown_form)


def _unknown_form(text: str, where: str) -> ApiError:
    return unimplemented(f"the logging filter {text[:200]!r}, of which it cannot read {where!r}")


def _comparison(path: str, op: str, value: str) -> Callable[[Entry], bool]:
    wanted = value.lower()
    # Timestamps have one format and time zone, so they can be compared as strings.
    compare = operator.contains if op == ":" else filters.COMPARISONS.get(op)
    if compare is None:
        raise unimplemented(f"the operator {op} in a logging filter")
    if path == "severity":
        return _severity(op, wanted)
    if op in (">", ">=", "<", "<=") and path != "timestamp":
        raise unimplemented(f"the operator {op} in a logging filter on {path}; it compares timestamps and severities")

    def holds(entry: Entry) -> bool:
        found: Any = entry
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is None:
            return False
        values = found if isinstance(found, list) else [found]
        return any(compare(str(one).lower(), wanted) for one in values)

    return holds


# google/logging/type/log_severity.proto
_SEVERITIES = ("default", "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def _severity(op: str, wanted: str) -> Callable[[Entry], bool]:
    if wanted not in _SEVERITIES:
        raise invalid(f"Invalid severity {wanted!r} in a logging filter.")
    level = _SEVERITIES.index(wanted)
    compare = filters.COMPARISONS["=" if op == ":" else op]
    return lambda entry: compare(_SEVERITIES.index(str(entry.get("severity", "default")).lower()), level)


class _Request(shapes.Shape):
    """The body of entries.list, https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list."""

    resource_names: list[str] | None = None
    project_ids: list[str] | None = None
    filter: str | None = None
    order_by: str | None = None
    page_size: int | None = None
    page_token: str | None = None


def _list(call: Call) -> dict[str, Any]:
    body = shapes.check(_Request, call.json())
    check_fields(body, ("resourceNames", "filter", "orderBy", "pageSize", "pageToken", "projectIds"))
    names = [*body.get("resourceNames", []), *(f"projects/{name}" for name in body.get("projectIds", []))]
    if not names:
        raise invalid("The request must name at least one resource in resourceNames.")
    order = _ORDERS.get(body.get("orderBy", ""))
    if order is None:
        raise invalid(f"Invalid orderBy {body['orderBy']!r}: write timestamp asc or timestamp desc.")
    wanted = _predicate(body.get("filter", ""))
    found = [entry for name in dict.fromkeys(names) for entry in _of(call, name) if wanted(entry)]
    found.sort(key=lambda entry: (entry["timestamp"], entry["insertId"]), reverse=order)
    query = {"pageSize": str(body.get("pageSize") or 0), "pageToken": body.get("pageToken", "")}
    chosen, token = lists.page(found, query, lambda entry: str(entry["insertId"]))
    return lists.answer("entries", chosen, token)


def _of(call: Call, name: str) -> list[Entry]:
    """Return the entries of a project that the caller may see."""
    match = _PROJECT.fullmatch(name)
    if match is None:
        raise unimplemented(f"log entries of {name[:100]!r}; it keeps the logs of projects")
    project = projects.find(call.world, match[1])
    resource = f"//{SERVICE}/projects/{match[1]}"
    if project is None:
        raise permission_denied(_PERMISSIONS[False], resource)
    admission.require_api(call.world, project, SERVICE, TITLE)
    may = {
        private: admission.is_allowed(call, permission, f"projects/{project.id}")
        for private, permission in _PERMISSIONS.items()
    }
    if not may[False]:
        raise permission_denied(_PERMISSIONS[False], resource)
    with call.world.reading() as rows:
        entries = of_project(rows, project.id)
    return [entry for entry in entries if may[True] or "data_access" not in entry["logName"]]


API = Api(SERVICE, TITLE, ordered((Method("logging.entries.list", "POST", "/v2/entries:list", _list),)))
