"""The zip container of a .pt file, read strictly.

torch writes its members uncompressed, so that a storage is read when it is asked for. Everything that the directory of
the archive says is checked against the local headers and the size of the file before it is used. Only what torch or an
ordinary zip program writes is accepted: one disk, stored or deflated members, no encryption.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError
from ..storage.inputs import check_inflation
from .plain import Refused, Storage, storage_key
from .storage import DTYPES, Deflated, File, Stored
from .unpickle import MAX_PICKLE, loads

__all__ = ["Archive", "read_zip"]

MAX_MEMBERS = 200_000
MAX_NAME = 1024
MAX_INFLATED = 4 << 30
MAX_SMALL = 4096
MAX_DIRECTORY = 64 << 20

_LOCAL, _CENTRAL, _END, _END64, _LOCATOR64 = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_STORED, _DEFLATED = 0, 8
_TAIL = 65557 + 20  # the longest end of an archive, and the 64-bit locator before it
_ENCRYPTED = 0x1 | 0x40 | 0x2000


@dataclass
class _Member:
    name: str
    method: int
    crc: int
    packed: int
    size: int
    header: int
    start: int = -1


class Archive:
    """The members of a zip archive.

    Parameters
    ----------
    file : storage.File

    Raises
    ------
    CheckpointError
        If the archive is damaged, contradicts itself, or uses what no checkpoint needs.
    """

    def __init__(self, file: File) -> None:
        self.file, self.path = file, file.path
        self.members: dict[str, _Member] = {}
        directory, size, count = self._find_directory()
        self._read_directory(directory, size, count)
        self._check_places(directory)
        self._check_sizes()

    def _error(self, message: str, field: str | None = None) -> CheckpointError:
        return CheckpointError(message, path=self.path, field=field)

    def _refuse_if(self, field: str | None, *checks: tuple[bool, str]) -> None:
        """Raise with the message of the first check that holds."""
        for wrong, message in checks:
            if wrong:
                raise self._error(message, field)

    def _find_directory(self) -> tuple[int, int, int]:
        """Where the central directory is, its size and number of entries."""
        before = max(0, self.file.size - _TAIL)
        data = self.file[before:]
        end = data.rfind(_END, max(0, len(data) - 65557))
        if end < 0 or end + 22 > len(data):
            raise CheckpointError(
                "the archive has no directory at its end: the file is truncated or still being written",
                path=self.path,
                remedy="Copy or download it again",
            )
        disk, start_disk, here, count, length, start, comment = struct.unpack_from("<4H2LH", data, end + 4)
        if end + 22 + comment != len(data):
            raise self._error("there is something after the end of the archive")
        limit = before + end
        if end >= 20 and data[end - 20 : end - 16] == _LOCATOR64:
            _, end64, disks = struct.unpack_from("<LQL", data, end - 16)
            wide = self.file[end64 : end64 + 56] if end64 <= limit - 76 else b""
            if disks != 1 or wide[:4] != _END64:
                raise self._error("the archive's 64-bit directory is damaged")
            here, count, length, start = struct.unpack_from("<4Q", wide, 24)
            limit = end64
        parts = here != count or (disk, start_disk) not in ((0, 0), (0xFFFF, 0xFFFF))
        outside = start > limit or length > limit - start or count * 46 > length
        self._refuse_if(
            None,
            (parts, "the archive is one of several parts"),
            (outside, "the archive's directory lies outside of the file"),
            (length > MAX_DIRECTORY, f"the archive's directory takes {length} bytes, at most {MAX_DIRECTORY} are read"),
            (count > MAX_MEMBERS, f"the archive has {count} members, at most {MAX_MEMBERS} are read"),
        )
        return start, length, count

    def _read_directory(self, at: int, size: int, count: int) -> None:
        data, at, stop = self.file[at : at + size], 0, size
        for _ in range(count):
            if stop - at < 46 or data[at : at + 4] != _CENTRAL:
                raise self._error("the archive's directory is damaged")
            flags, method = struct.unpack_from("<2H", data, at + 8)
            crc, packed, length, n, m, k, disk = struct.unpack_from("<3L4H", data, at + 16)
            (header,) = struct.unpack_from("<L", data, at + 42)
            if stop - at < 46 + n + m + k:
                raise self._error("the archive's directory is damaged")
            name = self._name(data[at + 46 : at + 46 + n])
            packed, length, header = self._sizes64(data[at + 46 + n : at + 46 + n + m], packed, length, header, name)
            at += 46 + n + m + k
            self._refuse_if(
                name,
                (flags & _ENCRYPTED != 0, "the member is encrypted"),
                (
                    method not in (_STORED, _DEFLATED),
                    f"the member is compressed by method {method}, which is not known",
                ),
                (method == _STORED and packed != length, "an uncompressed member has two sizes"),
                (disk not in (0, 0xFFFF), "the archive is one of several parts"),
                (name in self.members, "two members have this name"),
            )
            self.members[name] = _Member(name, method, crc, packed, length, header)
        if at != stop:
            raise self._error("the archive's directory is longer than its entries")

    def _name(self, raw: bytes) -> str:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self._error("the name of a member is not text") from None
        parts = name.split("/")
        if not 0 < len(name) <= MAX_NAME or not name.isprintable() or "\\" in name or ".." in parts or parts[0] == "":
            raise self._error(f"a member has the impossible name {name[:60]!r}")
        return name

    def _sizes64(self, extra: bytes, packed: int, length: int, header: int, name: str) -> tuple[int, int, int]:
        """The sizes and the place of a member; those that don't fit 32 bits are in an extra field."""
        wide = [value == 0xFFFFFFFF for value in (length, packed, header)]
        if not any(wide):
            return packed, length, header
        at = 0
        while at + 4 <= len(extra):
            kind, size = struct.unpack_from("<2H", extra, at)
            if kind == 1:
                need = 8 * sum(wide)
                if size < need or at + 4 + need > len(extra):
                    break
                found = iter(struct.unpack_from(f"<{sum(wide)}Q", extra, at + 4))
                length, packed, header = (
                    next(found) if is_wide else value for is_wide, value in zip(wide, (length, packed, header))
                )
                return packed, length, header
            at += 4 + size
        raise self._error("the member's 64-bit sizes are missing", name)

    def _check_places(self, directory: int) -> None:
        """Find where the bytes of each member are: inside of the file, and no two at the same place."""
        before = 0
        for member in sorted(self.members.values(), key=lambda m: m.header):
            at = member.header
            if at < before:
                raise self._error("the member overlaps another one", member.name)
            name = member.name.encode()
            head = self.file[at : at + 30 + len(name)] if at + 30 <= directory else b""
            if head[:4] != _LOCAL or len(head) < 30:
                raise self._error("the member's header is not where the directory says", member.name)
            flags, method = struct.unpack_from("<2H", head, 6)
            n, m = struct.unpack_from("<2H", head, 26)
            member.start = at + 30 + n + m
            before = member.start + member.packed
            contradicts = method != member.method or flags & _ENCRYPTED != 0
            self._refuse_if(
                member.name,
                (before > directory, "the member reaches beyond the end of the file"),
                (contradicts, "the member's header contradicts the directory"),
                (n != len(name) or head[30:] != name, "the member's header has another name than the directory"),
            )

    def _check_sizes(self) -> None:
        """Refuse members that are said to inflate to far more than they are, each and all together."""
        deflated = [m for m in self.members.values() if m.method == _DEFLATED]
        packed, size = sum(m.packed for m in deflated), sum(m.size for m in deflated)
        if size > MAX_INFLATED:
            raise self._error(f"the archive would inflate to {size} bytes, at most {MAX_INFLATED} are read")
        for m in deflated:
            check_inflation(m.packed, m.size, path=self.path, field=m.name, error=CheckpointError, held=True)
        field = "all members together"
        check_inflation(packed, size, path=self.path, field=field, error=CheckpointError, held=True)

    def source(self, name: str) -> Stored | Deflated:
        """The bytes of a member, read or inflated on demand."""
        member = self.members[name]
        if member.method == _STORED:
            return Stored(self.file, member.start, member.size)
        return Deflated(self.file, member.start, member.packed, member.size, member.crc, name)

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a small member, checked against its checksum (which torch may leave out as 0)."""
        member = self.members[name]
        if member.size > limit:
            raise self._error(f"the member has {member.size} bytes, at most {limit} are read", name)
        found = self.source(name).view().tobytes()
        if member.crc and zlib.crc32(found) != member.crc:
            raise self._error("the checksum is wrong: the file is damaged", name)
        return found

    def verify(self) -> bool:
        """Check every member against its checksum; whether one has any (torch may leave them out as 0).

        Raises
        ------
        CheckpointError
            If one differs.
        """
        for name, member in self.members.items():
            if member.crc or member.method == _DEFLATED:
                crc = 0
                for piece in self.source(name).pieces():
                    crc = zlib.crc32(piece, crc)
                if crc != member.crc and member.crc:
                    raise self._error("the checksum is wrong: the file is damaged", name)
        return any(member.crc for member in self.members.values())


def read_zip(file: File, refused: dict[str, None]) -> tuple[Any, Archive]:
    """The object of a .pt file in a zip archive, not yet plain, and the archive.

    Raises
    ------
    CheckpointError
    """
    archive = Archive(file)
    root = _root(archive)
    order = "little"
    if root + "byteorder" in archive.members:
        order = archive.read(root + "byteorder", MAX_SMALL).decode("latin-1").strip()
        if order not in ("little", "big"):
            raise archive._error(f"the byte order {order[:20]!r} is neither little nor big", root + "byteorder")
    storages = {}

    def storage(key: Any) -> Storage | Refused:
        """What a persistent id ("storage", type, key, location, count) stands for."""
        kind, number, count = storage_key(key, lambda message: archive._error(message, root + "data.pkl"))
        if isinstance(kind, Refused):
            return kind
        name = f"{root}data/{number}"
        if name not in archive.members:
            raise archive._error("the archive lacks this member", name[:MAX_NAME])
        size = archive.members[name].size
        if count * DTYPES[kind.kind][1] != size:
            raise archive._error(f"the storage claims {count} elements of {kind.kind} and has {size} bytes", name)
        if name not in storages:
            storages[name] = archive.source(name)
        return Storage(storages[name], kind.kind, count, number, order == "big")

    name = root + "data.pkl"
    pickle = archive.read(name, MAX_PICKLE)
    found, _ = loads(pickle, persistent_load=storage, refused=refused, path=file.path, name=name)
    return found, archive


def _root(archive: Archive) -> str:
    """The folder of the archive that holds data.pkl, with its slash."""
    found = [name for name in archive.members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(found) != 1:
        raise CheckpointError(
            "the archive has no data.pkl in its one folder: it was not written by torch.save"
            if not found
            else "the archive has more than one data.pkl",
            path=archive.path,
        )
    root: str = found[0][: -len("data.pkl")]
    if root + "constants.pkl" in archive.members:
        raise CheckpointError("this is a TorchScript archive, which holds code, not a checkpoint", path=archive.path)
    return root
