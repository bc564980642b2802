"""The container that torch.save wrote before the zip archive.

Five pickles in a row (a magic number, the version, facts on the writing machine, the object, the list of storage keys),
then the storages in the order of that list: the number of elements as 8 bytes and the raw elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import CheckpointError
from .plain import Refused, Storage, storage_key
from .storage import DTYPES, File, Stored
from .unpickle import MAX_PICKLE, Budget, loads

__all__ = ["MAGIC", "read_legacy"]

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
_NUMBER_STEPS = 10  # opcodes of a pickle of one number


def read_legacy(file: File, refused: dict[str, None]) -> Any:
    """The object of a .pt file in the old container, not yet plain.

    Raises
    ------
    CheckpointError
    """

    def error(message: str, field: str | None = None) -> CheckpointError:
        return CheckpointError(message, path=file.path, field=field)

    budget, head = Budget(), file[:MAX_PICKLE]

    def pickle(
        name: str, at: int, persistent_load: Callable[[Any], Any] | None = None, budget: Budget = budget
    ) -> tuple[Any, int]:
        options: dict[str, Any] = {
            "refused": refused,
            "path": file.path,
            "name": name,
            "size": len(head),
            "budget": budget,
        }
        return loads(head, at, persistent_load=persistent_load, **options)

    magic, at = pickle("magic number", 0, budget=Budget(_NUMBER_STEPS))
    version, at = pickle("version", at, budget=Budget(_NUMBER_STEPS))
    if magic != MAGIC or version != VERSION or type(version) is not int:
        raise error("not a checkpoint: the magic number or the version is not that of torch.save")
    # The facts on the machine say nothing that is needed: torch always wrote this container in little endian.
    _, at = pickle("system", at)
    storages = {}

    def storage(key: Any) -> Any:
        if isinstance(key, tuple) and len(key) > 1 and key[0] == "module":
            return key[1]
        kind, name, count = storage_key(key, lambda message: error(message, "object"))
        if isinstance(kind, Refused):
            raise error("a storage of an unknown type, whose length is therefore not known", "object")
        if len(key) > 6:
            raise error("a reference to something that is not a storage", "object")
        if name not in storages:
            # Its place is known once the object has been read.
            storages[name] = (kind.kind, count, Stored(file, None, count * DTYPES[kind.kind][1]))
        known, total, source = storages[name]
        if (known, total) != (kind.kind, count):
            raise error(f"storage {name[:50]} is described in two ways", "object")
        first = 0
        view = key[5] if len(key) == 6 else None
        if view is not None:
            _, first, count = view if isinstance(view, tuple) and len(view) == 3 else (None, -1, -1)
            if type(first) is not int or type(count) is not int or not 0 <= first <= first + count <= total:
                raise error(f"a part of storage {name[:50]} lies outside of it", "object")
        return Storage(source, known, count, name, first=first)

    value, at = pickle("object", at, storage)
    keys, at = pickle("storage keys", at)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
        raise error("the list of storages is damaged", "storage keys")
    _find_storages(file, at, keys, storages, error)
    return value


def _find_storages(
    file: File,
    at: int,
    keys: list[str],
    storages: dict[str, tuple[str, int, Stored]],
    error: Callable[..., CheckpointError],
) -> None:
    """Set the place of each storage in the file."""
    for key in keys:
        field = f"storage {key[:50]}"
        if key not in storages:
            raise error("no tensor refers to this storage", field)
        _, total, source = storages[key]
        if file.size - at < 8 + source.length:
            raise error(f"the file ends before the {source.length} bytes of this storage: it is truncated", field)
        count = int.from_bytes(file[at : at + 8], "little")
        if count != total:
            raise error(f"the storage has {count} elements, its tensors claim {total}", field)
        source.start = at + 8
        at += 8 + source.length
    missing = storages.keys() - set(keys)
    if missing:
        raise error("the file lacks this storage", f"storage {min(missing)[:50]}")
