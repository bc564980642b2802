"""What ecgfm runs on: processor, threads, limits, libraries, extras; what is missing and how to mend it.

The small model that comes with the package is run once in each precision that the processor supports. Exit status: 0 if
all runs, 2 if it does not.
"""

from __future__ import annotations

import json
import textwrap
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from .._text import printable
from ..errors import Error
from .arguments import add

__all__ = ["add_arguments", "run"]

_WIDTH = 100


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, {"--json": {"action": "store_true", "help": "print JSON"}})


def run(args: Namespace) -> int:
    from .. import __version__
    from ..machine import about, findings

    facts = {"ecgfm": __version__} | about()
    found = facts | {"runs": _trials(facts["precisions"]), "findings": findings(facts)}
    print(json.dumps(found, indent=1) if args.json else "\n".join(map(printable, _page(found))))
    return 0 if found["error"] is None and not _not_run(found["runs"]) else 2


def _trials(precisions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Precision -> the ms that the shipped model takes for a segment, or the error in their place."""
    import numpy as np

    from .. import load
    from ..inference.opening import shipped_model

    found: dict[str, dict[str, Any]] = {}
    for precision in precisions:
        try:
            with shipped_model() as path:
                model = load(path, precision=precision)
            shape = 1, model.config["in_d"], model.input.samples
            x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
            model(x)
            begin = time.perf_counter()
            model(x)
            found[precision] = {"ms": round(1e3 * (time.perf_counter() - begin), 2), "error": None}
        except (Error, MemoryError, OSError) as error:
            found[precision] = {"ms": None, "error": str(error)}
    return found


def _page(facts: dict[str, Any]) -> list[str]:
    """The lines for people."""
    lines = [f"ecgfm {facts['ecgfm']}, Python {facts['python']}, {facts['system']}", ""]
    for title, text in _rows(facts).items():
        lines += textwrap.wrap(text, _WIDTH, initial_indent=f"{title:<14}", subsequent_indent=14 * " ") or [title]
    mend = [*_not_run(facts["runs"]), *facts["findings"]]
    lines += ["", "To mend:" if mend else "Nothing is missing."]
    for one in mend:
        text = f"{one['what']}. {one['remedy']}."
        lines += textwrap.wrap(text, _WIDTH, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False)
    return lines


def _rows(facts: dict[str, Any]) -> dict[str, str]:
    has, memory, limits = (facts[key] for key in ("processor", "memory", "cgroup"))
    onednn = facts["onednn"] or {"version": "not loaded", "instructions": "", "path": None}
    allowed = has["allowed"]
    runs = [f"{name} {one['ms']:g} ms" for name, one in facts["runs"].items() if one["error"] is None]
    return {
        "processor": f"{has['name']}; load {has['load']:g}",
        "instructions": " ".join(has["instructions"]) or "none that matter",
        "affinity": f"{len(allowed)} of {has['all']} processors ({_ranges(allowed)}), on {has['cores']} cores",
        "threads": f"{facts['threads'] or 'unknown'} ({_origin(facts['variables'])})",
        "limits": _limits(limits),
        "memory": f"{_mb(memory['available_mb'])} of {_mb(memory['total_mb'])} are free",
        "huge pages": f"{facts['huge_pages']['transparent'] or 'unknown'} ({facts['huge_pages']['size'] or 'no size'})",
        "oneDNN": ", ".join(str(each) for each in onednn.values() if each),
        "OpenMP": ", ".join(facts["openmp"]) or "unknown",
        "precisions": ", ".join(facts["precisions"]) or "unknown",
        "runs": f"the shipped model, one segment: {', '.join(runs) or 'not at all'}",
        "variables": " ".join(f"{name}={value}" for name, value in facts["variables"].items()) or "none is set",
        **_extras(facts["extras"]),
    }


def _extras(extras: Mapping[str, Mapping[str, str | None]]) -> dict[str, str]:
    have, absent = [], []
    for extra, packages in extras.items():
        missing = [name for name, version in packages.items() if version is None]
        if missing:
            absent.append(f"ecgfm[{extra}] ({', '.join(missing)}): pip install 'ecgfm[{extra}]'")
        else:
            have.append(f"{extra} ({', '.join(f'{name} {version}' for name, version in packages.items())})")
    if not extras:
        have = ["unknown: ecgfm is not installed by pip"]
    return {"extras": "; ".join(have) or "none"} | ({"not installed": "; ".join(absent)} if absent else {})


def _not_run(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    broken = {name: one["error"].rstrip(".") for name, one in runs.items() if one["error"] is not None}
    return [
        {"what": f"{name} does not run: {why}", "remedy": "Install the package again"} for name, why in broken.items()
    ]


def _origin(variables: Mapping[str, str]) -> str:
    said = variables.get("ECGFM_NUM_THREADS")
    return (
        f"ECGFM_NUM_THREADS={said}" if said else "all that this process may use; ECGFM_NUM_THREADS sets another number"
    )


def _limits(limits: Mapping[str, Any]) -> str:
    if limits["version"] is None:
        return "no control group"
    processors = "processors not limited" if limits["processors"] is None else f"{limits['processors']:g} processors"
    memory = "memory not limited"
    if limits["memory_mb"] is not None:
        memory = f"{_mb(limits['memory_used_mb'])} of {_mb(limits['memory_mb'])} in use"
    return f"control group of version {limits['version']}: {processors}, {memory}"


def _mb(number: float | None) -> str:
    return "an unknown number of MB" if number is None else f"{number:,.0f} MB"


def _ranges(numbers: list[int]) -> str:
    """``0-3,8``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
