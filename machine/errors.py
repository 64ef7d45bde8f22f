"""Errors for what this machine lacks. Each message says what is missing and how to get it.

MachineError
├── EngineMissing        no Docker Engine answers and none can be started
├── EngineFailed         our private engine did not start or did not stop
├── DockerCliMissing     an engine answers, but there is no `docker` command
├── BaseImageMissing     no Python base image can be had
├── ArchiveRefused       an archive can't be downloaded or unpacked, or has another hash
├── PlatformUnknown      WORKBOOK_PLATFORM names a platform that the workbook doesn't know
└── EngineElsewhere      an engine answers that can't reach this machine's sandbox
"""

from __future__ import annotations


class MachineError(Exception):
    """This computer lacks something that the workbook needs. `str()` is the message for the learner."""


class EngineMissing(MachineError):
    """No Docker Engine answers and none can be started here."""


class EngineFailed(MachineError):
    """Our private Docker Engine did not start, or did not stop. The message names its log."""


class DockerCliMissing(MachineError):
    """An engine answers, but the `docker` command is not on the PATH."""


class BaseImageMissing(MachineError):
    """There is no Python base image, and none can be pulled or made."""


class ArchiveRefused(MachineError):
    """An archive can't be downloaded or unpacked, or has another hash."""


class EngineElsewhere(MachineError):
    """An engine answers, but can't reach the sandbox on this machine."""


class PlatformUnknown(MachineError):
    """WORKBOOK_PLATFORM names a platform that the workbook doesn't know."""
