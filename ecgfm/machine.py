"""What ecgfm runs on: processor, threads, limits of a container, libraries, extras; and what of it could be better."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import Error
from .kernels import core
from .storage.inputs import read_input

__all__ = [
    "about",
    "busy_seconds",
    "cgroup_limits",
    "extras",
    "findings",
    "loaded_libraries",
    "memory",
    "peak_memory_mb",
    "processor",
    "processor_name",
    "short_name",
]

_INSTRUCTIONS = (
    "sse4_1 avx avx2 fma avx_vnni avx_ne_convert avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_bf16 amx_int8"
).split()
#: Environment variables that decide how fast the kernels run, or which library runs them.
VARIABLES = (
    "ECGFM_NUM_THREADS ECGFM_ONEDNN ONEDNN_MAX_CPU_ISA ONEDNN_VERBOSE ONEDNN_DEFAULT_FPMATH_MODE OMP_NUM_THREADS"
    " OMP_PROC_BIND OMP_PLACES OMP_WAIT_POLICY OMP_THREAD_LIMIT GOMP_CPU_AFFINITY GOMP_SPINCOUNT LD_PRELOAD"
).split()
_BASE_MB = 600  # what a process takes that loads the base model in float32 and runs a batch of 8, and a little more
_MOST = 1 << 26  # bytes of a file of the system


def about() -> dict[str, Any]:
    """All facts, as JSON can hold them.

    Where the kernels can't be loaded, ``error`` says why, and what only they know is None or empty.

    Raises
    ------
    ConfigError
        If ``ECGFM_NUM_THREADS`` is not a number of threads.
    """
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        **_kernels(),
        "openmp": loaded_libraries("gomp", "iomp5", "omp"),
        "memory": memory(),
        "cgroup": cgroup_limits(),
        "huge_pages": huge_pages(),
        "extras": extras(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _kernels() -> dict[str, Any]:
    try:
        module = core()
    except ImportError as error:
        return {"error": str(error), "threads": None, "onednn": None, "precisions": []}
    version, instructions = module.onednn()
    path = (loaded_libraries("dnnl") or [None])[0]  # type: ignore[list-item]
    return {
        "error": None,
        "threads": int(module.get_num_threads()),
        "onednn": {"version": version, "instructions": instructions, "path": path},
        "precisions": list(module.precisions()),
    }


def processor() -> dict[str, Any]:
    """The processor: its name and instruction sets; the processors that this process may use, and their cores."""
    fields = dict(_fields("/proc/cpuinfo"))  # the last processor's
    flags = set(fields.get("flags", "").split())
    allowed = sorted(os.sched_getaffinity(0))
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    siblings = [_read(topology.format(each)) or str(each) for each in allowed]
    return {
        "name": _name(fields),
        "instructions": [each for each in _INSTRUCTIONS if each in flags],
        "allowed": allowed,
        "cores": len(set(siblings)),
        "all": os.cpu_count() or len(allowed),
        "load": round(os.getloadavg()[0], 2),
    }


def processor_name() -> str:
    """The processor's name, or that of its kind where the system does not say."""
    return _name(dict(_fields("/proc/cpuinfo")))


def _name(fields: Mapping[str, str]) -> str:
    return fields.get("model name") or platform.processor() or platform.machine() or "unknown"


def short_name(name: str) -> str:
    """A processor's name without what all have in it."""
    return " ".join(re.sub(r"\((R|TM|C)\)|\bCPU\b|\bProcessor\b|@.*|\b\d+-Core\b", " ", name, flags=re.I).split())


def memory() -> dict[str, float | None]:
    """MB (10^6 bytes) of the machine, and those that a process could still get."""
    found = dict(_fields("/proc/meminfo"))
    kilobytes = {key: found.get(name, "").partition(" ")[0] for key, name in _MEMORY.items()}
    return {key: round(int(value) * 1.024e-3, 1) if value.isdigit() else None for key, value in kilobytes.items()}


_MEMORY = {"total_mb": "MemTotal", "available_mb": "MemAvailable"}


