"""The labeler: definitions, normalisation and rules behind one object."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._types import StrPath
from ..errors import Error
from ..validation import Choice, Whole, checked
from .cull import cull
from .definitions import Definitions
from .engine import MODES, Engine
from .explain import Explanation
from .graph import Graph
from .json_files import read_json, write_json
from .normalizer import Normalizer, clean
from .result import Result
from .wording import FILE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Labeler", "load", "label", "normalize", "default"]

# Of some reports: the normalized texts, samples, label numbers, probabilities.
Labeled: TypeAlias = "tuple[list[str], NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]"

CHUNK = 4096  # reports labeled at a time, ...
CHUNK_TEXT = 1 << 23  # ... fewer where they have more characters than this together
MAX_PROCESSES = 1024


class Labeler:
    """Free-text ECG reports to labels.

    Parameters
    ----------
    definitions : Definitions, optional
        Default: those of the package.
    rules : dict, optional
        Normalisation rules; default: those of the package.

    Examples
    --------
    >>> from ecgfm import labeler
    >>> result = labeler.load().label(["Sinus rhythm with PVCs", "Possible inferior infarct"])
    >>> result.labels_flat["name"].tolist()[:2]
    ['Arrhythmia', 'Ectopic beat']
    """

    def __init__(self, definitions: Definitions | None = None, rules: dict[str, Any] | None = None) -> None:
        self.definitions = Definitions.load() if definitions is None else definitions
        self._rules = rules
        self._normalizer: Normalizer | None = None
        self._engines: dict[str, Engine] = {}
        self.graph = Graph(self.definitions)

    def __repr__(self) -> str:
        return f"Labeler({len(self.definitions.entities)} entities, {len(self.definitions.patterns)} patterns)"

    @property
    def normalizer(self) -> Normalizer:
        """Normalizer: the rules of normalisation; the words of the definitions are not taken for misspellings."""
        if self._normalizer is None:
            folder = self.definitions.path
            path = None if self._rules is None or folder is None else folder / FILE
            self._normalizer = Normalizer(self._rules, path=path, definitions=self.definitions)
        return self._normalizer

    def engine(self, mode: str) -> Engine:
        """The engine of one mode."""
        mode = checked(mode, Choice(MODES), "mode")
        if mode not in self._engines:
            matcher = next((engine.matcher for engine in self._engines.values()), None)
            self._engines[mode] = Engine(self.definitions, mode, matcher)
        return self._engines[mode]

    def normalize(self, texts: Any) -> list[str]:
        """Normalize texts.

        Parameters
        ----------
        texts : str or sequence
            None, NaN and the like count as empty texts.

        Returns
        -------
        list of str
        """
        return self.normalizer(as_list(texts))

    def label(self, texts: Any, mode: str = "documented", normalized: bool = False, processes: int = 1) -> Result:
        """Label reports.

        Parameters
        ----------
        texts : str or sequence
            The reports: a list, an array, a column of a data frame. None, NaN and the like count as empty.
        mode : {"documented", "reference"}
            ``documented``: what the rules say. ``reference``: what ECG-FM's labeler yields, which loses
            descriptors in reports without a connective and labels what a report says is absent.
        normalized : bool
            Whether the texts are normalized already.
        processes : int
            Number of processes; 0 for one per available core.

        Returns
        -------
        Result
        """
        results = list(self.stream(as_list(texts), mode, normalized, processes=processes))
        if len(results) == 1:
            return results[0]
        engine = self.engine(mode)
        made: list[str] = []
        parts = [engine.flat([])]
        for result in results:
            samples, numbers, probs = result._flat
            parts.append((samples + len(made), numbers, probs))
            made += result._texts
        return Result(engine, made, *map(np.concatenate, zip(*parts)))

    def stream(
        self,
        texts: Iterable[Any],
        mode: str = "documented",
        normalized: bool = False,
        *,
        chunk_size: int = CHUNK,
        processes: int = 1,
    ) -> Iterator[Result]:
        """Label any number of reports, some at a time.

        Parameters
        ----------
        texts : iterable
            The reports; may be a generator, which is read as results are taken.
        mode, normalized, processes
            As for :meth:`label`.
        chunk_size : int
            Reports in a result.

        Yields
        ------
        Result
            Of the next ``chunk_size`` reports (fewer of very long ones), in order. Memory does not grow with the
            number of reports.
        """
        chunk_size = checked(chunk_size, Whole(1), "chunk_size")
        engine = self.engine(mode)
        processes = count_processes(processes)
        chunks = chunked(texts, chunk_size)
        if processes == 1:
            for chunk in chunks:
                yield Result(engine, *self._chunk(chunk, mode, normalized))
            return
        setup = (self.definitions.sections, self._rules, mode, normalized)
        with ProcessPoolExecutor(processes, mp_context=context(), initializer=start_worker, initargs=setup) as pool:
            waiting: deque[Future[Any]] = deque()
            try:
                for chunk in chunks:
                    waiting.append(pool.submit(work, chunk))
                    if len(waiting) > 2 * processes:
                        yield Result(engine, *waiting.popleft().result())
                while waiting:
                    yield Result(engine, *waiting.popleft().result())
            except BrokenProcessPool:
                raise Error(
                    "a worker process has died", field="processes", remedy="If memory ran out, use fewer processes"
                ) from None
            finally:
                for future in waiting:
                    future.cancel()

    def _chunk(self, chunk: list[Any], mode: str, normalized: bool) -> Labeled:
        made = [clean(text) for text in chunk] if normalized else self.normalizer(chunk)
        return (made, *self.engine(mode).flat(made))

    def explain(self, text: Any, mode: str = "documented", normalized: bool = False) -> Explanation:
        """Why a report gets its labels.

        Parameters
        ----------
        text : str
        mode, normalized
            As for :meth:`label`.

        Returns
        -------
        Explanation
        """
        report = clean(text)
        return Explanation(self.engine(mode), report, report if normalized else self.normalizer.text(report))

    def save(self, folder: StrPath) -> None:
        """Write the definitions to a directory, and the normalisation rules if they aren't the package's."""
        self.definitions.save(folder)
        rules = Path(folder) / FILE
        if self._rules is not None:
            write_json(rules, self._rules)
        elif rules.exists():
            rules.unlink()

    def cull(self, texts: Any, normalized: bool = False) -> Labeler:
        """A labeler with only what some reports use.

        Parameters
        ----------
        texts : sequence or Result
            The reports, or the result of labeling them.
        normalized : bool
            Whether the texts are normalized already.

        Returns
        -------
        Labeler
            It labels these reports as this one does.
        """
        if isinstance(texts, Result):
            texts, normalized = texts._texts, True
        matcher = self.engine(MODES[0]).matcher
        used: set[int] = set()
        for text in as_list(texts):
            text = clean(text) if normalized else self.normalizer.text(text)
            used.update(rank for _, _, rank in matcher.match(text)[1])
        return Labeler(cull(self.definitions, {matcher.patterns[rank].text for rank in used}), self._rules)

    def ancestors(self, entity: str) -> list[str]:
        """All that an entity is a kind of, nearest first."""
        return self.graph.ancestors(entity)

    def descendants(self, entity: str) -> list[str]:
        """All kinds of an entity, nearest first."""
        return self.graph.descendants(entity)

    def plot(self, entity: str, **options: Any) -> Axes:
        """Draw an entity with all its kinds; see :meth:`Graph.plot`."""
        return self.graph.plot(entity, **options)


def as_list(texts: Any) -> list[Any]:
    """A sequence of reports as a list; one text is one report."""
    if isinstance(texts, (str, bytes, bytearray)) or texts is None:
        return [texts]
    return texts.tolist() if hasattr(texts, "tolist") else list(texts)


def chunked(texts: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The texts in lists of ``size``, fewer of very long ones."""
    chunk, room = [], CHUNK_TEXT
    for text in texts:
        chunk.append(text)
        if isinstance(text, str):
            room -= len(text)
        if len(chunk) >= size or room < 0:
            yield chunk
            chunk, room = [], CHUNK_TEXT
    if chunk:
        yield chunk


