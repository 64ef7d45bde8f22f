"""The HTTP requests that a command made, from the sandbox's request log, or on Google from gcloud's log.

Requests for tokens are left out, and so are query parameters that only control the form of the answer.
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
# docker sends layers in parallel and repeats requests, so its requests are shown once each, in this order.
_REGISTRY: Final = ("GET", "HEAD", "POST", "PATCH", "PUT")
# gcloud always logs its requests in urllib3's format.
_LOGGED: Final = re.compile(r'urllib3\.connectionpool https://([^:/ ]+):443 "([A-Z]+) (\S+) HTTP/[\d.]+" (\d{3})')


@dataclass(frozen=True)
class Call:
    """One request with its status, and its body as text, which is "" if there is none or it isn't known."""

    verb: str
    host: str
    path: str
    status: int
    body: str = ""

    @property
    def line(self) -> str:
        """The request as a line, with `…` for digests and tokens in addresses, which differ on every run."""
        path = re.sub(r"(?<=loads/)[^/?]+", "…", _without_digests(self.path))
        return f"{self.status}  {self.verb:6} {self.host}{path}"

    @property
    def by_docker(self) -> bool:
        """Whether the request went to the registry, not to the API."""
        return self.path.startswith(("/v2/", "/artifacts-uploads/", "/artifacts-downloads/"))


@dataclass(frozen=True)
class Mark:
    """A position in the list of requests: the sandbox's number, and the machine's clock in seconds."""

    number: int
    moment: float


def mark(last: Mark | None = None) -> Mark:
    """Return the current end of the list. With an earlier mark as `last`, only later requests are read.

    Raises requests.RequestException when the sandbox doesn't answer.
    """
    number = last.number if last else 0
    found = target.admin(f"requests?since={number}")
    numbers = [int(one["number"]) for one in found["requests"]] if found else []
    return Mark(max(numbers, default=number), time.time())


def between(start: Mark, end: Mark) -> tuple[Call, ...]:
    """Return the calls from one mark to the other, in their order, without those for tokens.

    Raises requests.RequestException when the sandbox doesn't answer.
    """
    found = target.admin(f"requests?since={start.number}")
    if found is None:
        return tuple(_logged(start.moment, end.moment))
    made = [one for one in found["requests"] if one["number"] <= end.number]
    return tuple(_as_call(one) for one in made if one["host"] not in _TOKENS and not one["path"].endswith("/token"))


def text(calls: Iterable[Call]) -> str:
    """Return one line for each different call, in the order of first occurrence, with its body below.

    Calls to the API are counted. Those to the registry come last, each once, in the order of a push.
    """
    listed = list(calls)
    counts: dict[tuple[str, str], int] = {}
    for one in listed:
        if not one.by_docker:
            counts[one.line, one.body] = counts.get((one.line, one.body), 0) + 1
    lines: list[str] = []
    for (line, body), count in counts.items():
        lines.append(line if count == 1 else f"{line}  ({count} times)")
        if body:
            lines.append(f"     {body}")
    lines += dict.fromkeys(one.line for one in sorted(listed, key=_stage) if one.by_docker)
    return "\n".join(lines) or "No request was seen."


def _stage(one: Call) -> tuple[bool, int, int, str]:
    order = _REGISTRY.index(one.verb) if one.verb in _REGISTRY else len(_REGISTRY)
    return "/manifests/" in one.path, order, one.status, one.line.partition("/blobs/")[0]


def _as_call(one: Mapping[str, Any]) -> Call:
    host, path = one["host"], one["path"]
    if path.startswith("/v2/"):
        # In the sandbox, docker's paths contain the registry's name.
        named = re.match(r"/v2/([a-z0-9-]+-docker\.pkg\.dev)(/.*)", path)
        host, path = (named[1], f"/v2{named[2]}") if named else (host or target.current().location.host, path)
    query = urlencode([pair for pair in parse_qsl(one["query"]) if pair[0] not in _HOW], safe=":/")
    # Docker's manifests are long, and the digest in the path identifies them.
    short = "" if "/v2/" in one["path"] or not one["body"] else _short(one["body"])
    return Call(one["verb"], host, path + (f"?{query}" if query else ""), int(one["status"]), short)


def _short(body: Any) -> str:
    written = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    # The last two parts of a resource's name are enough to identify it.
    written = _without_digests(re.sub(r'"projects/[^"]*/(\w+/[^/"]+)"', r'"…/\1"', written))
    return written if len(written) <= _BODY else written[: _BODY - 1] + "…"


def _without_digests(text: str) -> str:
    return re.sub(r"sha256(?::|%3[aA])[0-9a-f]{64}", "sha256:…", text)


def _logged(start: float, end: float) -> Iterator[Call]:
    """Yield the requests in gcloud's log files of that time, which have no bodies."""
    folder = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud") / "logs"
    for file in sorted(folder.glob("*/*.log")):
        if start <= file.stat().st_mtime <= end:
            for host, verb, whole, status in _LOGGED.findall(file.read_text(encoding="utf-8", errors="replace")):
                path, _, query = whole.partition("?")
                if host not in _TOKENS:
                    yield _as_call(
                        {"verb": verb, "host": host, "path": path, "query": query, "status": status, "body": None}
                    )
