"""A visit to a page: the variables of its address, and parts of it that may be refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.admin.surface import Controls
from sandbox.console.reader import Reader, quoted
from sandbox.errors import Refusal

PAGE_SIZE: Final = 50


@dataclass(frozen=True)
class Visit:
    """A visit to a page.

    Attributes:
        params: the decoded variables of the page's address.
        query: the query's parameters.
    """

    controls: Controls
    reader: Reader
    params: Mapping[str, str]
    query: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.params[name]

    @property
    def repository(self) -> str:
        """The API's path of the repository in the address."""
        place = f"/v1/projects/{quoted(self['project'])}/locations/{quoted(self['location'])}"
        return f"{place}/repositories/{quoted(self['repository'])}"

    @property
    def paging(self) -> dict[str, str | int]:
        """The API's query for the requested page of a list."""
        token = self.query.get("page")
        return {"pageSize": PAGE_SIZE, **({"pageToken": token} if token else {})}


@dataclass(frozen=True)
class Part:
    """A part of a page, which is either found or refused.

    Attributes:
        refusal: Google's message, or empty.
    """

    found: Any
    refusal: str = ""


def part(read: Callable[[], Any]) -> Part:
    """Read a part of a page, so that a refusal doesn't affect the other parts."""
    try:
        return Part(read())
    except Refusal as refusal:
        return Part(None, str(refusal))


def link(base: str, *segments: str) -> str:
    """Return the address of a page. `base` is the address of the first page."""
    return f"{base}/" + quoted(*segments)
