"""The constructors that a pickle may name, as builders of plain data."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .storage import Tensor

if TYPE_CHECKING:
    from .storage import Deflated, Stored
    from .unpickle import Machine

__all__ = ["BUILDERS", "INERT", "MAX_REFUSED", "Built", "Refused", "StorageType"]

MAX_REFUSED = 1000
# Bytes that an entry of a dictionary or set, and one of a list, takes.
_ENTRY, _ITEM = 100, 8

_ARRAY_TYPES = re.compile(r"[<>|=]?(?:b1|\?|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,5})")


class Refused:
    """Stands for an object that a file names and that is not made."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<refused: {self.name}>"


class Built:
    """An object under construction: a pickle may set its state after it was made."""

    def set_state(self, machine: Machine, state: Any) -> None:
        """Take the state; by default there is nothing to take."""

    def content(self) -> Any:
        """The plain data that it stands for."""
        raise NotImplementedError


class _Builder:
    def __init__(self, function: Callable[[Machine, Any], Any]) -> None:
        self.build = function


# ---- Python's own -------------------------------------------------------------------------------------------------


def _pairs(machine: Machine, args: Any) -> dict[Any, Any]:
    """The dictionary that dict(...) or OrderedDict(...) would make of one mapping or list of pairs."""
    made: dict[Any, Any] = {}
    if len(args) > 1:
        raise machine.error("a dictionary of several arguments that no checkpoint has")
    for given in args:
        machine.charge(_ENTRY * len(given))
        if isinstance(given, dict):
            made.update(given)
        else:
            for key, value in given:
                machine.fill(made, [key, value])
    return made


def _sequence(kind: type) -> Callable[[Machine, Any], Any]:
    def build(machine: Machine, args: Any) -> Any:
        if not args:
            return kind()
        (values,) = args
        if not isinstance(values, (list, tuple, set, frozenset, str, bytes)):
            raise TypeError
        machine.charge((_ENTRY if isinstance(values, str) else _ITEM) * len(values))
        return kind(machine.members(values) if kind in (set, frozenset) else values)

    return build


def _bytes(machine: Machine, args: Any) -> bytes:
    """bytes(), bytes(list) and bytes(text, "latin-1"): how protocol 2 writes them; never bytes(length)."""
    if not args:
        return b""
    if isinstance(args[0], str):
        return _encode(machine, args)
    if not isinstance(args[0], (list, tuple, bytes)):
        raise TypeError
    machine.charge(len(args[0]))
    return bytes(args[0])


def _encode(machine: Machine, args: Any) -> bytes:
    text, encoding = args if len(args) == 2 else (*args, "utf-8")
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise machine.error("text in an encoding that no checkpoint has")
    machine.charge(4 * len(text))
    return text.encode(encoding)


def _complex(machine: Machine, args: Any) -> complex:
    if not all(isinstance(part, (int, float)) for part in args):
        raise TypeError
    return complex(*args)


class Namespace(Built):
    """argparse.Namespace and the like: becomes a dictionary."""

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}

    def set_state(self, machine: Machine, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (__dict__, slots)
            state = state[0] or state[1]
        if isinstance(state, dict):
            machine.charge(_ENTRY * len(state))
            self.state.update(state)

    def content(self) -> Any:
        return self.state


class ConfigNode(Namespace):
    """A node of an OmegaConf configuration: becomes its content. Parents, types and flags are left out."""

    def content(self) -> Any:
        return self.state.get("_content", self.state.get("_val"))


# ---- NumPy --------------------------------------------------------------------------------------------------------


class DType(Built):
    """numpy.dtype(text, align, copy), then its byte order as the state."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, ""

    def set_state(self, machine: Machine, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else ""
        if order in ("<", ">", "|", "="):
            self.order = order

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code.lstrip("<>|=")) if self.order else np.dtype(self.code)

    def content(self) -> str:
        return str(self.dtype())


def _dtype(machine: Machine, args: Any) -> DType | Refused:
    code = args[0]
    if isinstance(code, str) and _ARRAY_TYPES.fullmatch(code):
        return DType(code)
    return machine.refuse(f"numpy.dtype({str(code)[:50]})" if isinstance(code, str) else "numpy.dtype")


class Array(Built):
    """A numpy.ndarray: made empty, then its shape, type and bytes as the state."""

    def __init__(self) -> None:
        self.array = np.empty(0)

    def set_state(self, machine: Machine, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise machine.error("an array whose state is not that of an array: the file is damaged")
        _, shape, dtype, fortran, values = state
        self.array = _array(machine, values, dtype, shape, "F" if fortran else "C")

    def content(self) -> Any:
        return self.array


def _array(machine: Machine, values: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """An array of a pickle's bytes: a view of them."""
    if isinstance(dtype, Refused):
        return machine.refuse("numpy.ndarray of objects")
    if isinstance(values, str):  # Python 2's strings
        values = _encode(machine, (values, "latin-1"))
    if not isinstance(values, bytes) or not isinstance(shape, tuple) or not isinstance(dtype, DType):
        raise machine.error("an array whose state is not that of an array: the file is damaged")
    if len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise machine.error("an array with an impossible shape: the file is damaged")
    kind = dtype.dtype()
    if math.prod(shape) * kind.itemsize != len(values):
        raise machine.error(f"an array of shape {shape} and type {kind} in {len(values)} bytes: the file is damaged")
    if not values:
        return np.empty(shape, kind)
    if kind.kind == "U" and np.frombuffer(values, kind.byteorder.replace("|", "=") + "u4").max() > sys.maxunicode:
        raise machine.error("an array of text with an impossible character: the file is damaged")
    return np.frombuffer(values, kind).reshape(shape, order=order)


def _array_from_buffer(machine: Machine, args: Any) -> Array:
    """numpy._core.numeric._frombuffer(bytes, dtype, shape, order): how protocol 5 writes an array."""
    values, dtype, shape, order = args
    made = Array()
    made.array = _array(machine, values, dtype, shape, "F" if order == "F" else "C")
    return made


def _scalar(machine: Machine, args: Any) -> Any:
    dtype, values = args
    if isinstance(dtype, Refused):
        return machine.refuse("numpy.generic of objects")
    found = _array(machine, values, dtype, (), "C")
    return found.item() if found.size == 1 else found


# ---- torch --------------------------------------------------------------------------------------------------------


class StorageType:
    """torch.FloatStorage and the like: the type of the elements of a storage."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


@dataclass
class Storage:
    """Elements of one type in a file. The container makes it for a persistent id.

    Parameters
    ----------
    source : Stored or Deflated
    kind : str
        A key of `storage.DTYPES`.
    count : int
        Elements; the source has as many or more.
    first : int
        The first element, of a view of a storage.
    """

    source: Stored | Deflated
    kind: str
    count: int
    key: str
    big_endian: bool = False
    first: int = 0


def storage_key(key: Any, error: Callable[[str], Exception]) -> tuple[StorageType | Refused, str, int]:
    """Type, name and number of elements in a persistent id ("storage", type, name, location, count, ...)."""
    if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage":
        raise error("a reference to something that is not a storage")
    _, kind, name, _, count = key[:5]
    known = isinstance(kind, StorageType) and type(name) is str and type(count) is int and count >= 0
    if not known and not isinstance(kind, Refused):
        raise error("a storage whose description is not that of a storage")
    return kind, name, count


def _tensor(machine: Machine, args: Any) -> Tensor | Refused:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])."""
    storage, offset, shape, strides = args[:4]
    machine.charge(1000)
    if isinstance(storage, Refused):
        return machine.refuse("torch.Tensor of an unknown type")
    if not isinstance(storage, Storage) or not all(isinstance(sizes, (tuple, list)) for sizes in (shape, strides)):
        raise machine.error("a tensor whose description is not that of a tensor: the file is damaged")
    if type(offset) is not int or offset < 0:
        raise machine.error("a tensor with an impossible offset: the file is damaged")
    return Tensor(
        storage.source,
        storage.kind,
        shape,
        offset=storage.first + offset,
        strides=strides,
        count=storage.first + storage.count,
        big_endian=storage.big_endian,
        path=machine.path,
        name=f"storage {storage.key}",
    )


# ---- the tables ---------------------------------------------------------------------------------------------------

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}

