"""Pickles that would run code, lie, or eat the machine: nothing runs, and each is answered by name and soon."""

import os
import pickle
import struct
import time

import checkpoint_files as files
import numpy as np
import pytest
import weights
from checkpoint_files import Call, Global, Persistent, Raw

from ecgfm import CheckpointError, checkpoint
from ecgfm.checkpoint.opcodes import TABLE
from ecgfm.checkpoint.plain import BUILDERS, Refused, Storage
from ecgfm.checkpoint.unpickle import loads
from ecgfm.checkpoint.walk import TooDeep, plain

SECONDS = 20  # of the processor, for what takes less than two


@pytest.fixture(autouse=True)
def quick():
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


def save(path, value, storages=(), **options):
    path.write_bytes(files.zip_bytes(files.zip_members(value, storages, **options)))
    return path


def fails(raw, message=None):
    with pytest.raises(CheckpointError, match=message) as caught:
        plain(loads(raw, path="p")[0])
    assert caught.value.path == "p" and "byte" in caught.value.field
    return caught.value


# ---- code ---------------------------------------------------------------------------------------------------------

CALLS = [
    ("os", "system", ("touch {canary}",)),
    ("posix", "system", ("touch {canary}",)),
    ("subprocess", "Popen", (["touch", "{canary}"],)),
    ("builtins", "eval", ("open({canary!r}, 'w')",)),
    ("builtins", "exec", ("open({canary!r}, 'w')",)),
    ("__builtin__", "eval", ("open({canary!r}, 'w')",)),
    ("builtins", "open", ("{canary}", "w")),
    ("builtins", "getattr", ("a", "upper")),
    ("io", "open", ("{canary}", "w")),
    ("runpy", "_run_code", ("open({canary!r}, 'w')", {})),
    ("pickle", "loads", (b"cposix\nsystem\n.",)),
    ("torch.serialization", "load", ("{canary}",)),
    ("torch", "load", ("{canary}",)),
    ("torch.storage", "_load_from_bytes", (b"x",)),
    ("numpy", "load", ("{canary}",)),
    ("numpy.f2py.crackfortran", "param_eval", ("x",)),
    ("importlib", "import_module", ("antigravity",)),
    ("operator", "attrgetter", ("x",)),
    ("omegaconf", "OmegaConf", ()),
    ("ecgfm.checkpoint.unpickle", "loads", (b".",)),
    ("ecgfm", "load", ("x",)),
]


def formatted(value, canary):
    if isinstance(value, str):
        return value.format(canary=str(canary))
    if isinstance(value, (list, tuple)):
        return type(value)(formatted(item, canary) for item in value)
    return value


@pytest.mark.parametrize("module, name, args", CALLS, ids=[f"{m}.{n}" for m, n, _ in CALLS])
def test_nothing_is_called(tmp_path, module, name, args):
    canary = tmp_path / "canary"
    call = Call(Global(module, name), *formatted(args, canary), state={"x": 1}, items={"a": 1})
    value, storages = files.content(weights.SMALL, task_state={"evil": call, "class": Global(module, name)})
    with checkpoint.read(save(tmp_path / "a.pt", value, storages.raw)) as found:
        assert found.refused == (f"{module}.{name}",)
        assert isinstance(found.content["task_state"]["evil"], Refused)
        assert np.isfinite(np.asarray(found.tensors["proj.weight"])).all()
    assert os.listdir(tmp_path) == ["a.pt"]


