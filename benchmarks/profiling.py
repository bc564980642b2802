"""Where ecgfm's time goes: oneDNN's own record of each primitive that it ran, ordered by kind and by shape."""

import re
from math import prod


def _sizes(problem):
    return {name: int(value) for name, value in re.findall(r"([a-z]+)(\d+)", problem)}


def primitive_operations(kind, problem):
    """Floating-point operations of one run of a primitive, from oneDNN's description of the problem.

    Parameters
    ----------
    kind : str
        ``"inner_product"``, ``"matmul"`` or ``"convolution"``; any other counts as 0.
    problem : str
        Such as ``mb1248ic768oc2304``, ``8x12x156x64:8x12x64x156`` or ``g16mb8_ic768oc768_iw156ow156kw128sw1dw0pw64``.
    """
    if kind == "inner_product":
        size = _sizes(problem)
        return 2 * size["mb"] * size["ic"] * size["oc"]
    if kind == "convolution":
        size = _sizes(problem)
        return 2 * size["mb"] * size["ow"] * size["oc"] * (size["ic"] // size.get("g", 1)) * size["kw"]
    if kind == "matmul":
        src, weights = ([int(n) for n in side.split("x")] for side in problem.split(":")[:2])
        return 2 * prod(src) * weights[-1]
    return 0


def parse(text):
    """(kind, implementation, problem, milliseconds) of each primitive that was run, from oneDNN's verbose output."""
    found = []
    for line in text.splitlines():
        fields = line.split(",")
        if fields[0] == "onednn_verbose" and "exec" in fields[1:3]:
            fields = fields[fields.index("exec") + 1 :]  # processor, kind, implementation, ..., problem, time
            found.append((fields[1], fields[2], fields[-2], float(fields[-1])))
    return found


def summarise(text, runs, seconds):
    """Rows of a profile, the largest first.

    Parameters
    ----------
    text : str
        oneDNN's output over all runs.
    runs : int
        How many forwards it covers.
    seconds : float
        Time of all forwards together.

    Returns
    -------
    list of dict
        ``kind``, ``problem``, ``implementation``, ``calls`` a forward, ``ms`` a forward, ``share`` of the forward,
        ``gflops`` a second.  The last row, of kind ``"other"``, is what remains: the kernels that are not oneDNN's.
    """
    totals = {}
    for kind, implementation, problem, ms in parse(text):
        calls, total = totals.get((kind, problem, implementation), (0, 0.0))
        totals[kind, problem, implementation] = calls + 1, total + ms
    forward = seconds * 1e3 / runs
    rows = []
    for (kind, problem, implementation), (calls, ms) in sorted(totals.items(), key=lambda item: -item[1][1]):
        rows.append(
            {
                "kind": kind,
                "problem": problem,
                "implementation": implementation,
                "calls": calls / runs,
                "ms": ms / runs,
                "share": ms / runs / forward,
                "gflops": primitive_operations(kind, problem) * calls / ms / 1e6 if ms else 0.0,
            }
        )
    rest = forward - sum(row["ms"] for row in rows)
    other = {"kind": "other", "problem": "norms, GELU, softmax, transposes, Python", "implementation": "ecgfm"}
    return [*rows, other | {"calls": 1.0, "ms": rest, "share": rest / forward, "gflops": 0.0}]


def by_kind(rows):
    """The rows of `summarise` added up by kind, the largest first."""
    kinds = {}
    for row in rows:
        kind = kinds.setdefault(row["kind"], {"kind": row["kind"], "ms": 0.0, "share": 0.0, "operations": 0.0})
        kind["ms"] += row["ms"]
        kind["share"] += row["share"]
        kind["operations"] += row["gflops"] * row["ms"]
    found = []
    for kind in sorted(kinds.values(), key=lambda kind: -kind["ms"]):
        operations = kind.pop("operations")
        found.append(kind | {"gflops": operations / kind["ms"] if kind["ms"] > 0 else 0.0})
    return found
