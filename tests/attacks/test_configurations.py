"""YAML files and overrides that lie: refused by name, at once, whatever they unfold to."""

import json
import os
import socket
from pathlib import Path

import pytest
from bounded import attack

from ecgfm.errors import ConfigError

pytest.importorskip("hydra", reason="needs the extra [train]")

CONFIGS = Path(__file__).resolve().parents[2] / "ecgfm" / "cli" / "fairseq" / "configs"
BASE = (CONFIGS / "diagnosis.yaml").read_text()
DOUBLED = "\n".join(f'  y{i}: "${{common.y{i - 1}}}${{common.y{i - 1}}}"' for i in range(1, 40))
TENFOLD = "\n".join("a%d: [%s]" % (i, ",".join(["'${a%d}'" % (i - 1)] * 10)) for i in range(1, 12))

# Name -> the text of a.yaml, words of the error.
FILES = {
    "aliases": ("a0: &a0 [x, x]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)), "values"),
    "merged": (
        "a0: &a0 {x: 1}\n" + "\n".join(f"a{i}: &a{i} {{b: *a{i - 1}, c: *a{i - 1}}}" for i in range(1, 40)),
        "values",
    ),
    "alias of itself": ("a: &a [*a]\n", "the alias 'a'"),
    "alias of nothing": ("a: *b\n", "alias"),
    "bytes": (b"common:\n  seed: \xff\xfe\n", "not UTF-8 text: byte 16 is 0xff"),
    "utf-16": ("common:\n  seed: 1\n".encode("utf-16"), "not UTF-8"),
    "broken": ("common: [1, 2\ntask: }\n", "line 2: not YAML"),
    "deep": ("common: " + "[" * 50 + "]" * 50 + "\n", "nested more than 32 deep"),
    "very deep": ("common: " + "[" * 100_000 + "\n", "nest"),
    "deep blocks": ("\n".join(" " * i + "a:" for i in range(60)) + "\n", "nested more than 32 deep"),
    "a key twice": ("common:\n  seed: 1\n  seed: 2\n", "duplicate key seed"),
    "a group twice": ("common:\n  seed: 1\ncommon:\n  seed: 2\n", "duplicate key common"),
    "control characters": (b"common:\n  seed: '\x01'\n", "not YAML"),
    "digits": ("common:\n  seed: " + "9" * 5000 + "\n", "line 2: a number has 5,000 characters"),
    "hexadecimal digits": ("common:\n  seed: 0x" + "f" * 5000 + "\n", "a number has"),
    "python": ("common: !!python/object/apply:os.system ['touch ran']\n", "the tag"),
    "another tag": ("common: !mine {a: 1}\n", "the tag '!mine' is not read"),
    "a set": ("common: !!set {a, b}\n", "the tag"),
    "binary": ("common: {log_file: !!binary aGVsbG8=}\n", "the tag"),
    "documents": ("common: {}\n---\ncommon: {}\n", "not YAML"),
    "a list": ("- 1\n- 2\n", "a list, not groups"),
    "a text": ("hello\n", "there is no such group"),
    "nothing": ("", "task._name"),
    "many values": ("common: [" + "1," * 30_000 + "1]\n", "more than 5,000 values"),
    "a list for a group": ("common: [" + "1," * 900 + "1]\n", "is not a group of keys"),
    "long text": ("common: {log_file: " + "x" * 50_000 + "}\n", "more than 20,000 characters"),
    "large": ("#" * 300_000, "more than the 262,144"),
    "wide keys": ("{" + ", ".join(f"k{i}: 1" for i in range(4000)) + "}\n", "more than 5,000 values"),
    "keys that are lists": ("? [a, b]\n: 1\n", "a.yaml"),
    "a long key": ("k" * 900 + ": 1\n", "there is no such group"),
    "a name that is a list": ("task:\n  _name: [ecg_classification]\n", "task._name: ['ecg_classification'] is not"),
    "a name that is an object": ("task:\n  _name: {a: 1}\nmodel:\n  _name: [[]]\n", "task._name"),
    "a name that is a number": (BASE.replace("_name: adam", "_name: 7"), "optimizer._name: 7 is not"),
    "a name of a group without": (BASE.replace("common:\n", "common:\n  _name: {a: 1}\n"), "common._name"),
    "references that double": ("common:\n  y0: abcdefghij\n" + DOUBLED + "\n", "too large"),
    "references in references": ("common:\n  log_file: '" + "${" * 3000 + "a" + "}" * 3000 + "'\n", "200 references"),
    "references to lists": ("a0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]\n" + TENFOLD + "\n", "too large"),
    "a reference to itself": ("common:\n  seed: ${common.seed}\n", "refers to itself"),
    "references in a circle": ("a: ${b}\nb: ${c}\nc: ${a}\n", "refers to itself"),
    "a reference to nothing": ("common:\n  seed: ${common.none}\n", "there is no key 'common.none'"),
    "a reference in a reference": ("common:\n  seed: ${common.${task._name}}\n", "there is no key 'task._name'"),
    "the environment": ("common:\n  log_file: ${oc.env:HOME}\n", "only references to keys"),
    "the old environment": ("common:\n  log_file: ${env:HOME}\n", "only references to keys"),
    "a resolver": ("common:\n  log_file: ${oc.decode:'[1]'}\n", "only references to keys"),
    "include of itself": ("defaults: [a]\n", "not the name of another file"),
    "includes in a circle": ("defaults: [b]\n", "includes files itself"),
    "many includes": ("defaults: [" + "c, " * 1000 + "c]\n", "at most 32 files"),
    "includes by reference": ("defaults: ['${x}']\nx: c\n", "not the name of another file"),
    "includes that are no list": ("defaults: {a: b}\n", "at most 32 files"),
    "include of a FIFO": ("defaults: [fifo]\n", "fifo"),
    "include from elsewhere": ("defaults: [../../etc/passwd]\n", "a.yaml"),
    "another place to look": (BASE + "\nhydra: {searchpath: [file:///etc]}\ndefaults: [passwd]\n", "passwd"),
}
LIST = "import json; from ecgfm.cli.fairseq.compose import compose\n"
TRY = """
for name in json.load(open('names.json')):
    try: compose(name, (), '.')
    except ecgfm.Error as error: found.setdefault('said', {})[name] = str(error)
"""


def test_files(tmp_path):
    """All in one process, each of which must be refused by name; then the process has taken little."""
    names = {f"f{i}": case for i, case in enumerate(FILES)}
    for name, case in names.items():
        content = FILES[case][0]
        content = content.encode() if isinstance(content, str) else content
        content = content.replace(b"defaults: [a]", f"defaults: [{name}]".encode())
        (tmp_path / f"{name}.yaml").write_bytes(content)
    (tmp_path / "b.yaml").write_text("defaults: [a]\n")
    (tmp_path / "c.yaml").write_text("common: {seed: 1}\n")
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "names.json").write_text(json.dumps(list(names)))
    code = LIST + TRY + "print(json.dumps(found.pop('said')))"
    ended = attack(code, tmp_path)
    ended.bounded(cpu_s=20)
    assert ended.raised is None, ended
    said = json.loads(ended.out.strip().splitlines()[-1])
    for name, case in names.items():
        words = FILES[case][1].replace("a.yaml", f"{name}.yaml")
        assert words in said[name] and len(said[name]) < 600, (case, said[name])
        assert "\n" not in said[name]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "socket"])
