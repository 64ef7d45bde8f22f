"""The parent of one container's process, which starts it in its root, forwards signals, and kills what it leaves.

`engine.jail` runs this file as a program of its own, so it imports nothing of ours. It listens on a socket whose other
end the engine holds: a line `{"signal": 15}` is forwarded to the container. When the engine ends, even by SIGKILL, this
process kills everything below it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
import termios
from pathlib import Path
from typing import Any

_SET_DEATH_SIGNAL, _SET_SUBREAPER, _DROP_BOUND, _SET_SECCOMP, _NO_NEW_PRIVILEGES = 1, 36, 24, 22, 38
_NEW_MOUNTS = 0x20000
_BIND, _RECURSIVE, _PRIVATE, _REMOUNT, _READ_ONLY, _NO_DEVICES = 4096, 16384, 1 << 18, 32, 1, 4
_RESTRICTIONS, _DETACH = 15, 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
# Docker's default capabilities, by their numbers: chown … setpcap, net_bind_service, net_raw, sys_chroot, mknod, …
_KEPT_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_SHARED_MEMORY = "dev/shm"
# Here root could change the machine itself. Docker makes the same paths read-only.
_READ_ONLY_PLACES = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = [one.encode() if one else None for one in (source, target, kind)]
    if _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {target}: {os.strerror(number)}")


def _bind(source: str, target: str, *, read_only: bool = False) -> None:
    _mount(source, target, "", _BIND | _RECURSIVE)
    # Keep the source's restrictions: in a user namespace they may not be lifted.
    kept = os.statvfs(target).f_flag & _RESTRICTIONS
    _mount("", target, "", _BIND | _REMOUNT | kept | _NO_DEVICES | (_READ_ONLY if read_only else 0))


def _own_folder(path: str) -> None:
    """Make a folder of the root, in place of a link or file of the image: a link could lead out of the root."""
    if os.path.islink(path) or (os.path.lexists(path) and not Path(path).is_dir()):
        Path(path).unlink()
    Path(path).mkdir(exist_ok=True)


def _mounts(spec: dict[str, Any]) -> None:
    """Give the process mounts of its own: /proc, /dev, bind mounts, tmpfs, and a read-only root."""
    if _libc.unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    root = spec["root"]
    _mount("", "/", "", _RECURSIVE | _PRIVATE)
    _bind(root, root)
    for place in ("proc", "dev", "sys"):
        _own_folder(f"{root}/{place}")
    _bind("/proc", f"{root}/proc")
    for place in _READ_ONLY_PLACES:
        if Path(place).exists():
            _bind(place, f"{root}{place}", read_only=True)
    # Not recursive: control groups are mounted below it.
    _mount("/sys", f"{root}/sys", "", _BIND)
    _mount("", f"{root}/sys", "", _BIND | _REMOUNT | _READ_ONLY)
    _own_devices(root)
    for place in spec["tmpfs"]:
        _mount("tmpfs", f"{root}/{place}", "tmpfs", _NO_DEVICES, "mode=1777")
    for source, target, read_only in spec["binds"]:
        _bind(source, f"{root}/{target}", read_only=read_only)
    if spec["read_only"]:
        _mount("", root, "", _BIND | _REMOUNT | _READ_ONLY | _NO_DEVICES)


def _enter(root: str) -> None:
    """Make the folder the root of this mount namespace, since root can leave a mere chroot.

    Fall back to chroot if this process is in one itself: the kernel then refuses pivot_root.
    """
    number = _PIVOT_ROOT.get(os.uname().machine)
    os.chdir(root)
    if number is None or _libc.syscall(number, b".", b".") != 0:
        os.chroot(root)
    elif _libc.umount2(b".", _DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount")


def _own_devices(root: str) -> None:
    """Mount a /dev of its own, since root could delete devices in the machine's.

    Only the devices bound here can be opened: one that root makes could be the machine's disk.
    """
    _mount("tmpfs", f"{root}/dev", "tmpfs", _NO_DEVICES, "mode=755")
    for name in _DEVICES:
        Path(f"{root}/dev/{name}").touch()
        _mount(f"/dev/{name}", f"{root}/dev/{name}", "", _BIND)
    for name, target in _DEVICE_LINKS.items():
        Path(f"{root}/dev/{name}").symlink_to(target)
    for place in ("dev/pts", _SHARED_MEMORY):
        Path(f"{root}/{place}").mkdir()
    if Path("/dev/pts").is_dir():
        _mount("/dev/pts", f"{root}/dev/pts", "", _BIND)
        Path(f"{root}/dev/ptmx").symlink_to("pts/ptmx")
    _mount("tmpfs", f"{root}/{_SHARED_MEMORY}", "tmpfs", _NO_DEVICES, "mode=1777")


def _devices(root: str) -> None:
    """Make the usual devices with mknod, for use where nothing can be mounted."""
    _own_folder(f"{root}/dev")
    for name, (major, minor) in _DEVICES.items():
        path = Path(f"{root}/dev/{name}")
        if not path.exists():
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            path.chmod(0o666)
    for name, target in _DEVICE_LINKS.items():
        if not os.path.lexists(f"{root}/dev/{name}"):
            Path(f"{root}/dev/{name}").symlink_to(target)
    _own_folder(f"{root}/{_SHARED_MEMORY}")
    Path(f"{root}/{_SHARED_MEMORY}").chmod(0o1777)


def _become(spec: dict[str, Any]) -> None:
    """Enter the root as the requested user, if the way is `chroot`. With the others, their command does it."""
    if spec["mounts"]:
        _mounts(spec)
        _enter(spec["root"])
    else:
        _devices(spec["root"])
        os.chroot(spec["root"])
    os.chdir("/")
    for number in range(64):
        if number not in _KEPT_CAPABILITIES:
            _libc.prctl(_DROP_BOUND, number, 0, 0, 0)
    os.setgroups(spec["groups"])
    os.setgid(spec["gid"])
    os.setuid(spec["uid"])


def _hide_new_calls() -> None:
    """Make system calls that proot doesn't know fail with ENOSYS, so that programs use older ones that it translates.

    Debian's proot (5.1) doesn't translate the paths of statx, openat2, faccessat2 and fchmodat2, so `ls` would look
    outside the root.
    """
    statx = 291 if os.uname().machine == "aarch64" else 332
    missing = (statx, 437, 439, 452)
    # load the call's number; jump to the refusal (ENOSYS) at each of them; allow
    lines = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for place, number in enumerate(missing):
        lines.append(struct.pack("HBBI", 0x15, len(missing) - place, 0, number))
    lines += [struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000), struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 38)]
    program = ctypes.create_string_buffer(b"".join(lines))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(program)))
    _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if _libc.prctl(_SET_SECCOMP, 2, ctypes.c_ulong(ctypes.addressof(header)), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl: seccomp")


def _child(spec: dict[str, Any], failure: int, parent: int) -> None:
    try:
        os.setsid()
        _libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(137)
        if spec["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for name in signal.valid_signals():
            with contextlib.suppress(OSError, ValueError):
                signal.signal(name, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for name, soft, hard in spec["ulimits"]:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (soft, hard))
        os.umask(0o022)
        if spec["failure"]:
            text, code = spec["failure"]
            os.write(2, f"[FATAL tini ({os.getpid()})] {text}\n".encode())
            os._exit(code)
        if spec["way"] == "proot":
            if spec["own_devices"]:
                _devices(spec["root"])
            _hide_new_calls()
        if spec["way"] == "chroot":
            _become(spec)
            # Set after the change of user, which clears it.
            _libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            os.chdir(spec["cwd"])
        os.execvpe(spec["program"], spec["argv"], spec["env"])  # noqa: S606 - it is the container's own
    except BaseException as error:  # noqa: BLE001 - reported by the parent
        os.write(failure, str(error).encode()[:4000])
    os._exit(127)


def descendants(pid: int) -> list[int]:
    """Return the descendants of a process, nearest first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(name))
    found, queue = [], [pid]
    while queue:
        for child in children.get(queue.pop(0), ()):
            found.append(child)
            queue.append(child)
    return found


