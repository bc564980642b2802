"""What the machine is: control groups of both versions, extras, libraries; and what is found wanting."""

import copy
import json
from importlib import metadata

import pytest

from ecgfm import machine


@pytest.fixture(scope="module")
def facts():
    return machine.about()


def group(root, proc, **files):
    """A tree of control groups: what /proc/self/cgroup says, and files by path below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(proc)
    for path, text in files.items():
        file = root / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return machine.cgroup_limits(str(root))


def test_facts_are_json_and_true(facts):
    assert json.loads(json.dumps(facts)) == facts
    assert facts["error"] is None and facts["threads"] >= 1 and facts["precisions"][0] == "float32"
    assert facts["onednn"]["version"].startswith("3.") and "libdnnl.so.3" in facts["onednn"]["path"]
    assert any("libgomp" in path for path in facts["openmp"])
    assert 0 < facts["memory"]["available_mb"] <= facts["memory"]["total_mb"]
    assert 1 <= facts["processor"]["cores"] <= len(facts["processor"]["allowed"]) <= facts["processor"]["all"]


# ---- control groups


def test_no_groups(tmp_path):
    found = machine.cgroup_limits(str(tmp_path))
    assert found == {"version": None, "processors": None, "memory_mb": None, "memory_used_mb": None}


def test_version_2(tmp_path):
    files = {"a/b/cpu.max": "150000 100000\n", "a/b/memory.max": "2000000000\n", "a/b/memory.current": "500000000\n"}
    found = group(tmp_path, "0::/a/b\n", **files)
    assert found == {"version": 2, "processors": 1.5, "memory_mb": 2000.0, "memory_used_mb": 500.0}


def test_version_2_the_narrowest_limit_counts(tmp_path):
    files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000", "cpu.max": "400000 100000"}
    files |= {
        "a/b/memory.max": "max",
        "a/b/memory.current": "1",
        "a/memory.max": "3000000000",
        "a/memory.current": "7000000",
    }
    found = group(tmp_path, "0::/a/b\n", **files)
    assert found["processors"] == 1.0 and found["memory_mb"] == 3000.0 and found["memory_used_mb"] == 7.0


def test_version_1(tmp_path):
    files = {"cpu,cpuacct/x/cpu.cfs_quota_us": "50000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}
    files |= {"memory/x/memory.limit_in_bytes": "1000000000", "memory/x/memory.usage_in_bytes": "250000000"}
    found = group(tmp_path, "4:memory:/x\n1:cpu,cpuacct:/x\n0::/\n", **files)
    assert found == {"version": 1, "processors": 0.5, "memory_mb": 1000.0, "memory_used_mb": 250.0}


def test_version_1_without_limits(tmp_path):
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    files |= {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "1"}
    found = group(tmp_path, "2:memory:/\n1:cpu:/\n", **files)
    assert found["version"] == 1 and found["processors"] is None and found["memory_mb"] is None


@pytest.mark.parametrize("proc", ["0::/../../outside\n", "0::/of/the/host\n"])
def test_a_container_sees_its_own_folder_only(tmp_path, proc):
    """The path is that outside; the limit lies in the folder that is mounted. Nothing above it is read."""
    (tmp_path / "cpu.max").write_text("1 1000000")
    assert group(tmp_path, proc, **{"cpu.max": "200000 100000"})["processors"] == 2.0


@pytest.mark.parametrize("text", ["", "abc def", "100000", "100000 0", "1 2 3", "\xff"])
def test_files_that_say_something_else(tmp_path, text):
    assert group(tmp_path, "0::/\n", **{"cpu.max": text})["processors"] is None


# ---- libraries


def test_extras_are_those_of_the_installation(monkeypatch):
    lines = ["numpy>=1.26", 'scipy>=1.11; extra == "io"', "absent_thing ; extra == 'io'", 'ruff==1; extra == "dev"']
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    found = machine.extras()
    assert set(found) == {"io"} and found["io"]["absent_thing"] is None
    monkeypatch.setattr(metadata, "requires", lambda name: None)
    assert machine.extras() == {}


def test_not_installed(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert machine.extras() == {}


def test_names_of_libraries(monkeypatch):
    maps = "7f r-xp 0 fe:00 1 /usr/lib/libgomp.so.1.0.0\n7f r-xp 0 fe:00 1 /a b/torch.libs/libgomp-a34b3233.so.1\n"
    maps += "7f r-xp 0 fe:00 1 /opt/libompanion.so.3\n7f rw-p 0 00:00 0\n7f r-xp 0 fe:00 1 /opt/libiomp5.so\n"
    monkeypatch.setattr(machine, "_read", lambda path: maps)
    found = machine.loaded_libraries("gomp", "iomp5", "omp")
    assert found == ["/a b/torch.libs/libgomp-a34b3233.so.1", "/opt/libiomp5.so", "/usr/lib/libgomp.so.1.0.0"]


@pytest.mark.parametrize(
    "name, short",
    [
        ("AMD EPYC 9B45 128-Core Processor", "AMD EPYC 9B45"),
        ("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", "Intel Xeon E5-2690 v4"),
    ],
)
def test_short_names_of_processors(name, short):
    assert machine.short_name(name) == short


# ---- what could be better


def changed(facts, **parts):
    """The facts of a machine with nothing to mend, some parts otherwise."""
    facts = copy.deepcopy(facts)
    processor = {"instructions": ["avx2"], "allowed": [0, 1], "cores": 2, "all": 2, "load": 0.1}
    good = {
        "error": None,
        "threads": 2,
        "processor": facts["processor"] | processor,
        "precisions": ["float32", "bfloat16", "int8"],
        "memory": {"total_mb": 9000.0, "available_mb": 8000.0},
        "cgroup": {"version": 2, "processors": None, "memory_mb": None, "memory_used_mb": None},
        "huge_pages": {"transparent": "madvise", "size": None},
        "openmp": ["libgomp.so"],
        "variables": {},
    }
    for key, value in parts.items():
        good[key] = good[key] | value if isinstance(value, dict) and isinstance(good[key], dict) else value
    return facts | good


def test_nothing_to_mend(facts):
    assert machine.findings(changed(facts)) == []


@pytest.mark.parametrize(
    "parts, what, remedy",
    [
        ({"processor": {"instructions": []}}, "no AVX2", "Run on"),
        ({"variables": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}, "ONEDNN_MAX_CPU_ISA=AVX2", "Unset"),
        ({"precisions": ["float32", "int8"]}, "bfloat16: this processor lacks", "AVX-512 with bf16"),
        ({"cgroup": {"processors": 1.5}}, "time of 1.5 processors to 2 threads", "ECGFM_NUM_THREADS=1"),
        ({"cgroup": {"processors": 0.2}}, "0.2 processors", "ECGFM_NUM_THREADS=1"),
        ({"processor": {"cores": 1}}, "2 threads share 1 cores", "ECGFM_NUM_THREADS=1"),
        ({"threads": 8}, "8 threads on 2 processors", "ECGFM_NUM_THREADS=2"),
        ({"processor": {"load": 9.0}}, "load 9", "Trust no timing"),
        ({"huge_pages": {"transparent": "never"}}, "huge pages are switched off", "echo madvise"),
        ({"memory": {"available_mb": 100.0}}, "100 MB of memory are left", "End other programs"),
        ({"cgroup": {"memory_mb": 700.0, "memory_used_mb": 400.0}}, "300 MB of memory", "End other programs"),
        ({"openmp": ["a/libgomp.so", "b/libiomp5.so"]}, "2 OpenMP runtimes", "process of its own"),
        ({"error": "no libdnnl.", "threads": None}, "can't be loaded: no libdnnl", "Install"),
        ({"error": "no file", "variables": {"ECGFM_ONEDNN": "/x"}}, "no file", "Unset ECGFM_ONEDNN"),
    ],
)
def test_findings(facts, parts, what, remedy):
    (found,) = machine.findings(changed(facts, **parts))
    assert what in found["what"] and remedy in found["remedy"]
