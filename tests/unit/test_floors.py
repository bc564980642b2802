"""The floors of the package: a module knows only those on its own floor's room and below, and no imports form a
circle."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "ecgfm"

#: From the ground up; a room knows those of lower rows, and itself.
FLOORS = (
    ("_core", "_moved", "_text", "_types"),
    ("errors",),
    ("workers", "storage", "validation", "kernels"),
    ("specs", "table", "ranks", "machine"),
    ("signal", "metrics", "labeler"),
    ("checkpoint", "ecg"),
    ("model", "io"),
    ("data", "view", "inference"),
    ("training",),
    ("sklearn",),
    ("cli",),
    ("__main__",),
)
#: Names that users know on one floor, of what lives on a higher one: imported when they are asked for.
FACES = {("ecgfm.ecg", "ecgfm.io")}


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def targets(node, package):
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == "ecgfm"]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*base, *(node.module.split(".") if node.module else ())])
    if base.split(".")[0] != "ecgfm":
        return []
    names = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in modules() else base for name in names]


@cache
def modules():
    return {module_of(path): path for path in PACKAGE.rglob("*.py")}


def nodes_of(tree, run_only):
    """All nodes, or those that run: without what stands under ``if TYPE_CHECKING``."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        for_types = run_only and isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"
        stack += node.orelse if for_types else ast.iter_child_nodes(node)


@cache
def imports(run_only=False):
    """Module -> the modules that it imports, wherever in it."""
    found = {}
    for module, path in modules().items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        nodes = nodes_of(ast.parse(path.read_text(encoding="utf-8")), run_only)
        found[module] = {name for node in nodes for name in targets(node, package)} - {module}
    return found


def floor(module):
    room = module.split(".")[1]
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def test_each_room_has_a_floor():
    rooms = {module.split(".")[1] for module in modules() if "." in module}
    assert rooms <= {room for rooms in FLOORS for room in rooms}


def test_no_import_climbs():
    climbing = [
        f"{module} imports {name}"
        for module, names in imports().items()
        for name in names
        if "." in module
        and "." in name
        and floor(name) >= floor(module)
        and module.split(".")[1] != name.split(".")[1]
        and (module, name) not in FACES
    ]
    assert not climbing


def circles():
    """Sets of modules that reach each other by imports of modules (a package's face is no module here)."""
    edges = {module: {name for name in names if "." in name} for module, names in imports(run_only=True).items()}
    faces = {module for module, path in modules().items() if path.name == "__init__.py"}

    def reached(start):
        seen, stack = set(), [start]
        while stack:
            for name in edges.get(stack.pop(), ()):
                if name not in seen and name not in faces:
                    seen.add(name)
                    stack.append(name)
        return seen

    reach = {module: reached(module) for module in edges if module not in faces}
    return {
        frozenset(other for other in reach if module in reach[other] and other in reach[module])
        for module in reach
        if module in reach[module]
    }


def test_no_imports_form_a_circle():
    assert not circles()


@pytest.mark.parametrize("module", ["ecgfm", "ecgfm.errors", "ecgfm.labeler"])
def test_what_is_light_knows_no_kernels(module):
    assert "ecgfm._core" not in imports(run_only=True)[module]