def huge_pages() -> dict[str, Any]:
    """Whether large blocks may lie on huge pages: ``always``, ``madvise`` (ecgfm asks for them), ``never``, or None."""
    chosen = re.search(r"\[(\w+)\]", _read("/sys/kernel/mm/transparent_hugepage/enabled") or "")
    return {"transparent": chosen[1] if chosen else None, "size": dict(_fields("/proc/meminfo")).get("Hugepagesize")}


def busy_seconds() -> float:
    """Time that all processors together were at work, or taken away by a hypervisor, since the machine started."""
    first = (_read("/proc/stat") or "cpu 0 0 0 0 0 0 0 0").split()[1:9]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, first)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def peak_memory_mb() -> float:
    """The most MB (10^6 bytes) that this process has held; not what its parent had when it was started."""
    return int(dict(_fields("/proc/self/status")).get("VmHWM", "0").split()[0]) * 1.024e-3


# ---- limits of a container ----------------------------------------------------------------------------------------

# Of version 1, the controllers' files; of version 2, the same in one hierarchy.
_V1 = {"cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
_V2 = {"cpu": ("cpu.max",), "memory": ("memory.max", "memory.current")}


def cgroup_limits(root: str = "/") -> dict[str, Any]:
    """What control groups leave to this process: the narrowest limit of its group and of those around it.

    Parameters
    ----------
    root : str
        Where ``proc`` and ``sys`` lie.

    Returns
    -------
    dict
        ``version`` (1, 2, or None if there are none), ``processors`` (a number such as 1.5, None without a limit),
        ``memory_mb`` and ``memory_used_mb`` (10^6 bytes).
    """
    found: dict[str, Any] = {"version": None, "processors": None, "memory_mb": None, "memory_used_mb": None}
    for version, controller, folder in _groups(Path(root)):
        found["version"] = version if found["version"] is None else min(found["version"], version)
        names = (_V1 if version == 1 else _V2)[controller]
        numbers = [each for name in names for each in (_read(folder / name) or "").split()]
        if len(numbers) != 2 or not numbers[0].isdigit() or not numbers[1].isdigit():
            continue  # "max", -1, or no file: no limit
        limit, other = map(int, numbers)
        if controller == "cpu" and other:
            found["processors"] = min(limit / other, found["processors"] or math.inf)
        elif controller == "memory" and limit < 1 << 60 and limit / 1e6 < (found["memory_mb"] or math.inf):
            found |= {"memory_mb": round(limit / 1e6, 1), "memory_used_mb": round(other / 1e6, 1)}
    return found


def _groups(root: Path) -> Iterator[tuple[int, str, Path]]:
    """(version, controller, folder) of the groups of this process and of all around them."""
    mounted = root / "sys/fs/cgroup"
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in _V2:
            if controller in controllers.split(","):
                places = [(1, mounted / controller), (1, mounted / controllers)]
            else:
                places = [(2, mounted), (2, mounted / "unified")] if not controllers else []
            for version, top in places:
                # In a container the path may be that outside, of which the folder itself is all that is seen.
                for folder in (top / path.strip("/"), *(top / path.strip("/")).parents):
                    if folder.is_dir() and (folder == top or top in folder.parents):
                        yield version, controller, folder


# ---- libraries and extras -----------------------------------------------------------------------------------------


def loaded_libraries(*names: str) -> list[str]:
    """Paths of the shared libraries ``libNAME.so...`` (also ``libNAME-HASH.so...``) that this process has loaded."""
    pattern = re.compile(rf"lib({'|'.join(map(re.escape, names))})(-[0-9a-f]+)?\.so[.0-9]*")
    paths = (line.split(maxsplit=5)[5] for line in (_read("/proc/self/maps") or "").splitlines() if "/" in line)
    return sorted({path for path in paths if pattern.fullmatch(os.path.basename(path))})


def extras() -> dict[str, dict[str, str | None]]:
    """Extra -> its packages, each with the version that is installed, or None; {} where ecgfm is not installed."""
    try:
        required = metadata.requires("ecgfm") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, dict[str, str | None]] = {}
    for line in required:
        package, extra = re.match(r"[\w.-]+", line), re.search(r"extra\s*==\s*['\"](\w+)['\"]", line)
        if package and extra and extra[1] not in ("all", "dev", "test"):
            found.setdefault(extra[1], {})[package[0]] = _version(package[0])
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# ---- what could be better -----------------------------------------------------------------------------------------