def test_what_is_no_file(tmp_path, kind):
    path = tmp_path / "a.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        socket.socket(socket.AF_UNIX).bind(str(path)) if len(str(path)) < 100 else pytest.skip("a long path")
    ended = attack("from ecgfm.cli.hydra import train; found['status'] = train(['-cd', '.', '-cn', 'a'])", tmp_path)
    ended.said_one_line(2)
    assert "a.yaml" in ended.err and "not a" in ended.err


OVERRIDES = {
    "long": "'common.log_file=' + 'x' * 1_000_000",
    "deep": "'common.log_file=' + '[' * 10_000",
    "deep objects": "'common.log_file=' + '{a:' * 100 + '1' + '}' * 100",
    "digits": "'common.seed=' + '9' * 5000",
    "many": "*['common.seed=1'] * 100_000",
    "many values": "'optimization.lr=[' + '1,' * 3000 + '1]'",
    "a sweep": "'common.seed=1,2'",
    "a function": "'common.log_file=range(1,1000000000)'",
    "a glob": "'common.log_file=glob(*)'",
    "the environment": "'common.log_file=${oc.env:HOME}'",
    "quotes": "'common.log_file=\"'",
    "nothing": "'='",
    "an object with a list as key": "'common_eval.model_overrides=\"{[]: 1}\"'",
    "NUL": "'task.data=a\\0b'",
}


