"""The HTTP calls that a command made: from the sandbox's list of them, on Google from gcloud's own log.

What is the same on every call is left out: fetching a token, and the settings in a query that say how to answer.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from helpers import target

_BODY: Final = 200  # characters of a body that are shown
_TOKENS: Final = frozenset({"oauth2.googleapis.com", "iamcredentials.googleapis.com"})
_HOW: Final = frozenset({"alt", "$alt", "prettyPrint", "access_token", "_state", "digest", "account", "service"})
# docker sends layers side by side and asks again whenever it likes; so its requests are told once, in this order.
_REGISTRY: Final = ("GET", "HEAD", "POST", "PATCH", "PUT")
# gcloud writes its requests there as the library urllib3 tells them, whether or not it shows them.
_LOGGED: Final = re.compile(r'urllib3\.connectionpool https://([^:/ ]+):443 "([A-Z]+) (\S+) HTTP/[\d.]+" (\d{3})')


@dataclass(frozen=True)
class Call:
    """One request: where it went, what came back, and its body as text, "" without one or where none is known."""

    verb: str
    host: str
    path: str
    status: int
    body: str = ""

    @property
    def line(self) -> str:
        """As it is shown, with `…` for digests and for the tokens in addresses: those differ on every run."""
        path = re.sub(r"(?<=loads/)[^/?]+", "…", _without_digests(self.path))
        return f"{self.status}  {self.verb:6} {self.host}{path}"

    @property
    def by_docker(self) -> bool:
        """Whether it went to the registry, not to the API."""
        return self.path.startswith(("/v2/", "/artifacts-uploads/", "/artifacts-downloads/"))


@dataclass(frozen=True)
class Mark:
    """A place in the list of requests: a number of the sandbox's, and the time of the machine's clock in seconds."""

    number: int
    moment: float


def mark(last: Mark | None = None) -> Mark:
    """Where the list ends now. `last`, an earlier mark, saves reading what came before it.

    Raises requests.RequestException when the sandbox doesn't answer.
    """
    number = last.number if last else 0
    found = target.admin(f"requests?since={number}")
    numbers = [int(one["number"]) for one in found["requests"]] if found else []
    return Mark(max(numbers, default=number), time.time())


def between(start: Mark, end: Mark) -> tuple[Call, ...]:
    """Return the calls from one mark to the other, in their order; those for tokens are left out.

    Raises requests.RequestException when the sandbox doesn't answer.
    """
    found = target.admin(f"requests?since={start.number}")
    if found is None:
        return tuple(_logged(start.moment, end.moment))
    told = [one for one in found["requests"] if one["number"] <= end.number]
    return tuple(_as_call(one) for one in told if one["host"] not in _TOKENS and not one["path"].endswith("/token"))


def text(calls: Iterable[Call]) -> str:
    """One line for each different call, in the order of the first of its kind, with its body below.

    Calls to the API are counted. Those to the registry come last, each once, in the order of a push.
    """
    told = list(calls)
    counts: dict[tuple[str, str], int] = {}
    for one in told:
        if not one.by_docker:
            counts[one.line, one.body] = counts.get((one.line, one.body), 0) + 1
    lines: list[str] = []
    for (line, body), count in counts.items():
        lines.append(line if count == 1 else f"{line}  ({count} times)")
        if body:
            lines.append(f"     {body}")
    lines += dict.fromkeys(one.line for one in sorted(told, key=_stage) if one.by_docker)
    return "\n".join(lines) or "No request was seen."


def _stage(one: Call) -> tuple[bool, int, int, str]:
    order = _REGISTRY.index(one.verb) if one.verb in _REGISTRY else len(_REGISTRY)
    return "/manifests/" in one.path, order, one.status, one.line.partition("/blobs/")[0]


def _as_call(one: Mapping[str, Any]) -> Call:
    host, path = one["host"], one["path"]
    if path.startswith("/v2/"):
        # In the sandbox docker puts the registry's name into the path.
        named = re.match(r"/v2/([a-z0-9-]+-docker\.pkg\.dev)(/.*)", path)
        host, path = (named[1], f"/v2{named[2]}") if named else (host or target.current().location.host, path)
    asked = urlencode([pair for pair in parse_qsl(one["query"]) if pair[0] not in _HOW], safe=":/")
    # Docker's manifests are long, and named by the digest in the path.
    short = "" if "/v2/" in one["path"] or not one["body"] else _short(one["body"])
    return Call(one["verb"], host, path + (f"?{asked}" if asked else ""), int(one["status"]), short)


def _short(body: Any) -> str:
    written = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    # Of a resource's name the last two parts say which it is.
    written = _without_digests(re.sub(r'"projects/[^"]*/(\w+/[^/"]+)"', r'"…/\1"', written))
    return written if len(written) <= _BODY else written[: _BODY - 1] + "…"


def _without_digests(text: str) -> str:
    return re.sub(r"sha256(?::|%3[aA])[0-9a-f]{64}", "sha256:…", text)


def _logged(start: float, end: float) -> Iterator[Call]:
    """Yield what gcloud's log files of that time hold. Bodies aren't in them, and nothing of Docker's or Python's."""
    folder = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud") / "logs"
    for file in sorted(folder.glob("*/*.log")):
        if start <= file.stat().st_mtime <= end:
            for host, verb, whole, status in _LOGGED.findall(file.read_text(encoding="utf-8", errors="replace")):
                path, _, query = whole.partition("?")
                if host not in _TOKENS:
                    yield _as_call(
                        {"verb": verb, "host": host, "path": path, "query": query, "status": status, "body": None}
                    )
