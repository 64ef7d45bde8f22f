"""Push the weights of a model as an artifact of their own, and pull them by digest when a server starts.

Media types and the annotation are ModelPack's, the CNCF's format for models in OCI registries
(https://github.com/modelpack/model-spec). A manifest has an `artifactType`, and each file is a layer without tar and
compression, since weights hardly get smaller.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from helpers import names, registry

ARTIFACT: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
LAYER: Final = "application/vnd.cncf.model.weight.v1.raw"
FILE_PATH: Final = "org.cncf.model.filepath"


class WeightsBroken(ValueError):
    """The registry returned the wrong content. The message says what differs."""


def push(tag: names.Tag, file: Path) -> names.Digest:
    """Push one file as a model's weights and return the digest of its manifest. Raises registry.RegistryRefused.

    The same file under the same name gives the same digest.
    """
    content = file.read_bytes()
    layer = registry.push_blob(tag.image, content, LAYER)
    layer["annotations"] = {FILE_PATH: file.name}
    config = {
        "descriptor": {"name": tag.image.path},
        "config": {"format": file.suffix.removeprefix(".")},
        "modelfs": {"type": "layers", "diffIds": [layer["digest"]]},
    }
    body = {
        "schemaVersion": 2,
        "mediaType": registry.MANIFEST,
        "artifactType": ARTIFACT,
        "config": registry.push_blob(tag.image, json.dumps(config).encode(), CONFIG),
        "layers": [layer],
        "annotations": {
            "org.opencontainers.image.title": tag.image.path,
            "org.opencontainers.image.version": tag.name,
        },
    }
    return registry.put_manifest(tag.image, tag.name, body)


def manifest(name: names.Tag | names.Digest, *, credentials: Any = None) -> dict[str, Any]:
    """Return a manifest as it is stored. Raises registry.RegistryRefused, and WeightsBroken for a wrong digest."""
    reference = name.value if isinstance(name, names.Digest) else name.name
    content = registry.get(name.image, f"manifests/{reference}", credentials=credentials)
    if isinstance(name, names.Digest):
        _require(content, name.value)
    body: dict[str, Any] = json.loads(content)
    return body


def pull(digest: names.Digest, folder: Path, *, credentials: Any = None) -> Path:
    """Pull weights by their digest, as a server does when it starts, check them, and return the file.

    Raises registry.RegistryRefused without the right to pull, and WeightsBroken for a wrong digest or anything other
    than one file of weights.
    """
    layers = manifest(digest, credentials=credentials).get("layers", [])
    if [one["mediaType"] for one in layers] != [LAYER]:
        raise WeightsBroken(f"{digest} is not one file of weights ({LAYER})")
    # Only the last part, because the name comes from outside and must not lead out of the folder.
    name = Path(layers[0].get("annotations", {}).get(FILE_PATH, "")).name
    file = folder / (name if name not in ("", "..") else "weights")
    content = registry.get(digest.image, f"blobs/{layers[0]['digest']}", credentials=credentials)
    _require(content, layers[0]["digest"])
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(content)
    return part.rename(file)


def _require(content: bytes, digest: str) -> None:
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if found != digest:
        raise WeightsBroken(f"{digest} was asked for, and {found} came")
