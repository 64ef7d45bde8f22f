"""What the standard library has no word for: directories that survive a power cut, and writing that starts early."""

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
    """Have the kernel begin to write what a file has in memory, so that a sync at its end has little to wait for.

    Best effort: where it is unavailable or fails, the later fsync does the work and reports errors. Linux's
    sync_file_range(2).

    Args:
        file: descriptor.
    """
    if _sync_file_range:
        _sync_file_range(file, 0, 0, _SYNC_FILE_RANGE_WRITE)
