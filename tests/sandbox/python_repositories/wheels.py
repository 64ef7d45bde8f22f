"""Wheels and source distributions, small and the same at every run."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

_DAY = (2026, 11, 2, 9, 0, 0)


def wheel(name: str, version: str, *, text: str = "", requires: str = ">=3.8", metadata: str = "") -> bytes:
    """A wheel with one module, which has the version in `VERSION`."""
    module = name.replace("-", "_").replace(".", "_").lower()
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f'VERSION = "{version}"\n{text}',
        f"{info}/METADATA": metadata
        or f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {requires}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_hash(content)},{len(content)}\n" for path, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path, _DAY), content)
    return made.getvalue()


def _hash(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


def wheel_name(name: str, version: str) -> str:
    """The file's name."""
    return f"{name.replace('-', '_').replace('.', '_').lower()}-{version}-py3-none-any.whl"


def sdist(name: str, version: str) -> bytes:
    """A source distribution with its metadata alone: it can be kept, not built."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for file, content in (("PKG-INFO", about), ("pyproject.toml", b"")):
            entry = tarfile.TarInfo(f"{name.replace('-', '_')}-{version}/{file}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(made.getvalue(), mtime=0)


def write(folder: Path, name: str, version: str, **more: str) -> Path:
    """Write a wheel into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / wheel_name(name, version)
    path.write_bytes(wheel(name, version, **more))
    return path
