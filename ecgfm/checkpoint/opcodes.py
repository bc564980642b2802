"""What each opcode of a pickle does to the machine of `unpickle`: a table of functions."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
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

TABLE: list[Step | None] = [None] * 256


def _opcode(code: str) -> Callable[[Step], Step]:
    def put(function: Step) -> Step:
        TABLE[ord(code)] = function
        return function

    return put


@_opcode("\x80")
def _proto(m: Machine) -> None:
    version = m.number(1)
    if version > 5:
        raise m.error(f"pickle protocol {version} is not known")


@_opcode("\x95")
def _frame(m: Machine) -> None:
    if m.number(8) > m.end - m.at:
        raise m.error("a frame is longer than the file: the file is truncated")


@_opcode(".")
def _stop(m: Machine) -> object:
    return END


@_opcode("(")
def _mark(m: Machine) -> None:
    m.charge(ENTRY)
    m.marks.append(m.stack)
    m.stack = []


@_opcode("0")
def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.items()


@_opcode("1")
def _pop_mark(m: Machine) -> None:
    m.items()


@_opcode("2")
def _dup(m: Machine) -> None:
    m.push(m.stack[-1])


def _constant(value: object) -> Step:
    return lambda m: m.stack.append(value)


for _code, _value in (("N", None), ("\x88", True), ("\x89", False)):
    _opcode(_code)(_constant(_value))


@_opcode("I")
def _int(m: Machine) -> None:
    line = m.line()
    m.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _decimal(m, line))


@_opcode("L")
def _long(m: Machine) -> None:
    m.push(_decimal(m, m.line().removesuffix(b"L")))


def _decimal(m: Machine, line: bytes) -> int:
    if len(line) > 2 * MAX_INTEGER_BYTES:
        raise m.error("an integer is longer than any checkpoint's")
    return int(line)


@_opcode("K")
def _binint1(m: Machine) -> None:
    m.push(m.number(1))


@_opcode("M")
def _binint2(m: Machine) -> None:
    m.push(m.number(2))


@_opcode("J")
def _binint(m: Machine) -> None:
    m.push(int.from_bytes(m.take(4), "little", signed=True))


@_opcode("\x8a")
def _long1(m: Machine) -> None:
    _push_long(m, m.number(1))


@_opcode("\x8b")
def _long4(m: Machine) -> None:
    _push_long(m, m.number(4))


def _push_long(m: Machine, n: int) -> None:
    if n > MAX_INTEGER_BYTES:
        raise m.error("an integer is longer than any checkpoint's")
    m.push(int.from_bytes(m.take(n), "little", signed=True))


@_opcode("F")
def _float(m: Machine) -> None:
    line = m.line()
    if len(line) > 400:
        raise m.error("a number is longer than any checkpoint's")
    m.push(float(line))


@_opcode("G")
def _binfloat(m: Machine) -> None:
    m.push(struct.unpack(">d", m.take(8))[0])


@_opcode("S")
def _string(m: Machine) -> None:
    line = m.line()
    if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
        raise m.error("a string without quotes: the file is damaged")
    m.push(m.text(codecs.escape_decode(line[1:-1])[0], "latin-1"))


@_opcode("T")
def _binstring(m: Machine) -> None:
    m.push(m.text(m.take(m.number(4)), "latin-1"))


@_opcode("U")
def _short_binstring(m: Machine) -> None:
    m.push(m.text(m.take(m.number(1)), "latin-1"))


@_opcode("V")
def _unicode(m: Machine) -> None:
    m.push(m.text(m.line(), "raw-unicode-escape"))


def _text(width: int) -> Step:
    return lambda m: m.push(m.text(m.take(m.number(width)), "utf-8", "surrogatepass"))


def _bytes(width: int) -> Step:
    def put(m: Machine) -> None:
        raw = m.take(m.number(width))
        m.charge(len(raw))
        m.push(bytes(raw))

    return put


for _code, _width in (("\x8c", 1), ("X", 4), ("\x8d", 8)):
    _opcode(_code)(_text(_width))
for _code, _width in (("C", 1), ("B", 4), ("\x8e", 8)):
    _opcode(_code)(_bytes(_width))
# A bytearray is read as bytes: nothing here changes it.
_opcode("\x96")(_bytes(8))


@_opcode("]")
def _empty_list(m: Machine) -> None:
    m.charge(ENTRY)
    m.push([])


@_opcode("}")
def _empty_dict(m: Machine) -> None:
    m.charge(ENTRY)
    m.push({})


@_opcode(")")
def _empty_tuple(m: Machine) -> None:
    m.push(())


@_opcode("\x8f")
def _empty_set(m: Machine) -> None:
    m.charge(OBJECT)
    m.push(set())


@_opcode("l")
def _list(m: Machine) -> None:
    found = m.items()
    m.charge(ENTRY + ITEM * len(found))
    m.push(found)


@_opcode("t")
def _tuple(m: Machine) -> None:
    found = m.items()
    m.charge(ENTRY + ITEM * len(found))
    m.push(tuple(found))


@_opcode("d")
def _dict(m: Machine) -> None:
    pairs = m.items()
    made: dict[Any, Any] = {}
    m.charge(ENTRY)
    m.fill(made, pairs)
    m.push(made)


@_opcode("\x91")
def _frozenset(m: Machine) -> None:
    m.charge(OBJECT)
    made = frozenset(m.members(m.items()))
    m.push(made)


@_opcode("\x85")
def _tuple1(m: Machine) -> None:
    m.charge(ENTRY)
    m.push((m.pop(),))


@_opcode("\x86")
def _tuple2(m: Machine) -> None:
    m.charge(ENTRY)
    b, a = m.pop(), m.pop()
    m.push((a, b))


@_opcode("\x87")
def _tuple3(m: Machine) -> None:
    m.charge(ENTRY)
    c, b, a = m.pop(), m.pop(), m.pop()
    m.push((a, b, c))


@_opcode("a")
def _append(m: Machine) -> None:
    value = m.pop()
    m.extend(m.stack[-1], [value])


@_opcode("e")
def _appends(m: Machine) -> None:
    values = m.items()
    m.extend(m.stack[-1], values)


@_opcode("s")
def _setitem(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.fill(m.stack[-1], [key, value])


@_opcode("u")
def _setitems(m: Machine) -> None:
    pairs = m.items()
    m.fill(m.stack[-1], pairs)


@_opcode("\x90")
def _additems(m: Machine) -> None:
    values, target = m.items(), m.stack[-1]
    if isinstance(target, set):
        target.update(m.members(values))
    elif not isinstance(target, Refused):
        raise m.error("items are added to something that is no set: the file is damaged")


@_opcode("p")
def _put(m: Machine) -> None:
    m.remember(_decimal(m, m.line()))


@_opcode("q")
def _binput(m: Machine) -> None:
    m.remember(m.number(1))


@_opcode("r")
def _long_binput(m: Machine) -> None:
    m.remember(m.number(4))


@_opcode("\x94")
def _memoize(m: Machine) -> None:
    m.remember(len(m.memo))


@_opcode("g")
def _get(m: Machine) -> None:
    m.push(m.memo[_decimal(m, m.line())])


@_opcode("h")
def _binget(m: Machine) -> None:
    m.push(m.memo[m.number(1)])


@_opcode("j")
def _long_binget(m: Machine) -> None:
    m.push(m.memo[m.number(4)])


@_opcode("c")
def _global(m: Machine) -> None:
    module, name = m.text(m.line(), "utf-8"), m.text(m.line(), "utf-8")
    m.push(m.find(module, name))


@_opcode("\x93")
def _stack_global(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    m.push(m.find(module, name))


@_opcode("R")
def _reduce(m: Machine) -> None:
    args, builder = m.pop(), m.pop()
    m.push(m.construct(builder, args))


_opcode("\x81")(_reduce)  # NEWOBJ: the same, class and arguments


@_opcode("\x92")
def _newobj_ex(m: Machine) -> None:
    kwargs, args, builder = m.pop(), m.pop(), m.pop()
    if kwargs and not isinstance(builder, Refused):
        raise m.error("a constructor with named arguments that no checkpoint has")
    m.push(m.construct(builder, args))


@_opcode("i")
def _inst(m: Machine) -> None:
    module, name = m.text(m.line(), "utf-8"), m.text(m.line(), "utf-8")
    args = tuple(m.items())
    m.push(m.construct(m.find(module, name), args))


@_opcode("o")
def _obj(m: Machine) -> None:
    builder, *args = m.items()
    m.push(m.construct(builder, tuple(args)))


@_opcode("b")
def _build(m: Machine) -> None:
    state = m.pop()
    m.set_state(m.stack[-1], state)


@_opcode("Q")
def _binpersid(m: Machine) -> None:
    _push_persistent(m, m.pop())


@_opcode("P")
def _persid(m: Machine) -> None:
    _push_persistent(m, m.text(m.line(), "utf-8"))


def _push_persistent(m: Machine, key: Any) -> None:
    if m.persistent_load is None:
        raise m.error("a reference to data outside of the pickle, where there is none")
    m.push(m.persistent_load(key))


def _extension(m: Machine) -> NoReturn:
    raise m.error("a reference to a registry of extensions, which no checkpoint has")


def _outside(m: Machine) -> NoReturn:
    raise m.error("a reference to a buffer outside of the pickle, which no checkpoint has")


for _code in "\x82\x83\x84":
    _opcode(_code)(_extension)
for _code in "\x97\x98":
    _opcode(_code)(_outside)
