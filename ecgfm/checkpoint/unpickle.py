"""Reads a pickle as data. No code of the pickle or named by it is ever run.

A pickle is a program for a small stack machine. The dangerous part is that it may name any Python object and call it.
Here a name is only looked up in a fixed table of constructors that build plain data; every other name becomes an inert
placeholder that is recorded. The rest of the machine (protocols 0 to 5) is interpreted with bounds on everything that
a file claims. All pickles of a file share one `Budget` of steps and of memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from mmap import mmap
from typing import Any

from .._types import StrPath
from ..errors import CheckpointError
from .opcodes import END, ENTRY, ITEM, OBJECT, TABLE
from .plain import BUILDERS, INERT, MAX_REFUSED, Built, Refused

__all__ = ["Budget", "loads"]

# A checkpoint of 24 layers with the state of its optimizer takes 100,000 steps and makes 2 MB.
MAX_OPCODES = 1_000_000
MAX_MADE = 128 << 20
MAX_PICKLE = 64 << 20
MAX_LINE = 1 << 20
MAX_TUPLE_KEYS = 1000
_SCALARS = (str, int, float, bool, bytes, type(None))


class Budget:
    """What all pickles of one file may take together.

    Attributes
    ----------
    steps : int
        Opcodes that are left.
    made : int
        Bytes of memory that are left, by estimate.
    """

    def __init__(self, steps: int = MAX_OPCODES, made: int = MAX_MADE) -> None:
        self.steps, self.made = steps, made


def loads(
    data: bytes | mmap,
    start: int = 0,
    *,
    persistent_load: Callable[[Any], Any] | None = None,
    refused: dict[str, None] | None = None,
    path: StrPath | None = None,
    name: str = "pickle",
    size: int | None = None,
    budget: Budget | None = None,
) -> tuple[Any, int]:
    """Interpret one pickle.

    Parameters
    ----------
    data : bytes or mmap
        Holds the pickle.
    start : int
        Where it begins.
    persistent_load : callable, optional
        Given a persistent id, returns what it stands for.
    refused : dict, optional
        Gets a key for each ``module.name`` that became a placeholder.
    path, name : str
        For messages: the file and the part of it.
    size : int, optional
        Where `data` ends.
    budget : Budget, optional
        Shared with the other pickles of the file.

    Returns
    -------
    value : object
        As built: still to be made plain with `walk.plain`.
    end : int
        Where the byte after the pickle stands.

    Raises
    ------
    CheckpointError
        If the pickle is damaged, truncated, or beyond a limit.
    """
    budget = Budget() if budget is None else budget
    machine = Machine(data, start, size, persistent_load, {} if refused is None else refused, path, name, budget)
    return machine.run(), machine.at


class Machine:
    def __init__(
        self,
        data: bytes | mmap,
        start: int,
        size: int | None,
        persistent_load: Callable[[Any], Any] | None,
        refused: dict[str, None],
        path: StrPath | None,
        name: str,
        budget: Budget,
    ) -> None:
        self.data, self.at, self.end = data, start, len(data) if size is None else size
        self.start = start
        self.persistent_load, self.refused, self.path, self.name = persistent_load, refused, path, name
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.budget, self.tuple_keys = budget, 0

    def error(self, message: str) -> CheckpointError:
        field = f"{self.name}, byte {self.opcode_at - self.start}"
        return CheckpointError(message, path=self.path, field=field)

    def run(self) -> Any:
        budget = self.budget
        self.opcode_at = self.at
        table, data = TABLE, self.data
        while True:
            self.opcode_at = self.at
            if self.at >= self.end:
                raise self.error("the pickle ends in the middle: the file is truncated")
            if budget.steps <= 0 or self.at - self.start > MAX_PICKLE:
                raise self.error("the pickle is larger than any checkpoint's")
            budget.steps -= 1
            step = table[data[self.at]]
            self.at += 1
            if step is None:
                raise self.error(f"unknown opcode 0x{data[self.opcode_at]:02x}: the file is damaged or no checkpoint")
            try:
                if step(self) is END:
                    break
            except CheckpointError:
                raise
            # What a damaged program runs into: an empty stack, an absent memo, an object of another type than needed.
            except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
                raise self.error(f"the pickle is damaged ({type(error).__name__})") from None
        if self.marks or len(self.stack) != 1:
            raise self.error("the pickle ends with unused objects: the file is damaged")
        return self.stack.pop()

    # ---- bytes ----------------------------------------------------------------------------------

    def take(self, n: int) -> bytes:
        if n > self.end - self.at:
            raise self.error("the pickle ends in the middle: the file is truncated")
        if n > MAX_PICKLE:
            raise self.error("the pickle is larger than any checkpoint's")
        found = self.data[self.at : self.at + n]
        self.at += n
        return found

    def number(self, n: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(n), "little", signed=signed)

    def line(self) -> bytes:
        stop = self.data.find(b"\n", self.at, min(self.end, self.at + MAX_LINE))
        if stop < 0:
            raise self.error("a line does not end: the file is truncated or damaged")
        found = self.data[self.at : stop]
        self.at = stop + 1
        return found

    # ---- stack ----------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def make(self, value: Any, size: int) -> None:
        """Pay for a new object and push it."""
        self.charge(size)
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def top(self, count: int) -> list[Any]:
        """The last objects, which it removes; the topmost is the last."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def items(self) -> list[Any]:
        """What is above the last mark; removes both."""
        found = self.stack
        self.stack = self.marks.pop()
        return found

    def charge(self, size: int) -> None:
        """Pay for memory before it is taken: one large object may be copied again and again, and small bytes of a file
        make large objects."""
        self.budget.made -= size
        if self.budget.made < 0:
            raise self.error("the pickle makes more data than any checkpoint's")

    # ---- objects --------------------------------------------------------------------------------

    def find(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.error("the name of a class is not text: the file is damaged")
        found = BUILDERS.get((module, name))
        if found is not None:
            return found
        self.charge(OBJECT)
        full = f"{module[:200]}.{name[:200]}"[:200]
        return Refused(full) if (module, name) in INERT else self.refuse(full)

    def construct(self, builder: Any, args: Any) -> Any:
        if isinstance(builder, Refused):
            return builder
        if not callable(getattr(builder, "build", None)):
            raise self.error("a call of something that is not a constructor")
        if not isinstance(args, tuple):
            raise self.error("the arguments of a call are not a tuple: the file is damaged")
        self.charge(OBJECT)
        return builder.build(self, args)

    def refuse(self, name: str) -> Refused:
        """An inert placeholder for what is not made; recorded."""
        if len(self.refused) < MAX_REFUSED:
            self.refused[name] = None
        return Refused(name)

    def set_state(self, target: Any, state: Any) -> None:
        if isinstance(target, Built):
            target.set_state(self, state)
        # The state of anything else (hooks, metadata of a state dict) is not data that is needed.

    def extend(self, target: Any, values: Sequence[Any]) -> None:
        if isinstance(target, Refused):
            return
        if isinstance(target, list):
            self.charge(ITEM * len(values))
            target.extend(values)
        elif not isinstance(target, Built):
            raise self.error("items are added to something that is not a list: the file is damaged")

    def fill(self, target: Any, pairs: Sequence[Any]) -> None:
        if len(pairs) % 2:
            raise self.error("a key without a value: the file is damaged")
        if isinstance(target, Refused):
            return
        if not isinstance(target, dict):
            raise self.error("a key is set on something that is not a dictionary: the file is damaged")
        self.charge(ENTRY * len(pairs) // 2)
        for i in range(0, len(pairs), 2):
            if self.is_key(pairs[i]):
                target[pairs[i]] = pairs[i + 1]

    def is_key(self, key: Any) -> bool:
        """Whether a key may be in a dictionary or set; placeholders may not. Hashing must be cheap and must not
        collide by design: integers of 64 bits, and few tuples."""
        if isinstance(key, int):
            if -(1 << 63) <= key < 1 << 64:
                return True
        elif isinstance(key, _SCALARS):
            return True
        elif isinstance(key, Refused):
            return False
        elif isinstance(key, tuple) and len(key) <= 16 and all(isinstance(k, _SCALARS) for k in key):
            self.tuple_keys += 1
            if self.tuple_keys <= MAX_TUPLE_KEYS:
                return True
        raise self.error(f"a key of type {type(key).__name__} that no checkpoint has")

    def members(self, values: Any) -> list[Any]:
        self.charge(ENTRY * len(values))
        return [value for value in values if self.is_key(value)]

    def text(self, raw: bytes, encoding: str, errors: str = "strict") -> str:
        """Text of bytes; Python keeps a text with one wide character in four bytes for each."""
        self.charge(len(raw) if raw.isascii() else 4 * len(raw))
        return raw.decode(encoding, errors)

    def outside(self, key: Any) -> Any:
        """What a persistent id stands for."""
        if self.persistent_load is None:
            raise self.error("a reference to data outside of the pickle, where there is none")
        return self.persistent_load(key)

    def remember(self, key: int) -> None:
        self.charge(ENTRY)
        self.memo[key] = self.stack[-1]