def test_overrides(tmp_path):
    code = "from ecgfm.cli.fairseq.compose import compose\nheld = 0\n"
    for name, words in OVERRIDES.items():
        code += f"try: compose('diagnosis', [{words}])\n"
        code += (
            f"except ecgfm.Error as error: assert len(str(error)) < 1500, str(error)\nelse: print('taken:', {name!r})\n"
        )
    ended = attack(code, tmp_path)
    ended.bounded(cpu_s=20)
    assert ended.raised is None, ended.text
    assert ended.out.split() == ["taken:", "an", "object", "with", "a", "list", "as", "key"], (
        ended.out
    )  # refused when read


@pytest.mark.parametrize("what", ["fifo", "device", "bomb", "damaged", "text"])
def test_files_that_a_run_reads(tmp_path, what):
    """The weights of the challenge, and logs that a run appends to."""
    for name in ("weights.csv", "valid.csv"):
        path = tmp_path / name
        if what == "fifo":
            os.mkfifo(path)
        elif what == "device":
            path.symlink_to("/dev/zero")
        elif what == "bomb":
            with open(path, "wb") as file:
                file.truncate(3 << 30)
        else:
            path.write_bytes(b"\xff\xfe\x00" * 100 if what == "damaged" else b"step,a\n" + b"1," * 200_000)
    code = """
from ecgfm.training.logs import CsvLog
from ecgfm.metrics.challenge import ChallengeScore
for read in (lambda: ChallengeScore('weights.csv'), lambda: CsvLog('.').write('valid', 1, {'a': 1})):
    try: read()
    except ecgfm.Error as error: assert '.csv' in str(error)
    else: assert what == 'text'  # of a log whose first line is right
try: CsvLog('.').forget_after(3)
except ecgfm.Error as error: assert '.csv' in str(error)
else: assert what in ('fifo', 'device')  # such are no logs
"""
    code = f"what = {what!r}\n" + code
    ended = attack(code, tmp_path)
    ended.bounded()
    assert ended.raised is None, ended.text


def test_mistakes_of_ours_are_named(tmp_path, monkeypatch):
    """What hydra raises of what nobody expects names the file, and keeps the cause."""
    import omegaconf

    from ecgfm.cli.fairseq.compose import compose

    (tmp_path / "a.yaml").write_text(BASE)

    def broken(*args, **options):
        raise KeyError("oops")

    monkeypatch.setattr(omegaconf.OmegaConf, "load", broken)
    with pytest.raises(ConfigError, match="KeyError while it is composed.*defect of ecgfm") as caught:
        compose("a", (), tmp_path)
    assert isinstance(caught.value.__cause__, KeyError) and caught.value.path.endswith("a.yaml")
    monkeypatch.setattr("ecgfm.cli.fairseq.files._checked_text", 7)
    with pytest.raises(TypeError):  # of our own line: no fault of the file
        compose("a", (), tmp_path)
