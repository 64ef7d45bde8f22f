"""What this machine can lack. Each message says what is missing and how to get it.

MachineError
├── EngineMissing        no Docker Engine answers and none can be started
├── EngineFailed         our private engine did not start or did not stop
├── DockerCliMissing     an engine answers, but there is no `docker` command
├── BaseImageMissing     no Python base image can be had
├── ArchiveRefused       an archive can't be downloaded or unpacked, or isn't the one that was meant
├── PlatformUnknown      WORKBOOK_PLATFORM names a platform that the workbook doesn't know
└── EngineElsewhere      an engine answers that can't reach this machine's sandbox
"""

from __future__ import annotations


class MachineError(Exception):
    """Something that this computer must have is missing. `str()` is meant for the learner."""


class EngineMissing(MachineError):
    """No Docker Engine answers and none can be started here."""


class EngineFailed(MachineError):
    """Our private Docker Engine did not start, or did not stop. The message names its log."""


class DockerCliMissing(MachineError):
    """An engine answers, but the `docker` command is not on the PATH."""


class BaseImageMissing(MachineError):
    """No Python base image can be had: none is there, none can be pulled and none can be made."""


class ArchiveRefused(MachineError):
    """An archive can't be downloaded or unpacked, or isn't the one that was meant."""


class EngineElsewhere(MachineError):
    """An engine answers, and can't reach the sandbox on this machine."""


class PlatformUnknown(MachineError):
    """WORKBOOK_PLATFORM names a platform that the workbook doesn't know."""
