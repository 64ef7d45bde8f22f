"""Write Debian packages as one root file system, in a tar archive for `docker import`."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# /usr is merged: packages of older releases still carry these paths at the top. Two entries for one path are an error.
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
LEFT_OUT = (
    *("usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/"),
    *("usr/share/zoneinfo/right/", "usr/lib/x86_64-linux-gnu/gconv/", "usr/share/pixmaps/", "usr/share/applications/"),
)
PIP_CONF = "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\ndisable-pip-version-check = true\n"
CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def write(debs: list[Path], archive: Path, *, ca_bundle: bytes) -> None:
    """Write the files of the packages `debs` to `archive`, with the configuration that their scripts would have made.

    `ca_bundle` (PEM) becomes the system's CA bundle; pip is pointed to it, because the pip of older releases (before
    24.2) trusts only its own list. Every package is entered in /var/lib/dpkg as installed.
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        root = _Root(tar)
        for name, target in MERGED.items():
            root.folder(target)
            root.link(name, target)
        status = []
        for deb in debs:
            status.append(_unpack(deb, root))
        root.file("var/lib/dpkg/status", "\n".join(status).encode())
        _configure(root, ca_bundle)


class _Root:
    """A tar archive that is being written, and its paths."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._paths: dict[str, bytes] = {}
        self.small: dict[str, bytes] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    def add(self, member: tarfile.TarInfo, content: io.BufferedIOBase | None) -> None:
        if member.name in self._paths:
            return
        parent = member.name.rpartition("/")[0]
        if parent and parent not in self._paths:
            self.folder(parent)
        self._paths[member.name] = member.type
        self._tar.addfile(member, content)

    def folder(self, path: str, mode: int = 0o755) -> None:
        member = tarfile.TarInfo(path)
        member.type = tarfile.DIRTYPE
        member.mode = mode
        self.add(member, None)

    def link(self, path: str, target: str) -> None:
        member = tarfile.TarInfo(path)
        member.type = tarfile.SYMTYPE
        member.mode = 0o777
        member.linkname = target
        self.add(member, None)

    def file(self, path: str, content: bytes) -> None:
        member = tarfile.TarInfo(path)
        member.size = len(content)
        self.add(member, io.BytesIO(content))


@contextmanager
def _members(deb: Path, part: str) -> Iterator[tarfile.TarFile]:
    with subprocess.Popen(["dpkg-deb", part, str(deb)], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            yield tar
        # dpkg-deb dies of a closed pipe if the padding after the last entry isn't read
        if process.stdout is not None:
            process.stdout.read()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, ["dpkg-deb", part, str(deb)])


def _unpack(deb: Path, root: _Root) -> str:
    """Add one package's files, and return its stanza for the status of dpkg."""
    control: dict[str, bytes] = {}
    with _members(deb, "--ctrl-tarfile") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                control[_relative(member.name)] = content.read()
    fields = control["control"].decode().strip()
    name = _field(fields, "Package")
    if _field(fields, "Multi-Arch") == "same":
        name = f"{name}:{_field(fields, 'Architecture')}"
    listed = []
    with _members(deb, "--fsys-tarfile") as tar:
        for member in tar:
            path = _relative(member.name)
            listed.append(f"/{path}" if path else "/.")
            if not path or path in MERGED or _left_out(path):
                continue
            member.name = _merged(path)
            if member.islnk():
                member.linkname = _merged(_relative(member.linkname))
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None and member.name in _TEMPLATES:
                root.small[member.name] = content.read()
                content = io.BytesIO(root.small[member.name])
            root.add(member, content)  # type: ignore[arg-type]
    root.file(f"var/lib/dpkg/info/{name}.list", "".join(f"{path}\n" for path in listed).encode())
    if "md5sums" in control:
        root.file(f"var/lib/dpkg/info/{name}.md5sums", control["md5sums"])
    first, _, rest = fields.partition("\n")
    return f"{first}\nStatus: install ok installed\n{rest}\n"


# What the scripts of base-passwd and base-files would copy: source in the package, place in the system.
_TEMPLATES = {
    "usr/share/base-passwd/passwd.master": "etc/passwd",
    "usr/share/base-passwd/group.master": "etc/group",
    "usr/share/base-files/nsswitch.conf": "etc/nsswitch.conf",
    "usr/share/libc-bin/nsswitch.conf": "etc/nsswitch.conf",
}


def _configure(root: _Root, ca_bundle: bytes) -> None:
    for template, place in _TEMPLATES.items():
        if template in root.small:
            root.file(place, root.small[template])
    root.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    root.file(CA_BUNDLE, ca_bundle)
    # OpenSSL's default path
    root.link("usr/lib/ssl/cert.pem", f"/{CA_BUNDLE}")
    root.link("usr/lib/ssl/certs", "/etc/ssl/certs")
    root.file("etc/pip.conf", PIP_CONF.encode())
    root.file("etc/timezone", b"Etc/UTC\n")
    root.link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    root.link("usr/bin/sh", "dash")
    root.link("usr/bin/awk", "mawk")
    root.link("usr/bin/which", "which.debianutils")
    root.folder("tmp", 0o1777)
    root.folder("var/tmp", 0o1777)


def _relative(path: str) -> str:
    return path.removeprefix(".").strip("/")


def _merged(path: str) -> str:
    top, slash, rest = path.partition("/")
    return f"{MERGED[top]}/{rest}" if slash and top in MERGED else path


def _left_out(path: str) -> bool:
    if path.startswith("usr/share/doc/"):
        # copyright notices stay: the licences ask for it
        return not path.endswith("/copyright") and path.count("/") > 3
    return f"{path}/".startswith(LEFT_OUT)


def _field(control: str, name: str) -> str:
    for line in control.splitlines():
        if line.startswith(f"{name}: "):
            return line.partition(": ")[2].strip()
    return ""
