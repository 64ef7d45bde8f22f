"""One look at a page: what it was asked with, and parts of it that a refusal may stand in the place of."""

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
    """One look at a page.

    Attributes:
        params: the variables of the page's address, decoded.
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
        """The API's path of the repository that the address names."""
        place = f"/v1/projects/{quoted(self['project'])}/locations/{quoted(self['location'])}"
        return f"{place}/repositories/{quoted(self['repository'])}"

    @property
    def paging(self) -> dict[str, str | int]:
        """The query of a list that is shown by pages."""
        token = self.query.get("page")
        return {"pageSize": PAGE_SIZE, **({"pageToken": token} if token else {})}


@dataclass(frozen=True)
class Part:
    """A part of a page that a refusal may stand in the place of: what is read, or why it can't be.

    Attributes:
        refusal: Google's sentence; empty when `found` is there.
    """

    found: Any
    refusal: str = ""


def part(read: Callable[[], Any]) -> Part:
    """Read a part of a page: one that may not be read doesn't take the others away."""
    try:
        return Part(read())
    except Refusal as refusal:
        return Part(None, str(refusal))


def link(base: str, *segments: str) -> str:
    """Return the address of a page, `base` being that of the first one."""
    return f"{base}/" + quoted(*segments)
