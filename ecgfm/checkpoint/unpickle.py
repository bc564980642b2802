"""Reads a pickle as data. No code of the pickle or named by it is ever run.

A pickle is a program for a small stack machine. The dangerous part is that it may name any Python object and call it.
Here a name is only looked up in a fixed table of constructors that build plain data; every other name becomes an inert
placeholder that is recorded. The rest of the machine (protocols 0 to 5) is interpreted with bounds on everything that
a file claims. All pickles of a file share one `Budget` of steps and of memory.
"""

import codecs
import struct

from ..errors import CheckpointError
from .plain import BUILDERS, INERT, MAX_REFUSED, Built, Refused

__all__ = ["Budget", "loads"]

# A checkpoint of 24 layers with the state of its optimizer takes 100,000 steps and makes 2 MB.
MAX_OPCODES = 1_000_000
MAX_MADE = 128 << 20
MAX_PICKLE = 64 << 20
MAX_LINE = 1 << 20
MAX_INTEGER_BYTES = 64
MAX_TUPLE_KEYS = 1000
# Bytes that things take in memory, roughly: for each step, and for each object that is more than a number.
_STEP, _OBJECT, _ENTRY = 16, 200, 100

_SCALARS = (str, int, float, bool, bytes, type(None))


# What the last opcode returns.
_END = object()


class Budget:
    """What all pickles of one file may take together.

    Attributes
    ----------
    steps : int
        Opcodes that are left.
    made : int
        Bytes of memory that are left, by estimate.
    """

    def __init__(self, steps=MAX_OPCODES, made=MAX_MADE):
        self.steps, self.made = steps, made


