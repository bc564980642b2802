"""The graph of a definition's entities: what is a kind of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .._text import shown
from ..errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .definitions import Definitions

__all__ = ["Graph", "find_cycle", "paths_up"]


class Graph:
    """Entities and the relation "is a kind of".

    Parameters
    ----------
    definitions : Definitions
    """

    def __init__(self, definitions: Definitions) -> None:
        self._path = definitions.path
        self._up = {name: entity.sup for name, entity in definitions.entities.items()}
        self._down: dict[str, list[str]] = {name: [] for name in self._up}
        for name, sups in self._up.items():
            for sup in sups:
                self._down[sup].append(name)

    def _reach(self, name: str, edges: Mapping[str, Sequence[str]]) -> list[str]:
        if name not in self._up:
            raise ConfigError(f"there is no entity {shown(name)}", path=self._path, field="entity")
        found: dict[str, None] = {}
        queue = [name]
        for node in queue:
            new = [other for other in edges[node] if other not in found]
            found.update(dict.fromkeys(new))
            queue += new
        return list(found)

    def ancestors(self, name: str) -> list[str]:
        """All that the entity is a kind of, nearest first."""
        return self._reach(name, self._up)

    def descendants(self, name: str) -> list[str]:
        """All kinds of the entity, nearest first."""
        return self._reach(name, self._down)

    def subgraph(self, name: str) -> tuple[list[str], list[tuple[str, str]]]:
        """The entity with all its kinds.

        Returns
        -------
        nodes : list of str
            The entity, then its kinds, nearest first.
        edges : list of (str, str)
            (kind, of what), both among the nodes.
        """
        nodes = [name, *self.descendants(name)]
        inside = set(nodes)
        return nodes, [(node, sup) for node in nodes for sup in self._up[node] if sup in inside]

    def plot(
        self, name: str, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None, fontsize: float = 8
    ) -> Axes:
        """Draw the entity with all its kinds, those furthest away on the right (extra ``[plot]``).

        Returns
        -------
        matplotlib.axes.Axes
        """
        nodes, edges = self.subgraph(name)
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise MissingExtraError(
                "matplotlib is not installed", field="plot", remedy="Install it with: pip install 'ecgfm[plot]'"
            ) from None
        depth = {name: 0}
        for node in nodes[1:]:  # nearest first, so that one of its own super-entities has been seen
            depth[node] = 1 + min(depth[sup] for kind, sup in edges if kind == node and sup in depth)
        columns = [[node for node in nodes if depth[node] == d] for d in range(max(depth.values()) + 1)]
        tallest = max(map(len, columns))
        if ax is None:
            ax = Figure(figsize=figsize or (3.2 * len(columns), 1 + 0.28 * tallest)).add_subplot()
        place = {
            node: (d, (len(column) - 1) / 2 - i) for d, column in enumerate(columns) for i, node in enumerate(column)
        }
        for kind, sup in edges:
            ax.annotate(
                "",
                xy=place[sup],
                xytext=place[kind],
                arrowprops={"arrowstyle": "->", "color": "0.6", "shrinkA": 4, "shrinkB": 4},
            )
        for node, (x, y) in place.items():
            ax.text(
                x,
                y,
                node,
                ha="center",
                va="center",
                fontsize=fontsize,
                bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "0.4"},
            )
        ax.set_xlim(-0.6, len(columns) - 0.4)
        ax.set_ylim(-tallest / 2 - 0.5, tallest / 2 + 0.5)
        ax.set_axis_off()
        return ax


def find_cycle(edges: Mapping[str, Sequence[str]]) -> list[str] | None:
    """A path that ends where it began in a mapping of node to nodes, or None. Iterative: any depth is safe."""
    state = {}
    for root in edges:
        if root in state:
            continue
        path, stack = [], [(root, iter(edges[root]))]
        state[root] = 1
        path.append(root)
        while stack:
            node, rest = stack[-1]
            for nxt in rest:
                if state.get(nxt) == 1:
                    return path[path.index(nxt) :] + [nxt]
                if nxt not in state:
                    state[nxt] = 1
                    path.append(nxt)
                    stack.append((nxt, iter(edges.get(nxt, ()))))
                    break
            else:
                state[node] = 2
                path.pop()
                stack.pop()
    return None


def paths_up(edges: Mapping[str, Sequence[str]]) -> Iterator[tuple[int, int]]:
    """How many paths lead up from each node of a mapping without cycles, and how many steps they have together.

    Yields
    ------
    paths, steps : int
        In the order of the mapping.
    """
    known: dict[str, tuple[int, int]] = {}
    for root in edges:
        stack = [root]
        while stack:
            top = stack[-1]
            unknown = [sup for sup in edges[top] if sup not in known]
            if unknown and top not in known:
                stack += unknown
            else:
                below = [known[sup] for sup in edges[top]]
                paths = sum(1 + paths for paths, _ in below)
                known[top] = paths, paths + sum(steps for _, steps in below)
                stack.pop()
        yield known[root]
