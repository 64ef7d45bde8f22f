"""`workbook gate`: find the scan of an image, apply the policy, print the verdict, and return an exit status.

Any error is status 2, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import requests
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

from helpers import gate as policies
from helpers import names, registry, scans
from helpers.scans import Scan

_FORMATS: Final = {"text": policies.text, "json": policies.as_json, "sarif": policies.sarif}
_EXPECTED: Final = (
    exceptions.GoogleAPICallError,
    auth_exceptions.GoogleAuthError,
    registry.RegistryRefused,
    requests.RequestException,
    scans.ScanMissing,
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line. `scan` is the name of a scan on demand, or ""."""

    image: str
    block: str = "CRITICAL"
    only_fixable: bool = False
    allow: tuple[str, ...] = ()
    allow_file: Path | None = None
    scan: str = ""
    seconds: float = 60.0
    output: str = "text"


def gate(options: Options, say: Callable[[str], Any], complain: Callable[[str], Any]) -> int:
    """Print the verdict and return its exit status: 0 passed, 1 blocked, 2 unknown, with the reason."""
    if options.output not in _FORMATS:
        complain(f"{options.output!r} is no format: write {', '.join(_FORMATS)}.")
        return policies.UNKNOWN
    try:
        exceptions_ = tuple(policies.Allowed.parse(one) for one in options.allow)
        if options.allow_file is not None:
            exceptions_ += policies.read_exceptions(options.allow_file)
        policy = policies.Policy(options.block.upper(), options.only_fixable, exceptions_)
        image = names.Image.parse(options.image)
        if isinstance(image, names.Image):
            complain(f"{options.image} names no version: end it with a tag or a digest.")
            return policies.UNKNOWN
        found: Scan | None = scans.on_demand(options.scan) if options.scan else _pushed(image, options.seconds)
        if found is not None and options.scan and not _is_of(found, image):
            complain(f"Could not tell: that scan is of {found.resource or 'an unknown image'}, not of {options.image}.")
            return policies.UNKNOWN
    except (policies.BadPolicy, names.BadName) as error:
        complain(str(error))
        return policies.UNKNOWN
    except _EXPECTED as error:
        complain(f"Could not tell: {_sentence(error)}")
        return policies.UNKNOWN
    verdict = policies.decide(found, policy, datetime.now(UTC).date())
    say(_FORMATS[options.output](verdict))
    return verdict.code


def _pushed(image: names.Tag | names.Digest, seconds: float) -> Scan:
    if isinstance(image, names.Tag):
        # Judge one digest, since the tag may move meanwhile.
        image = image.image.digest(registry.manifest(image).digest)
    return scans.wait(image, seconds)


def _is_of(scan: Scan, image: names.Tag | names.Digest) -> bool:
    """Return whether a scan on demand is of this image. Another image's scan must not let it pass."""
    return scan.resource.removeprefix("https://") == str(image)


def _sentence(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