def loads(data, start=0, *, persistent_load=None, refused=None, path=None, name="pickle", size=None, budget=None):
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
        As built: still to be made plain with `plain.plain`.
    end : int
        Where the byte after the pickle stands.

    Raises
    ------
    CheckpointError
        If the pickle is damaged, truncated, or beyond a limit.
    """
    budget = Budget() if budget is None else budget
    machine = _Machine(data, start, size, persistent_load, {} if refused is None else refused, path, name, budget)
    return machine.run(), machine.at


class _Machine:
    def __init__(self, data, start, size, persistent_load, refused, path, name, budget):
        self.data, self.at, self.end = data, start, len(data) if size is None else size
        self.start = start
        self.persistent_load, self.refused, self.path, self.name = persistent_load, refused, path, name
        self.stack, self.marks, self.memo = [], [], {}
        self.budget, self.tuple_keys = budget, 0

    def error(self, message):
        field = f"{self.name}, byte {self.opcode_at - self.start}"
        return CheckpointError(message, path=self.path, field=field)

    def run(self):
        budget = self.budget
        self.opcode_at = self.at
        table, data = _TABLE, self.data
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
                if step(self) is _END:
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

    def take(self, n):
        if n > self.end - self.at:
            raise self.error("the pickle ends in the middle: the file is truncated")
        if n > MAX_PICKLE:
            raise self.error("the pickle is larger than any checkpoint's")
        found = self.data[self.at : self.at + n]
        self.at += n
        return found

    def number(self, n):
        return int.from_bytes(self.take(n), "little")

    def line(self):
        stop = self.data.find(b"\n", self.at, min(self.end, self.at + MAX_LINE))
        if stop < 0:
            raise self.error("a line does not end: the file is truncated or damaged")
        found = self.data[self.at : stop]
        self.at = stop + 1
        return found

    # ---- stack ----------------------------------------------------------------------------------

    def push(self, value):
        self.stack.append(value)

    def pop(self):
        return self.stack.pop()

    def items(self):
        """What stands above the last mark; removes both."""
        found = self.stack
        self.stack = self.marks.pop()
        return found

    def charge(self, size):
        """Pay for memory before it is taken: one large object may be copied again and again, and small bytes of a file
        make large objects."""
        self.budget.made -= size
        if self.budget.made < 0:
            raise self.error("the pickle makes more data than any checkpoint's")

    # ---- objects --------------------------------------------------------------------------------

    def find(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.error("the name of a class is not text: the file is damaged")
        found = BUILDERS.get((module, name))
        if found is not None:
            return found
        self.charge(_OBJECT)
        full = f"{module[:200]}.{name[:200]}"[:200]
        if (module, name) in INERT:
            return Refused(full)
        if len(self.refused) < MAX_REFUSED:
            self.refused[full] = None
        return Refused(full)

    def construct(self, builder, args):
        if isinstance(builder, Refused):
            return builder
        if not callable(getattr(builder, "build", None)):
            raise self.error("a call of something that is no constructor")
        if not isinstance(args, tuple):
            raise self.error("the arguments of a call are not a tuple: the file is damaged")
        self.charge(_OBJECT)
        return builder.build(self, args)

    def refuse(self, name):
        """An inert placeholder for a thing that a known constructor won't make; recorded."""
        if len(self.refused) < MAX_REFUSED:
            self.refused[name] = None
        return Refused(name)

    def set_state(self, target, state):
        if isinstance(target, Built):
            target.set_state(self, state)
        # The state of anything else (hooks, metadata of a state dict) is not data that is needed.

    def extend(self, target, values):
        if isinstance(target, Refused):
            return
        if isinstance(target, list):
            self.charge(_STEP * len(values))
            target.extend(values)
        elif not isinstance(target, Built):
            raise self.error("items are added to something that is no list: the file is damaged")

    def fill(self, target, pairs):
        if len(pairs) % 2:
            raise self.error("a key without a value: the file is damaged")
        if isinstance(target, Refused):
            return
        if not isinstance(target, dict):
            raise self.error("a key is set on something that is no dictionary: the file is damaged")
        self.charge(_ENTRY * len(pairs) // 2)
        for i in range(0, len(pairs), 2):
            if self.is_key(pairs[i]):
                target[pairs[i]] = pairs[i + 1]

    def is_key(self, key):
        """Whether a key may stand in a dictionary or set; placeholders may not. Hashing must be cheap and must not
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

    def members(self, values):
        self.charge(_ENTRY * len(values))
        return [value for value in values if self.is_key(value)]

    def text(self, raw, encoding, errors="strict"):
        """Text of bytes; Python keeps a text with one wide character in four bytes for each."""
        self.charge(len(raw) if raw.isascii() else 4 * len(raw))
        return raw.decode(encoding, errors)

    def remember(self, key):
        self.charge(_ENTRY)
        self.memo[key] = self.stack[-1]


# ---- opcodes ------------------------------------------------------------------------------------------------------

_TABLE = [None] * 256


def _opcode(code):
    def put(function):
        _TABLE[ord(code)] = function
        return function

    return put


@_opcode("\x80")
def _proto(m):
    version = m.number(1)
    if version > 5:
        raise m.error(f"pickle protocol {version} is not known")


@_opcode("\x95")
def _frame(m):
    if m.number(8) > m.end - m.at:
        raise m.error("a frame is longer than the file: the file is truncated")


@_opcode(".")
def _stop(m):
    return _END


@_opcode("(")
def _mark(m):
    m.charge(_ENTRY)
    m.marks.append(m.stack)
    m.stack = []


@_opcode("0")
def _pop(m):
    if m.stack:
        m.stack.pop()
    else:
        m.items()


@_opcode("1")
def _pop_mark(m):
    m.items()


@_opcode("2")
def _dup(m):
    m.push(m.stack[-1])


for _code, _value in (("N", None), ("\x88", True), ("\x89", False)):
    _opcode(_code)(lambda m, value=_value: m.stack.append(value))


@_opcode("I")
def _int(m):
    line = m.line()
    m.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _decimal(m, line))


@_opcode("L")
def _long(m):
    m.push(_decimal(m, m.line().removesuffix(b"L")))


def _decimal(m, line):
    if len(line) > 2 * MAX_INTEGER_BYTES:
        raise m.error("an integer is longer than any checkpoint's")
    return int(line)


@_opcode("K")
def _binint1(m):
    m.push(m.number(1))


@_opcode("M")
def _binint2(m):
    m.push(m.number(2))


@_opcode("J")
def _binint(m):
    m.push(int.from_bytes(m.take(4), "little", signed=True))


@_opcode("\x8a")
def _long1(m):
    _push_long(m, m.number(1))


@_opcode("\x8b")
def _long4(m):
    _push_long(m, m.number(4))


def _push_long(m, n):
    if n > MAX_INTEGER_BYTES:
        raise m.error("an integer is longer than any checkpoint's")
    m.push(int.from_bytes(m.take(n), "little", signed=True))


@_opcode("F")
def _float(m):
    line = m.line()
    if len(line) > 400:
        raise m.error("a number is longer than any checkpoint's")
    m.push(float(line))


@_opcode("G")
def _binfloat(m):
    m.push(struct.unpack(">d", m.take(8))[0])


@_opcode("S")
def _string(m):
    line = m.line()
    if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
        raise m.error("a string without quotes: the file is damaged")
    m.push(m.text(codecs.escape_decode(line[1:-1])[0], "latin-1"))


@_opcode("T")
def _binstring(m):
    m.push(m.text(m.take(m.number(4)), "latin-1"))


@_opcode("U")
def _short_binstring(m):
    m.push(m.text(m.take(m.number(1)), "latin-1"))


@_opcode("V")
def _unicode(m):
    m.push(m.text(m.line(), "raw-unicode-escape"))


def _text(width):
    return lambda m: m.push(m.text(m.take(m.number(width)), "utf-8", "surrogatepass"))


def _bytes(width):
    def put(m):
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
def _empty_list(m):
    m.charge(_ENTRY)
    m.push([])


@_opcode("}")
def _empty_dict(m):
    m.charge(_ENTRY)
    m.push({})


@_opcode(")")
def _empty_tuple(m):
    m.push(())


@_opcode("\x8f")
def _empty_set(m):
    m.charge(_OBJECT)
    m.push(set())


@_opcode("l")
def _list(m):
    found = m.items()
    m.charge(_ENTRY + _STEP * len(found))
    m.push(found)


@_opcode("t")
def _tuple(m):
    found = m.items()
    m.charge(_ENTRY + _STEP * len(found))
    m.push(tuple(found))


@_opcode("d")
def _dict(m):
    pairs, made = m.items(), {}
    m.charge(_ENTRY)
    m.fill(made, pairs)
    m.push(made)


@_opcode("\x91")
def _frozenset(m):
    m.charge(_OBJECT)
    made = frozenset(m.members(m.items()))
    m.push(made)


@_opcode("\x85")
def _tuple1(m):
    m.charge(_ENTRY)
    m.push((m.pop(),))


@_opcode("\x86")
def _tuple2(m):
    m.charge(_ENTRY)
    b, a = m.pop(), m.pop()
    m.push((a, b))


@_opcode("\x87")
def _tuple3(m):
    m.charge(_ENTRY)
    c, b, a = m.pop(), m.pop(), m.pop()
    m.push((a, b, c))


@_opcode("a")
def _append(m):
    value = m.pop()
    m.extend(m.stack[-1], [value])


@_opcode("e")
def _appends(m):
    values = m.items()
    m.extend(m.stack[-1], values)


@_opcode("s")
def _setitem(m):
    value, key = m.pop(), m.pop()
    m.fill(m.stack[-1], [key, value])


@_opcode("u")
def _setitems(m):
    pairs = m.items()
    m.fill(m.stack[-1], pairs)


@_opcode("\x90")
def _additems(m):
    values, target = m.items(), m.stack[-1]
    if isinstance(target, set):
        target.update(m.members(values))
    elif not isinstance(target, Refused):
        raise m.error("items are added to something that is no set: the file is damaged")


@_opcode("p")
def _put(m):
    m.remember(_decimal(m, m.line()))


@_opcode("q")
def _binput(m):
    m.remember(m.number(1))


@_opcode("r")
def _long_binput(m):
    m.remember(m.number(4))


@_opcode("\x94")
def _memoize(m):
    m.remember(len(m.memo))


@_opcode("g")
def _get(m):
    m.push(m.memo[_decimal(m, m.line())])


@_opcode("h")
def _binget(m):
    m.push(m.memo[m.number(1)])


@_opcode("j")
def _long_binget(m):
    m.push(m.memo[m.number(4)])


@_opcode("c")
def _global(m):
    module, name = m.text(m.line(), "utf-8"), m.text(m.line(), "utf-8")
    m.push(m.find(module, name))


@_opcode("\x93")
def _stack_global(m):
    name, module = m.pop(), m.pop()
    m.push(m.find(module, name))


@_opcode("R")
def _reduce(m):
    args, builder = m.pop(), m.pop()
    m.push(m.construct(builder, args))


_opcode("\x81")(_reduce)  # NEWOBJ: the same, class and arguments


@_opcode("\x92")
def _newobj_ex(m):
    kwargs, args, builder = m.pop(), m.pop(), m.pop()
    if kwargs and not isinstance(builder, Refused):
        raise m.error("a constructor with named arguments that no checkpoint has")
    m.push(m.construct(builder, args))


@_opcode("i")
def _inst(m):
    module, name = m.text(m.line(), "utf-8"), m.text(m.line(), "utf-8")
    args = tuple(m.items())
    m.push(m.construct(m.find(module, name), args))


@_opcode("o")
def _obj(m):
    builder, *args = m.items()
    m.push(m.construct(builder, tuple(args)))


@_opcode("b")
def _build(m):
    state = m.pop()
    m.set_state(m.stack[-1], state)


@_opcode("Q")
def _binpersid(m):
    _push_persistent(m, m.pop())


@_opcode("P")
def _persid(m):
    _push_persistent(m, m.text(m.line(), "utf-8"))


def _push_persistent(m, key):
    if m.persistent_load is None:
        raise m.error("a reference to data outside of the pickle, where there is none")
    m.push(m.persistent_load(key))


def _extension(m):
    raise m.error("a reference to a registry of extensions, which no checkpoint has")


def _outside(m):
    raise m.error("a reference to a buffer outside of the pickle, which no checkpoint has")


for _code in "\x82\x83\x84":
    _opcode(_code)(_extension)
for _code in "\x97\x98":
    _opcode(_code)(_outside)
