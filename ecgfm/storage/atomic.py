"""Files that are either the old one or the whole new one."""

import io
import os
import secrets
from contextlib import contextmanager

import numpy as np

__all__ = ["is_device", "replacing", "sync_folder", "write_npy", "write_text"]


def is_device(path):
    """Whether a path is no ordinary file, or a name such as /dev/stdout for whatever lies behind it."""
    folder = os.path.dirname(os.path.abspath(path))
    if folder in ("/dev", "/dev/fd") or folder.startswith("/proc"):
        return True
    return os.path.exists(path) and not os.path.isfile(path)


@contextmanager
def replacing(path):
    """Give a temporary file's path beside `path`; when the block ends well, it is synced and takes the place of `path`.

    If the block raises, the temporary file is removed and `path` stays what it was. What is no ordinary file, such as
    ``/dev/stdout``, is written to directly.
    """
    path = os.path.realpath(os.fspath(path))  # through a link, the file that it names is replaced
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.close(descriptor)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if os.path.exists(path):
            os.chmod(temporary, os.stat(path).st_mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def write_text(path, text):
    """Write a whole text file in UTF-8, with the line ends as they are in `text`.

    What UTF-8 can't hold (bytes of file names that are no text) is written as backslash escapes.
    """
    with replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)


def write_npy(path, array):
    """Write a whole ``.npy`` file.

    Not by ``np.save``, which on a full disk may leave the end of an array away without an error.
    """
    array = np.ascontiguousarray(array)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(head.getvalue())
            file.write(array.reshape(-1).view(np.uint8).data)


def sync_folder(path):
    """Put on the disk which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
