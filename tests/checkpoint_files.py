"""Checkpoint files made byte by byte, as torch writes them and as nobody should."""

import io
import struct
import zipfile

import numpy as np
import weights

MODULE_CFG = {"common": {"_name": None, "seed": 1}, "task": {"_name": "ecg_classification"}}
DTYPES = {
    "float32": ("FloatStorage", "<f4"),
    "float16": ("HalfStorage", "<f2"),
    "bfloat16": ("BFloat16Storage", "<u2"),
    "float64": ("DoubleStorage", "<f8"),
    "int64": ("LongStorage", "<i8"),
}

# ---- pickles --------------------------------------------------------------------------------------------------------


class Global:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """function(*args), then its state if there is one, then items if there are some."""

    def __init__(self, function, *args, state=None, items=None):
        self.function, self.args, self.state, self.items = function, args, state, items


class Persistent:
    def __init__(self, *key):
        self.key = key


class Raw:
    """Opcodes as they are."""

    def __init__(self, code):
        self.code = code


def _text(value):
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def opcodes(value):
    """The opcodes that push a value, of protocol 2 or below (bytes: 3)."""
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, (list, tuple)):
        items = b"".join(map(opcodes, value))
        return b"(" + items + b"t" if isinstance(value, tuple) else b"](" + items + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(opcodes(k) + opcodes(v) for k, v in value.items()) + b"u"
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        code = opcodes(value.function) + opcodes(value.args) + b"R"
        if value.items is not None:
            code += b"(" + b"".join(opcodes(k) + opcodes(v) for k, v in value.items.items()) + b"u"
        return code + (opcodes(value.state) + b"b" if value.state is not None else b"")
    if isinstance(value, Persistent):
        return opcodes(value.key) + b"Q"
    if isinstance(value, Raw):
        return value.code
    raise TypeError(type(value))


def dumps(value, protocol=2):
    return b"\x80" + bytes([protocol]) + opcodes(value) + b"."


# ---- tensors --------------------------------------------------------------------------------------------------------


class Storages:
    """Collects the storages of tensors."""

    def __init__(self, dtype="float32", view_metadata=False):
        self.dtype, self.view_metadata, self.raw = dtype, view_metadata, []

    def add(self, raw):
        self.raw.append(raw)
        return str(len(self.raw) - 1)

    def storage(self, values, dtype=None):
        """The persistent id of a new storage with these values."""
        dtype = dtype or self.dtype
        kind, code = DTYPES[dtype]
        if dtype == "bfloat16":
            values = (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        raw = np.ascontiguousarray(values, code)
        key = ("storage", Global("torch", kind), self.add(raw.tobytes()), "cpu", raw.size)
        return Persistent(*key, *([None] if self.view_metadata else []))

    def tensor(self, values, dtype=None):
        values = np.asarray(values)
        steps = [1]
        for n in values.shape[:0:-1]:
            steps.append(steps[-1] * n)
        strides = tuple(reversed(steps)) if values.ndim else ()
        return rebuild(self.storage(values, dtype), 0, values.shape, strides)


def rebuild(storage, offset, shape, strides):
    hooks = Call(Global("collections", "OrderedDict"))
    return Call(
        Global("torch._utils", "_rebuild_tensor_v2"), storage, offset, tuple(shape), tuple(strides), False, hooks
    )


# ---- containers -----------------------------------------------------------------------------------------------------


def zip_bytes(members, compression=zipfile.ZIP_STORED):
    """A zip archive of (name, bytes)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, raw in members:
            archive.writestr(zipfile.ZipInfo(name), raw, compression)
    return buffer.getvalue()


def zip_members(value, storages=(), protocol=2, root="archive", pickle=None):
    """The members of a .pt file."""
    return [
        (f"{root}/data.pkl", dumps(value, protocol) if pickle is None else pickle),
        (f"{root}/byteorder", b"little"),
        *((f"{root}/data/{i}", raw) for i, raw in enumerate(storages)),
        (f"{root}/version", b"3\n"),
    ]


def legacy_bytes(value, storages, dtype="float32"):
    """A .pt file in the container that came before the zip archive."""
    size = np.dtype(DTYPES[dtype][1]).itemsize
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}]
    parts = [dumps(part) for part in (*head, value, [str(i) for i in range(len(storages))])]
    return b"".join(parts) + b"".join(struct.pack("<q", len(raw) // size) + raw for raw in storages)


# ---- whole checkpoints ----------------------------------------------------------------------------------------------


def settings(config, kind="classifier"):
    """The settings of a model as a checkpoint has them, with the conv layers as text."""
    name = "ecg_transformer_classifier" if kind == "classifier" else "wav2vec2_cmsc"
    layers = " + ".join(f"[{tuple(layer)}]" for layer in config["conv_feature_layers"])
    return {"_name": name, "args": None, "dropout": 0.1, **config, "conv_feature_layers": layers}


def state(config, kind="classifier"):
    """{name: array} of a model with weights from formulas."""
    return weights.weights(weights.parameters(config, kind))


def content(config, kind="classifier", dtype="float32", storages=None, model=None, **more):
    """(the object of a checkpoint, its storages)."""
    storages = Storages(dtype) if storages is None else storages
    model = state(config, kind) if model is None else model
    tensors = {name: storages.tensor(value) for name, value in model.items()}
    value = {
        "args": None,
        "cfg": MODULE_CFG | {"model": settings(config, kind)},
        "model": Call(Global("collections", "OrderedDict"), items=tensors),
        "criterion": None,
        "optimizer_history": [{"optimizer_name": "Adam", "num_updates": 4}],
        "task_state": {},
        "extra_state": {"best": 3.25},
    }
    return value | more, storages


def write(path, config=weights.SMALL, kind="classifier", container="zip", compression=zipfile.ZIP_STORED, **options):
    """Write a checkpoint with weights from formulas; returns its tensors."""
    protocol = options.pop("protocol", 2)
    value, storages = content(config, kind, **options)
    if container == "zip":
        path.write_bytes(zip_bytes(zip_members(value, storages.raw, protocol), compression))
    else:
        path.write_bytes(legacy_bytes(value, storages.raw, options.get("dtype", "float32")))
    return state(config, kind)
