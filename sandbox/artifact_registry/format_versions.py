"""list and get of a format's own view of its versions: pythonPackages, npmPackages, mavenArtifacts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from sandbox.api import lists
from sandbox.api.methods import Call, Method
from sandbox.artifact_registry import repositories
from sandbox.artifact_registry.catalog import Repository
from sandbox.artifact_registry.names import REPOSITORY_PATH, method, unescape
from sandbox.errors import not_found

# Renders rows of versions as resources, in the same order.
Render = Callable[[sqlite3.Connection, Sequence[sqlite3.Row], Repository], list[dict[str, Any]]]


def methods(collection: str, variable: str, kind: str, query: str, render: Render) -> tuple[Method, Method]:
    """Return the two methods of a collection whose names end in `PACKAGE:VERSION`.

    Args:
        collection: for example `pythonPackages`; its permissions carry the same name in lower case.
        variable: the path's variable, for example `python_package`.
        kind: the format that a repository must have.
        query: selects the versions of a repository; the repository's name is its only parameter.
    """

    def listed(call: Call) -> dict[str, Any]:
        repository = repositories.of_format(call, kind)
        source = lists.Source(query, (repository.name,), ("package", "digest"))
        with call.world.reading() as rows:
            found, token = lists.read(rows, source, call.query)
            shown = render(rows, found, repository)
        return lists.answer(collection, shown, token)

    def got(call: Call) -> dict[str, Any]:
        repository = repositories.of_format(call, kind)
        package, _, version = unescape(call.params[variable]).rpartition(":")
        with call.world.reading() as rows:
            found = rows.execute(
                f"{query} AND package = ? AND digest = ?", (repository.name, package, version)
            ).fetchall()
            shown = render(rows, found, repository)
        if not shown:
            raise not_found()
        return shown[0]

    path = f"{REPOSITORY_PATH}/{collection}"
    return (
        method(f"{collection}.list", "GET", path, listed, f"{collection.lower()}.list"),
        method(f"{collection}.get", "GET", f"{path}/{{{variable}}}", got, f"{collection.lower()}.get"),
    )
