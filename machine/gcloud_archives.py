"""The Google Cloud CLI that the set-up may download: one version, an archive for each platform, and its SHA-256.

Google publishes the hashes of the newest version only. These are nixpkgs' pins of version 537.0.0, in
`pkgs/by-name/go/google-cloud-sdk/data.nix` at commit 14f16e1bd657f0e7102d002c64d549581b75aeca, turned from its base 32
into hexadecimal. It is the nearest version to that of docs/recorded_with.json for which hashes were found.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

VERSION: Final = "537.0.0"
_FOLDER: Final = "https://dl.google.com/dl/cloudsdk/channels/rapid/downloads"
# Google's name for the platform, by `platform.system()` and `platform.machine()`.
_PLATFORMS: Final = {
    ("Linux", "x86_64"): "linux-x86_64",
    ("Linux", "aarch64"): "linux-arm",
    ("Darwin", "arm64"): "darwin-arm",
    ("Darwin", "x86_64"): "darwin-x86_64",
}
_SHA256: Final = {
    "linux-x86_64": "968ddb4ee4bd700a9d900fb6f8e72b81a2c4ce044336bc5dd1ba7caa820b4220",
    "linux-arm": "a681064b97e2d71bd01e499fdddc4e6bf207a8e0b7109a14f88dbe3a7a4ff29b",
    "darwin-arm": "c0e4b4dc598b06569efa8303efb5ceb3ebf3f7a6814a2a533db31efecc6db440",
    "darwin-x86_64": "16aa4e94d2333309ff1e3c8784e0f978d15f3958f06fe4333e3e12e7dbdac857",
}


@dataclass(frozen=True)
class Archive:
    """An archive's address, or its path on this machine, and its hash."""

    place: str
    sha256: str

    @property
    def is_remote(self) -> bool:
        """Whether it has to be downloaded."""
        return self.place.startswith(("http://", "https://"))


def official(system: str | None = None, machine: str | None = None) -> Archive | None:
    """Return Google's archive for this platform or the named one, or None."""
    name = _PLATFORMS.get((system or platform.system(), machine or platform.machine()))
    if name is None:
        return None
    return Archive(f"{_FOLDER}/google-cloud-sdk-{VERSION}-{name}.tar.gz", _SHA256[name])
