"""Who is at work in a work folder: locks that end with the process that holds them, whatever ends it."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

from ._av import VideoError

try:
    import fcntl
except ImportError:  # Windows: nobody is refused
    fcntl = None

__all__ = ["Busy", "Lock", "others"]

# Of file systems without locks, where nobody is refused either.
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

# An hour's work should not be lost to who reads the name of the one who holds a lock.
LONGEST_NAME = 200


class Busy(VideoError):
    """Another process holds the lock."""


class Lock:
    """Held from when it is made until `release`. Its file names the holder and is there as long as the lock
    is, or, after a kill, longer.

    Raises:
        Busy: another one holds it, or another thread of this process; the message is who.
        OSError: the folder is not there, or not to be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._take()
            except BaseException:
                os.close(self._file)
                raise
            if self._is_current():
                break
            os.close(self._file)  # who released it has deleted it after it was opened here
        with suppress(OSError):  # a full disk
            os.ftruncate(self._file, 0)
            os.write(self._file, f"process {os.getpid()} on {socket.gethostname()}".encode())

    def release(self) -> None:
        """Once is enough, and more do no harm."""
        if self._file is None:
            return
        if self._is_current():
            self._path.unlink()
        os.close(self._file)
        self._file = None

    def _take(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(os.read(self._file, LONGEST_NAME).decode() or "another process") from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise

    def _is_current(self) -> bool:
        """Whether the file at the path is the one that is locked."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except FileNotFoundError:
            return False


def others(paths: list[Path]) -> str | None:
    """Who holds one of these locks; None where nobody does, and then the files are gone, too."""
    for path in paths:
        try:
            Lock(path).release()
        except Busy as busy:
            return str(busy)
    return None