def count_processes(processes: int) -> int:
    """The number of processes that is meant; 0 stands for one per core that this process may use."""
    count: int = checked(processes, Whole(0, MAX_PROCESSES), "processes")
    if count:
        return count
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def context() -> BaseContext:
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in methods else "spawn")


_worker: dict[str, Any] = {}


def start_worker(sections: dict[str, Any], rules: dict[str, Any] | None, mode: str, normalized: bool) -> None:
    """Runs once in each worker process; Ctrl-C is the business of the parent, whose handlers are not inherited."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _worker.update(labeler=Labeler(Definitions(sections), rules), mode=mode, normalized=normalized)


def work(chunk: list[Any]) -> Labeled:
    """Label one chunk in a worker."""
    labeler: Labeler = _worker["labeler"]
    return labeler._chunk(chunk, _worker["mode"], _worker["normalized"])


def load(folder: StrPath | None = None) -> Labeler:
    """Load a labeler.

    Parameters
    ----------
    folder : path-like, optional
        A directory of definitions, such as the one that ECG-FM publishes; a ``normalization.json`` in it replaces
        the normalisation rules of the package. Default: the definitions of the package.

    Returns
    -------
    Labeler

    Raises
    ------
    ConfigError
        If a file is missing, damaged or contradicts another one; the error names the file and the item.
    """
    if folder is None:
        return default()
    rules = Path(folder) / FILE
    labeler = Labeler(Definitions.load(folder), read_json(rules) if os.path.lexists(rules) else None)
    if labeler._rules is not None:
        _ = labeler.normalizer  # what is wrong in them is said at once
    return labeler


@lru_cache(maxsize=1)
def default() -> Labeler:
    """The labeler with the definitions of the package."""
    return Labeler()


def label(
    texts: Any,
    mode: str = "documented",
    normalized: bool = False,
    processes: int = 1,
    definitions: StrPath | None = None,
) -> Result:
    """Label reports with the definitions of the package, or with those in the directory ``definitions``.

    See :meth:`Labeler.label`.
    """
    return load(definitions).label(texts, mode, normalized, processes)


def normalize(texts: Any) -> list[str]:
    """Normalize report texts with the rules of the package; see :meth:`Labeler.normalize`."""
    return default().normalize(texts)