def findings(facts: dict[str, Any]) -> list[dict[str, str]]:
    """What of the facts keeps ecgfm from running, or from running fast, and how to mend it.

    Parameters
    ----------
    facts : dict
        What `about` gives.

    Returns
    -------
    list of dict
        ``what`` and ``remedy``.
    """
    found = [*_of_kernels(facts), *_of_processor(facts), *_of_system(facts)]
    return [{"what": what, "remedy": remedy} for what, remedy in found]


def _of_kernels(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if facts["error"] is not None:
        remedy = "Unset ECGFM_ONEDNN" if "ECGFM_ONEDNN" in facts["variables"] else "Install the package again"
        yield f"the kernels can't be loaded: {facts['error'].rstrip('.')}", remedy


def _of_processor(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    has = facts["processor"]
    threads = len(has["allowed"]) if facts["threads"] is None else facts["threads"]
    if "avx2" not in has["instructions"]:
        yield "the processor has no AVX2: everything is several times slower", "Run on a processor with AVX2 or AVX-512"
    bound = facts["variables"].get("ONEDNN_MAX_CPU_ISA")
    if bound:
        yield f"ONEDNN_MAX_CPU_ISA={bound} keeps oneDNN from newer instructions", "Unset it"
    absent = [each for each in ("bfloat16", "int8") if each not in facts["precisions"]]
    if absent and not bound and facts["error"] is None:
        needs = {"bfloat16": "AVX-512 with bf16 (Zen 4, Cooper Lake, Sapphire Rapids or newer)", "int8": "AVX2"}
        which = " and ".join(absent)
        yield f"{which}: this processor lacks the instructions", f"It takes {needs[absent[0]]}; float32 runs everywhere"
    quota = facts["cgroup"]["processors"]
    if quota is not None and quota < threads:
        remedy = f"Set ECGFM_NUM_THREADS={max(1, math.floor(quota))}"
        yield f"the control group gives the time of {quota:g} processors to {threads} threads", remedy
    elif has["cores"] < threads <= len(has["allowed"]):
        remedy = f"Try ECGFM_NUM_THREADS={has['cores']}; ecgfm speed shows what is faster"
        yield f"{threads} threads share {has['cores']} cores, which seldom helps matrix products", remedy
    if threads > len(has["allowed"]):
        remedy = f"Set ECGFM_NUM_THREADS={len(has['allowed'])}, or give the process more processors"
        yield f"{threads} threads on {len(has['allowed'])} processors", remedy
    if has["load"] > has["all"] + 0.5:
        remedy = "Trust no timing until they are done"
        yield f"other processes keep the processors busy (load {has['load']:g} on {has['all']})", remedy


def _of_system(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if facts["huge_pages"]["transparent"] == "never":
        remedy = "As root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        yield "huge pages are switched off: loading takes longer, and large models run a little slower", remedy
    left = facts["memory"]["available_mb"]
    if facts["cgroup"]["memory_mb"] is not None:
        inside = facts["cgroup"]["memory_mb"] - facts["cgroup"]["memory_used_mb"]
        left = inside if left is None else min(left, inside)
    if left is not None and left < _BASE_MB:
        yield f"{left:,.0f} MB of memory are left; the base model takes up to {_BASE_MB}", "End other programs"
    if len(facts["openmp"]) > 1:
        remedy = "Import the library that brings the other one in a process of its own"
        yield f"{len(facts['openmp'])} OpenMP runtimes are loaded, whose threads wait for each other", remedy


# ---- reading ------------------------------------------------------------------------------------------------------


def _read(path: str | os.PathLike[str]) -> str | None:
    """The text of a file of the system; None where there is none that may be read."""
    try:
        return read_input(path, most=_MOST).decode(errors="replace").strip()
    except Error:
        return None


def _fields(path: str) -> Iterator[tuple[str, str]]:
    """(name, value) of lines ``name: value``."""
    for line in (_read(path) or "").splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()
