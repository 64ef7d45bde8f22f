"""File operations that the standard library lacks: syncing a directory, and starting to write a file early."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a power cut. Blocking."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def start_writing(file: int) -> None:
    """Have the kernel start writing a file's pages, so that the fsync at its end takes less time.

    Best effort, by Linux's sync_file_range(2): if it is unavailable or fails, the later fsync does the work and reports
    errors. `file` is a descriptor.
    """
    if _sync_file_range:
        _sync_file_range(file, 0, 0, _SYNC_FILE_RANGE_WRITE)
