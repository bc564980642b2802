"""What each opcode of a pickle does to the machine of `unpickle`: a table of functions."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from .plain import Refused

if TYPE_CHECKING:
    from .unpickle import Machine

__all__ = ["END", "TABLE"]

MAX_INTEGER_BYTES = 64
# Bytes that things take in memory, roughly: a reference, an entry of a dictionary or an empty container, an object.
ITEM, ENTRY, OBJECT = 16, 100, 200
#: What the last opcode returns.
END = object()

Step: TypeAlias = "Callable[[Machine], object]"  # one opcode


def _proto(m: Machine) -> None:
    version = m.number(1)
    if version > 5:
        raise m.error(f"pickle protocol {version} is not known")


def _frame(m: Machine) -> None:
    if m.number(8) > m.end - m.at:
        raise m.error("a frame is longer than the file: the file is truncated")


def _mark(m: Machine) -> None:
    m.charge(ENTRY)
    m.marks.append(m.stack)
    m.stack = []


def _refuse(what: str) -> Step:
    def step(m: Machine) -> NoReturn:
        raise m.error(f"a reference to {what}, which no checkpoint has")

    return step


# ---- numbers ----


def _decimal(m: Machine, line: bytes) -> int:
    if len(line) > 2 * MAX_INTEGER_BYTES:
        raise m.error("an integer is longer than any checkpoint's")
    return int(line)


def _int(m: Machine) -> None:
    line = m.line()
    m.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _decimal(m, line))


def _long(width: int) -> Step:
    def step(m: Machine) -> None:
        count = m.number(width)
        if count > MAX_INTEGER_BYTES:
            raise m.error("an integer is longer than any checkpoint's")
        m.push(m.number(count, signed=True))

    return step


def _float(m: Machine) -> None:
    line = m.line()
    if len(line) > 400:
        raise m.error("a number is longer than any checkpoint's")
    m.push(float(line))


# ---- text and bytes ----


def _string(m: Machine) -> None:
    line = m.line()
    if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
        raise m.error("a string without quotes: the file is damaged")
    m.push(m.text(codecs.escape_decode(line[1:-1])[0], "latin-1"))


def _text(width: int, encoding: str = "utf-8", errors: str = "surrogatepass") -> Step:
    return lambda m: m.push(m.text(m.take(m.number(width)), encoding, errors))


def _bytes(width: int) -> Step:
    def step(m: Machine) -> None:
        raw = m.take(m.number(width))
        m.charge(len(raw))
        m.push(bytes(raw))

    return step


# ---- containers ----


def _sequence(kind: Callable[[Sequence[Any]], Any], count: int | None = None) -> Step:
    """A sequence of the last `count` objects, or of those above the mark."""

    def step(m: Machine) -> None:
        found = m.items() if count is None else m.top(count)
        m.charge(ENTRY + ITEM * len(found))
        m.push(kind(found))

    return step


def _onto(add: Callable[[Machine, Any, list[Any]], None], count: int | None = None) -> Step:
    """Take the last `count` objects, or those above the mark, and add them to the object below."""

    def step(m: Machine) -> None:
        found = m.items() if count is None else m.top(count)
        add(m, m.stack[-1], found)

    return step


def _dict(m: Machine) -> None:
    pairs = m.items()
    m.make({}, ENTRY)
    m.fill(m.stack[-1], pairs)


def _additems(m: Machine, target: Any, values: list[Any]) -> None:
    if isinstance(target, set):
        target.update(m.members(values))
    elif not isinstance(target, Refused):
        raise m.error("items are added to something that is not a set: the file is damaged")


# ---- objects ----


def _newobj_ex(m: Machine) -> None:
    builder, args, kwargs = m.top(3)
    if kwargs and not isinstance(builder, Refused):
        raise m.error("a constructor with named arguments that no checkpoint has")
    m.push(m.construct(builder, args))


def _obj(m: Machine) -> None:
    builder, *args = m.items()
    m.push(m.construct(builder, tuple(args)))


def _global(m: Machine) -> Any:
    return m.find(m.text(m.line(), "utf-8"), m.text(m.line(), "utf-8"))


_STEPS: dict[str, Step] = {
    "\x80": _proto,
    "\x95": _frame,
    ".": lambda m: END,
    "(": _mark,
    "0": lambda m: m.pop() if m.stack else m.items(),
    "1": lambda m: m.items(),
    "2": lambda m: m.push(m.stack[-1]),
    "N": lambda m: m.push(None),
    "\x88": lambda m: m.push(True),
    "\x89": lambda m: m.push(False),
    "I": _int,
    "L": lambda m: m.push(_decimal(m, m.line().removesuffix(b"L"))),
    "K": lambda m: m.push(m.number(1)),
    "M": lambda m: m.push(m.number(2)),
    "J": lambda m: m.push(m.number(4, signed=True)),
    "\x8a": _long(1),
    "\x8b": _long(4),
    "F": _float,
    "G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    "S": _string,
    "T": _text(4, "latin-1", "strict"),
    "U": _text(1, "latin-1", "strict"),
    "V": lambda m: m.push(m.text(m.line(), "raw-unicode-escape")),
    "\x8c": _text(1),
    "X": _text(4),
    "\x8d": _text(8),
    "C": _bytes(1),
    "B": _bytes(4),
    "\x8e": _bytes(8),
    "\x96": _bytes(8),  # a bytearray is read as bytes: nothing here changes it
    "]": lambda m: m.make([], ENTRY),
    "}": lambda m: m.make({}, ENTRY),
    ")": lambda m: m.push(()),
    "\x8f": lambda m: m.make(set(), OBJECT),
    "l": _sequence(list),
    "t": _sequence(tuple),
    "\x85": _sequence(tuple, 1),
    "\x86": _sequence(tuple, 2),
    "\x87": _sequence(tuple, 3),
    "d": _dict,
    "\x91": lambda m: m.make(frozenset(m.members(m.items())), OBJECT),
    "a": _onto(lambda m, target, values: m.extend(target, values), 1),
    "e": _onto(lambda m, target, values: m.extend(target, values)),
    "s": _onto(lambda m, target, pairs: m.fill(target, pairs), 2),
    "u": _onto(lambda m, target, pairs: m.fill(target, pairs)),
    "\x90": _onto(_additems),
    "b": _onto(lambda m, target, state: m.set_state(target, *state), 1),
    "p": lambda m: m.remember(_decimal(m, m.line())),
    "q": lambda m: m.remember(m.number(1)),
    "r": lambda m: m.remember(m.number(4)),
    "\x94": lambda m: m.remember(len(m.memo)),
    "g": lambda m: m.push(m.memo[_decimal(m, m.line())]),
    "h": lambda m: m.push(m.memo[m.number(1)]),
    "j": lambda m: m.push(m.memo[m.number(4)]),
    "c": lambda m: m.push(_global(m)),
    "\x93": lambda m: m.push(m.find(*m.top(2))),
    "R": lambda m: m.push(m.construct(*m.top(2))),
    "\x81": lambda m: m.push(m.construct(*m.top(2))),  # NEWOBJ: the same, class and arguments
    "\x92": _newobj_ex,
    "i": lambda m: m.push(m.construct(_global(m), tuple(m.items()))),
    "o": _obj,
    "Q": lambda m: m.push(m.outside(m.pop())),
    "P": lambda m: m.push(m.outside(m.text(m.line(), "utf-8"))),
    **dict.fromkeys("\x82\x83\x84", _refuse("a registry of extensions")),
    **dict.fromkeys("\x97\x98", _refuse("a buffer outside of the pickle")),
}
TABLE: list[Step | None] = [_STEPS.get(chr(code)) for code in range(256)]