def test_reduce_of_pythons_own_pickle(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    for protocol in range(6):
        refused = {}
        value, _ = loads(pickle.dumps([Evil()], protocol), refused=refused)
        assert isinstance(plain(value)[0], Refused) and list(refused) == ["posix.system"]
    assert os.listdir(tmp_path) == []


def test_the_constructors_are_these_and_no_others():
    """Whoever adds one thinks twice."""
    modules = {module for module, _ in BUILDERS}
    assert modules == {
        "torch",
        "torch.cuda",
        "torch.storage",
        "torch._utils",
        "collections",
        "copyreg",
        "copy_reg",
        "_codecs",
        "argparse",
        "types",
        "builtins",
        "__builtin__",
        "numpy",
        *(f"{core}.{part}" for core in ("numpy.core", "numpy._core") for part in ("multiarray", "numeric")),
        "omegaconf.dictconfig",
        "omegaconf.listconfig",
        "omegaconf.nodes",
    }
    names = {name for module, name in BUILDERS if module in ("builtins", "__builtin__")}
    assert names == {"dict", "list", "tuple", "set", "frozenset", "bytes", "bytearray", "complex"}


def test_a_value_is_never_called():
    """Text, numbers and results of constructors are not constructors."""
    for target in (b"X\x02\x00\x00\x00os", b"K\x05", b"]", b"ccollections\nOrderedDict\n)R"):
        fails(b"\x80\x02" + target + b")R.", "not a constructor")
    fails(b"\x80\x02ctorch\nFloatStorage\n)R.", "not a constructor")


@pytest.mark.parametrize("code", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_extensions(code):
    fails(b"\x80\x02" + code + b".", "registry")


def test_buffers_outside():
    fails(b"\x80\x05\x97.", "outside")
    fails(b"\x80\x05N\x98.", "outside")
    fails(b"\x80\x02(tQ.", "outside of the pickle")


# ---- damage -------------------------------------------------------------------------------------------------------


def test_truncation_at_every_byte():
    value = {"a": [1, 2.5, "x" * 40, (1, 2, 3, 4), b"y" * 20, 10**30], "b": {1, 2}}
    for protocol in range(6):
        raw = pickle.dumps(value, protocol)
        for n in range(len(raw)):
            fails(raw[:n])


@pytest.mark.parametrize("opcode", sorted(set(range(256)) - {op for op in range(256) if TABLE[op]}))
def test_unknown_opcodes(opcode):
    assert "unknown opcode" in str(fails(b"\x80\x02" + bytes([opcode]) + b"."))


@pytest.mark.parametrize(
    "raw",
    [
        b".",
        b"\x80\x06N.",
        b"NN.",
        b"(N.",
        b"(.",
        b"0.",
        b"1.",
        b"2.",
        b"h\x05.",
        b"g5\n.",
        b"gx\n.",
        b"Ix\n.",
        b"Fx\n.",
        b"Sx\n.",
        b"S'\n.",
        b"V\\u00\n.",
        b"a.",
        b"Na.",
        b"NNa.",
        b"]s.",
        b"}NNNNu.",
        b"}(Nu.",
        b"](NNu.",
        b"K\x05(NNu.",
        b"](N\x90.",
        b"(Nd.",
        b"}]Ns.",
        b"}}Ns.",
        b"}(]NtNs.",
        b"\x8f(]\x90.",
        b"NNR.",
        b"\x93.",
        b"NN\x93.",
        b"cos\n.",
        b"cx",
        b"\x8a\xff" + b"\xff" * 255 + b".",
        b"\x8b\xff\xff\xff\x7f.",
        b"\x8b\xff\xff\xff\xff.",
        b"X\xff\xff\xff\xffabc.",
        b"X\x02\x00\x00\x00\xff\xfe.",
        b"T\xff\xff\xff\xffabc.",
        b"\x8d" + b"\xff" * 8 + b".",
        b"\x8e" + b"\xff" * 8 + b".",
        b"\x96" + b"\xff" * 8 + b".",
        b"\x95" + b"\xff" * 8 + b".",
        b"\x80\x02ccollections\nOrderedDict\n(NNtR.",
        b"\x80\x02ccollections\nOrderedDict\n(K\x05tR.",
        b"\x80\x02ccollections\nOrderedDict\n(](K\x01etR.",
        b"\x80\x02ccollections\nOrderedDict\nK\x05R.",
        b"\x80\x02c__builtin__\nset\n(](]etR.",
        b"\x80\x02c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR.",
        b"\x80\x02c__builtin__\nbytearray\n(J\xff\xff\xff\x7ftR.",
        b"\x80\x02c__builtin__\nlist\n(K\x05tR.",
        b"\x80\x02c__builtin__\ntuple\n(}tR.",
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
        b"\x80\x02c_codecs\nencode\n(K\x01X\x05\x00\x00\x00utf-8tR.",
        b"\x80\x02ccopyreg\n_reconstructor\n)R.",
        b"\x80\x02cnumpy\ndtype\n)R.",
        b"\x80\x02cnumpy.core.multiarray\nscalar\n(NNtR.",
        b"\x80\x02cnumpy\nndarray\n)\x81Nb.",
        b"\x80\x02cargparse\nNamespace\n)}\x92}b](e\x81.",
    ],
    ids=lambda raw: repr(raw)[:40],
)
def test_damaged_programs(raw):
    fails(raw)


def test_integers_that_are_too_long():
    fails(b"I" + b"9" * 1000 + b"\n.", "integer")
    fails(b"L" + b"9" * 1000 + b"L\n.", "integer")
    fails(b"I" + b"9" * 2_000_000 + b"\n.", "line")


# ---- NumPy and torch ----------------------------------------------------------------------------------------------


def array_call(shape, dtype, values, fortran=False):
    dtype = Call(Global("numpy", "dtype"), dtype, False, True)
    made = Call(Global("numpy._core.multiarray", "_reconstruct"), Global("numpy", "ndarray"), (0,), b"b")
    made.state = (1, shape, dtype, fortran, values)
    return made


@pytest.mark.parametrize(
    "shape, dtype, values",
    [
        ((3,), "f4", b"x" * 11),
        ((2**40, 2**40), "f4", b"x" * 16),
        ((2**62, 4), "f4", b""),
        ((-1, -4), "f4", b"x" * 16),
        (("4",), "f4", b"x" * 16),
        ((True,), "u1", b"x"),
        (4, "f4", b"x" * 16),
        (tuple([1] * 60), "f4", b"x" * 4),
        ((2**63, 0), "f4", b""),
        ((4,), "f4", [1, 2, 3, 4]),
        ((4,), 5, b"x" * 16),
    ],
)
def test_arrays_that_lie(shape, dtype, values):
    raw = files.dumps(array_call(shape, dtype, values), 3)
    try:
        found = plain(loads(raw, path="p")[0])
    except CheckpointError:
        return
    assert isinstance(found, (Refused, np.ndarray)) and getattr(found, "size", 0) == 0


@pytest.mark.parametrize("dtype", ["O", "V8", "M8[s]", "f4,f4", "(1000000000,)f4", "S99999999", "a" * 10000, "", "f3"])
def test_array_types_that_are_not_numbers(dtype):
    refused = {}
    value, _ = loads(files.dumps([Call(Global("numpy", "dtype"), dtype, False, True)]), refused=refused, path="p")
    assert isinstance(plain(value)[0], Refused) and len(refused) == 1 and len(next(iter(refused))) < 100


STORAGE = ("storage", Global("torch", "FloatStorage"), "0", "cpu", 544)


@pytest.mark.parametrize(
    "offset, shape, strides, message",
    [
        (1, (17, 32), (32, 1), "reaches beyond"),
        (0, (17, 33), (33, 1), "reaches beyond"),
        (0, (17, 32), (33, 1), "reaches beyond"),
        (2**62, (17, 32), (32, 1), "reaches beyond"),
        (0, (2**40, 2**40), (1, 1), "reaches beyond"),
        (0, (2**62, 4), (2**62, 2**62), "reaches beyond"),
        (0, (17, 32), (0, 0), None),
        (0, (1000, 1000), (0, 0), "repeats"),
        (0, (100, 445), (1, 1), "repeats"),
        (0, (-17, -32), (32, 1), "whole number"),
        (0, (17, 32), (-32, 1), "whole number"),
        (-1, (17, 32), (32, 1), "impossible offset"),
        ("0", (17, 32), (32, 1), "impossible offset"),
        (True, (17, 32), (32, 1), "impossible offset"),
        (0, ("17", 32), (32, 1), "whole number"),
        (0, (17.0, 32), (32, 1), "whole number"),
        (0, (17, 32), (32,), "strides"),
        (0, tuple([1] * 50), tuple([1] * 50), "dimensions"),
        (0, (17,), (1,), "the shape (17,)"),
        (0, 17, (1,), "description"),
    ],
)
def test_tensors_that_lie(tmp_path, offset, shape, strides, message):
    storages = files.Storages()
    storages.storage(np.ones(544, np.float32))
    value, _ = files.content(weights.SMALL, storages=storages)
    lie = files.rebuild(Persistent(*STORAGE), offset, (), ())
    lie.args = (lie.args[0], offset, shape, strides, *lie.args[4:])
    value["model"].items["proj.weight"] = lie
    path = save(tmp_path / "a.pt", value, storages.raw)
    if message is None:  # fewer numbers than the storage has, if repeated: harmless
        checkpoint.read(path).close()
        return
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(path)
    assert message in str(caught.value) and caught.value.path == str(path) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "key, message",
    [
        (("storage", Global("torch", "FloatStorage"), "0", "cpu", 545), "claims 545 elements"),
        (("storage", Global("torch", "FloatStorage"), "0", "cpu", 2**62), "claims"),
        (("storage", Global("torch", "FloatStorage"), "0", "cpu", -1), "description"),
        (("storage", Global("torch", "DoubleStorage"), "0", "cpu", 544), "claims"),
        (("storage", Global("torch", "FloatStorage"), "99999", "cpu", 544), "lacks this member"),
        (("storage", Global("torch", "FloatStorage"), "../../etc/passwd", "cpu", 544), "lacks this member"),
        (("storage", Global("torch", "FloatStorage"), 0, "cpu", 544), "description"),
        (("storage", "FloatStorage", "0", "cpu", 544), "description"),
        (("storage",), "not a storage"),
        (("module", 1, 2, 3, 4), "not a storage"),
        ((), "not a storage"),
    ],
)
def test_storages_that_lie(tmp_path, key, message):
    storages = files.Storages()
    storages.storage(np.ones(544, np.float32))
    value, _ = files.content(weights.SMALL, storages=storages)
    value["model"].items["proj.weight"] = files.rebuild(Persistent(*key), 0, (17, 32), (32, 1))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(save(tmp_path / "a.pt", value, storages.raw))
    assert message in str(caught.value) and len(str(caught.value)) < 500


def test_a_tensor_of_an_unknown_type_is_no_tensor(tmp_path):
    value, storages = files.content(weights.SMALL)
    key = ("storage", Global("torch", "QInt8Storage"), "0", "cpu", 1024)
    value["extra_state"] = {"q": files.rebuild(Persistent(*key), 0, (32, 32), (32, 1))}
    with checkpoint.read(save(tmp_path / "a.pt", value, storages.raw)) as found:
        assert isinstance(found.extra_state["q"], Refused) and "torch.QInt8Storage" in found.refused
    value["model"].items["proj.weight"] = value["extra_state"]["q"]
    with pytest.raises(CheckpointError, match="model.proj.weight: not a tensor"):
        checkpoint.read(save(tmp_path / "a.pt", value, storages.raw))


def test_weights_that_are_no_real_numbers(tmp_path):
    storages = files.Storages()
    value, _ = files.content(weights.SMALL, storages=storages)
    value["model"].items["proj.bias"] = storages.tensor(np.arange(17), "int64")
    with pytest.raises(CheckpointError, match="proj.bias: the values are of type int64"):
        checkpoint.read(save(tmp_path / "a.pt", value, storages.raw))


def test_many_large_tensors_on_one_small_storage(tmp_path):
    """A small file must not become a large model by naming its values again and again."""
    storages = files.Storages()
    one = storages.storage(np.ones((64, 64), np.float32))
    config = weights.SMALL | {"encoder_layers": 1000, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 64}
    model = {
        name: files.rebuild(
            one, 0, shape, [1 if i else 64 for i in range(len(shape))] if len(shape) == 2 else [1] * len(shape)
        )
        for name, shape in weights.parameters(config)
        if np.prod(shape) <= 4096
    }
    value = {"cfg": {"model": files.settings(config)}, "model": model}
    for name, shape in weights.parameters(config):
        if name not in model:
            model[name] = storages.tensor(np.zeros(shape, np.float32))
    with pytest.raises(CheckpointError, match="shares values with another one"):
        checkpoint.read(save(tmp_path / "a.pt", value, storages.raw))


# ---- bombs --------------------------------------------------------------------------------------------------------


def test_depth():
    for opening in (b"]", b"}", b"("):
        n = 300_000
        closing = {b"]": b"a", b"}": b"s", b"(": b"t"}[opening]
        key = b"N" if opening == b"}" else b""
        raw = b"\x80\x02" + (opening + key) * n + b"N" + closing * n + b"."
        with pytest.raises(TooDeep, match="nested"):
            plain(loads(raw)[0])


def test_depth_in_a_file(tmp_path):
    value, storages = files.content(weights.SMALL, task_state={"a": Raw(b"]" * 5000 + b"N" + b"a" * 5000)})
    with pytest.raises(CheckpointError, match="nested more than"):
        checkpoint.read(save(tmp_path / "a.pt", value, storages.raw))


def test_data_that_holds_itself(tmp_path):
    for loop in (b"]q\x01h\x01a", b"}q\x01X\x01\x00\x00\x00ah\x01s", b"]q\x01(h\x01ta"):
        value, storages = files.content(weights.SMALL, task_state=Raw(loop))
        with pytest.raises(CheckpointError, match="holds itself"):
            checkpoint.read(save(tmp_path / "a.pt", value, storages.raw))


def test_billion_laughs(tmp_path):
    # A list of ten times the list before, thirty times over; only the last stays on the stack.
    raw = b"]q\x000" + b"".join(b"](" + b"h\x00" * 10 + b"eq\x000" for _ in range(30)) + b"h\x00"
    value, storages = files.content(weights.SMALL, task_state=Raw(raw))
    with pytest.raises(CheckpointError, match="repeats itself too often"):
        checkpoint.read(save(tmp_path / "a.pt", value, storages.raw))
    # As the key of a dictionary it would have to be hashed.
    nested = b"(tq\x000" + b"".join(b"h\x00h\x00\x86q\x000" for _ in range(60)) + b"h\x00"
    fails(b"\x80\x02}" + nested + b"Ns.", "key of type tuple")
    fails(b"\x80\x02\x8f(" + nested + b"\x90.", "key of type tuple")


def test_keys_that_collide():
    """Integers with one hash would make a dictionary take quadratic time; such integers are no keys."""
    modulus = (1 << 61) - 1
    pairs = b"".join(files.opcodes(k * modulus) + b"N" for k in range(1, 50_000))
    fails(b"\x80\x02}(" + pairs + b"u.", "key of type int")
    fails(b"\x80\x02}(" + b"".join(files.opcodes((k, -k)) + b"N" for k in range(2000)) + b"u.", "key of type tuple")


def test_work_that_is_repeated():
    """A large object that constructors are called on again and again."""
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    latin = files.opcodes("latin1")
    call = b"c_codecs\nencode\n(" + text + b"q\x00" + latin + b"tq\x01R0"
    raw = b"\x80\x02" + call + b"(" + b"c_codecs\nencode\nh\x01R0" * 100_000 + b"l."
    fails(raw, "more data than any checkpoint's")
    state = files.opcodes(dict.fromkeys(range(100000)))
    raw = b"\x80\x02cargparse\nNamespace\n)R" + state + b"q\x00b" + b"h\x00b" * 100_000 + b"."
    fails(raw, "more data than any checkpoint's")
    raw = b"\x80\x02" + state + b"\x85q\x000ccollections\nOrderedDict\nq\x010(" + b"h\x01h\x00R" * 100_000 + b"l."
    fails(raw, "more data than any checkpoint's")


def test_many_tensors_from_few_bytes():
    made = files.opcodes(files.rebuild(Persistent("k"), 0, (), ()))[:-1]

    class Source:
        length = 4

    def load(key):
        return Storage(Source(), "float32", 1, "0")

    raw = (
        b"\x80\x02("
        + made
        + b"q\x00R"
        + b"ctorch._utils\n_rebuild_tensor_v2\nq\x010"
        + b"h\x01h\x00R" * 400_000
        + b"l."
    )
    with pytest.raises(CheckpointError, match="more data than any checkpoint's"):
        loads(raw, persistent_load=load, path="p")


def test_a_flood_of_opcodes():
    fails(b"\x80\x02" + b"N0" * 2_100_000 + b"N.", "larger than any checkpoint")


def test_a_flood_of_names():
    names = b"".join(f"cm{i}\nn\n0".encode() for i in range(20_000))
    refused = {}
    loads(b"\x80\x02" + names + b"N.", refused=refused)
    assert len(refused) == 1000
    refused = {}
    loads(b"\x80\x02c" + b"m" * 100_000 + b"\nn\n.", refused=refused)
    assert len(next(iter(refused))) <= 200