_Function: TypeAlias = "Callable[[Machine, Any], Any]"


def _table(rows: dict[str, dict[str, _Function]]) -> dict[tuple[str, str], StorageType | _Builder]:
    """(module, name) -> constructor; the keys of `rows` are names of one or more modules."""
    return {
        (module, name): _Builder(function)
        for modules, functions in rows.items()
        for module in modules.split()
        for name, function in functions.items()
    }


_NODES = "AnyNode StringNode IntegerNode FloatNode BooleanNode EnumNode BytesNode PathNode".split()
_namespace: _Function = lambda machine, args: Namespace()  # noqa: E731
_node: _Function = lambda machine, args: ConfigNode()  # noqa: E731
_new_array: _Function = lambda machine, args: Array()  # noqa: E731

BUILDERS: dict[tuple[str, str], StorageType | _Builder] = {
    **{(module, name): StorageType(kind) for module in ("torch", "torch.cuda") for name, kind in _STORAGES.items()},
    ("torch.storage", "UntypedStorage"): StorageType("uint8"),
    **_table(
        {
            "torch._utils": {
                "_rebuild_tensor_v2": _tensor,
                "_rebuild_tensor": _tensor,
                "_rebuild_parameter": lambda machine, args: args[0],  # (tensor, requires_grad, hooks)
            },
            "torch": {"Size": _sequence(tuple)},
            "collections": {
                "OrderedDict": _pairs,
                "defaultdict": lambda machine, args: _pairs(machine, args[1:]),
            },
            # (class, base, state): how protocols 0 and 1 make an object.
            "copyreg copy_reg": {"_reconstructor": lambda machine, args: machine.construct(args[0], ())},
            "copyreg": {"__newobj__": lambda machine, args: machine.construct(args[0], tuple(args[1:]))},
            "_codecs": {"encode": _encode},
            "argparse": {"Namespace": _namespace},
            "types": {"SimpleNamespace": _namespace},
            "builtins __builtin__": {
                "dict": _pairs,
                "list": _sequence(list),
                "tuple": _sequence(tuple),
                "set": _sequence(set),
                "frozenset": _sequence(frozenset),
                "bytes": _bytes,
                "bytearray": _bytes,
                "complex": _complex,
            },
            "numpy.core.multiarray numpy._core.multiarray": {"_reconstruct": _new_array, "scalar": _scalar},
            "numpy.core.numeric numpy._core.numeric": {"_frombuffer": _array_from_buffer},
            "numpy": {"dtype": _dtype, "ndarray": _new_array},
            "omegaconf.dictconfig": {"DictConfig": _node},
            "omegaconf.listconfig": {"ListConfig": _node},
            "omegaconf.nodes": dict.fromkeys(_NODES, _node),
        }
    ),
}

# Types that only say of what type something is. Placeholders as well, but not worth a mention.
INERT = {
    *((module, name) for module in ("builtins", "__builtin__") for name in ("int", "float", "str", "bool", "object")),
    ("typing", "Any"),
    ("omegaconf.base", "Metadata"),
    ("omegaconf.base", "ContainerMetadata"),
    ("torch", "device"),
    ("torch", "float32"),
    ("torch", "float16"),
    ("torch", "bfloat16"),
}