def _kill_below() -> None:
    """Kill all descendants, orphans included: this process is their reaper."""
    while True:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
            # Reap all that have ended before reading all of /proc again.
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def _signal(spec: dict[str, Any], child: int, number: int) -> None:
    """Forward a signal. proot and bwrap ignore most, so send it to the process that they started."""
    target = child
    if spec["way"] != "chroot":
        under = descendants(child)
        if under:
            target = under[spec["depth"] if len(under) > spec["depth"] else -1]
    with contextlib.suppress(ProcessLookupError):
        os.kill(child if number == signal.SIGKILL else target, number)


def main() -> None:
    """Start the process that the file `argv[1]` describes; `argv[2]` is the number of the engine's socket."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    control = socket.socket(fileno=int(sys.argv[2]))
    control.set_inheritable(False)
    _libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    failed_read, failed_write = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        _child(spec, failed_write, parent)
    os.close(failed_write)
    # The container's output ends with its last process, so this one must not keep it open.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    failure = b""
    while block := os.read(failed_read, 4096):
        failure += block
    first = {"failed": failure.decode("utf-8", "replace")} if failure else {"pid": child}
    control.sendall(json.dumps(first).encode() + b"\n")
    _serve(spec, control, wake_read, child)


def _serve(spec: dict[str, Any], control: socket.socket, wake: int, child: int) -> None:
    pending, passed = b"", 0
    while True:
        watched: list[Any] = [control, wake]
        ready, _, _ = select.select(watched, [], [])
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    pid, status = 0, 0
                if pid == child:
                    _kill_below()
                    code = os.waitstatus_to_exitcode(status)
                    if code == 255 and spec["way"] == "proot" and passed:
                        code = -passed  # proot reports 255 for a process that a signal ended
                    control.sendall(json.dumps({"exit": code if code >= 0 else 128 - code}).encode() + b"\n")
                    return
                if pid == 0:
                    break
        if control in ready:
            block = control.recv(4096)
            if not block:
                _kill_below()
                return
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                passed = int(json.loads(line)["signal"])
                _signal(spec, child, passed)


if __name__ == "__main__":
    main()
