"""The PTB-XL benchmark: six tasks, from the data set's folder to a table of what models reach."""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..._text import plain_cell, printable, short
from ..._types import StrPath
from ...data.tables.ptb_xl import PTB_XL_TASKS, read_ptb_xl
from ...errors import ConfigError, Error, FormatError
from ...inference.opening import ModelLike, opened_model
from ...inference.write import embed_to, fingerprint
from ...metrics.ranking import scikit_learn
from ...model.model import Model
from ...model.untrained import untrained_like
from ...storage.columns import read_columns
from ...storage.npy import map_array
from ...table import Table
from ...validation import Choice, Number, Seed, Whole, checked, is_finite
from .cells import Cell, Fit, Plan, linear_fit, part_of, row_of, score_of
from .contamination import seen_text
from .conventions import CONVENTIONS
from .result import Benchmark
from .tuning import Tuning, tuned_fit

__all__ = ["WAYS", "Benchmark", "benchmark_ptb_xl"]

#: How a model is put to a task.
FINETUNE: Final = "finetune"
WAYS: Final = ("linear", FINETUNE)
_RANDOM = "random weights"
_MOST_MODELS = 20
_CHANGING = ("layer", "only_leads", "missing_leads", "overlap_s", "short")  # arguments that embeddings depend on


@dataclass(eq=False)
class _Embedded:
    """A model's embeddings of all recordings."""

    name: str
    values: NDArray[np.float32]
    known: NDArray[np.bool_]
    seconds: float


def benchmark_ptb_xl(
    models: ModelLike | Sequence[ModelLike] | Mapping[str, ModelLike],
    folder: StrPath,
    out: StrPath,
    *,
    tasks: str | Sequence[str] = PTB_XL_TASKS,
    ways: str | Sequence[str] = ("linear",),
    shares: float | Sequence[float] = (100,),
    preset: str = "ecgfm",
    random_weights: bool = True,
    epochs: int = 10,
    learning_rate: float = 1e-4,
    seed: int = 0,
    say: Callable[[str], object] | None = None,
    **reading: Any,
) -> Benchmark:
    """What models reach on the six tasks of the PTB-XL benchmark.

    Training folds are 1 to 8, 9 is for validation, which chooses the regularisation, and 10 for testing; where no
    recording of fold 10 is there, 1 to 7, 8 and 9, and the table says so. The test fold is looked at last, once.

    Parameters
    ----------
    models : Model, path-like, or a sequence or mapping of them
        From `ecgfm.load`, or what that takes: classifiers and encoders, of which the embeddings are taken. A mapping
        says what they are called in the table.
    folder : path-like
        PTB-XL, or a part of it: ``ptbxl_database.csv``, ``scp_statements.csv``, ``records500/`` or ``records100/``.
    out : path-like
        Folder to write to: ``benchmark.md``, ``.csv``, ``.html`` and ``.json``; ``embeddings/`` and, of finetuning,
        ``models/``, which a later run goes on with.
    tasks : str or sequence of str
        ``all``, ``diagnostic``, ``subdiagnostic``, ``superdiagnostic``, ``form``, ``rhythm``.
    ways : str or sequence of str
        ``linear``: logistic regressions on the mean of a recording's embeddings, which stay as they are. ``finetune``:
        `ecgfm.finetune` of all weights on the recordings' segments, whose probabilities are averaged; the epoch with
        the best macro AUROC of the validation fold counts.
    shares : float or sequence of float
        Per cent of the training recordings, by whole patients drawn from `seed`; a smaller share is part of a larger
        one.
    preset : {"ecgfm", "helme", "ai4health"}
        The convention of scores; see `ecgfm.training.benchmark.CONVENTIONS`.
    random_weights : bool
        Whether a row is added for the first model's network with random weights.
    epochs, learning_rate
        Of finetuning.
    seed : int
        Of shares, resamples, random weights and finetuning.
    say : callable, optional
        Told how far the run has come.
    **reading
        ``batch_size``, ``readers``, ``layer``, ``on_error``, ``progress``, ...: as for `ecgfm.inference.embed_to`.

    Returns
    -------
    Benchmark

    Raises
    ------
    ConfigError, FormatError
        If an argument is out of range, or the tables can't be read or lack a split.
    MissingExtraError
        If scikit-learn isn't installed.
    """
    convention = CONVENTIONS[checked(preset, Choice(tuple(CONVENTIONS)), "preset")]
    seed = checked(seed, Seed(bits=128), "seed")
    run = _Run(
        [checked(one, Choice(PTB_XL_TASKS), "tasks") for one in _several(tasks, "tasks")],
        [checked(one, Choice(WAYS), "ways") for one in _several(ways, "ways")],
        _shares(shares),
        Tuning(
            checked(epochs, Whole(1, 10_000), "epochs"),
            checked(learning_rate, Number(above=0, below=1), "learning_rate"),
            seed,
        ),
        os.fsdecode(out),
        say or (lambda text: None),
    )
    scikit_learn("benchmark")
    plan = Plan(read_ptb_xl(folder), convention, seed)
    ready, notes = _models(models, random_weights, seed)
    os.makedirs(os.path.join(out, "embeddings"), exist_ok=True)
    files, beside = plan.tables.files(), os.path.join(out, "embeddings")
    found = [_embedded(name, told, model, files, beside, run.say, reading) for name, told, model in ready]
    known = np.all([one.known for one in found], axis=0)
    cells = _cells(plan, run, found, {name: (told, model) for name, told, model in ready}, known)
    run.say("testing")
    rows = _rows(plan, cells)
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    made = Benchmark(Table(columns), (*plan.tables.about(), *_notes(plan, known, cells), *notes), _settings(plan, run))
    made.write(out)
    return made


@dataclass(eq=False)
class _Run:
    """What is run: the arguments, checked."""

    tasks: list[str]
    ways: list[str]
    shares: list[float]
    tuning: Tuning
    folder: str
    say: Callable[[str], object]


def _several(given: Any, what: str) -> list[Any]:
    """One value or several, each once."""
    if isinstance(given, str):
        given = [part.strip() for part in given.split(",")]
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    if not values:
        raise ConfigError("none is given", field=what)
    return list({repr(value): value for value in values}.values())


def _shares(given: Any) -> list[float]:
    values = _several(given, "shares")
    try:
        shares = [float(value) for value in values]
    except (TypeError, ValueError):
        shares = [-1.0]
    if not all(is_finite(share) and 0 < share <= 100 for share in shares):
        raise ConfigError("a share is above 0 and at most 100 per cent", field="shares", remedy="Give such as 1,10,100")
    return sorted(shares)


def _models(given: Any, random_weights: bool, seed: int) -> tuple[list[tuple[str, str, Any]], list[str]]:
    """(name, what tells it from others, model) of each; and what is to be said of them."""
    if not isinstance(given, Mapping):
        several = list(given) if isinstance(given, (list, tuple)) else [given]
        given = {_name_of(one, i): one for i, one in enumerate(several)}
    if not 0 < len(given) <= _MOST_MODELS:
        raise ConfigError(f"{len(given)} models, from 1 to {_MOST_MODELS} are run", field="models")
    found, notes = [], []
    for name, one in given.items():
        model = opened_model(one)
        title = short(printable(name), 200) + (f", {model.precision}" if model.precision != "float32" else "")
        found.append((title, _told(model), model))
        notes.append(f"{title}: {seen_text(name, model)}")
    if random_weights:
        title, _, first = found[0]
        if not isinstance(first, Model):
            raise ConfigError("a model of this kind has no network to draw at random", field="random_weights")
        told = json.dumps([first.config, str(first.input), seed], sort_keys=True, default=str)
        found.append((_RANDOM, told, untrained_like(first, seed)))
        notes.append(f"{_RANDOM}: the network of {title}, drawn at random (seed {seed})")
    titles = [title for title, _, _ in found]
    if len(set(titles)) < len(titles):
        raise ConfigError("two of them have one name", field="models", remedy="Give a dict with a name for each")
    return found, notes


def _name_of(model: Any, place: int) -> str:
    name = model if isinstance(model, (str, os.PathLike)) else getattr(model, "source", None)
    return f"model {place + 1}" if name is None else os.fsdecode(name) + f" ({place + 1})" * (place > 0)


def _told(model: Any) -> str:
    """What tells a model from others: its file's size and time; of one that was made from arrays, a checksum."""
    told = fingerprint(model)
    if "bytes" not in told:
        told["checksum"] = 0
        for name, values in sorted(model.state_dict().items()):
            told["checksum"] = zlib.crc32(np.ascontiguousarray(values), zlib.crc32(name.encode(), told["checksum"]))
    return json.dumps([told, model.config], sort_keys=True, default=str)


def _embedded(
    name: str,
    told: str,
    model: Any,
    files: list[str],
    folder: str,
    say: Callable[[str], object],
    reading: dict[str, Any],
) -> _Embedded:
    """Embeddings of the recordings, from an earlier run as far as that has them."""
    told += json.dumps({name: value for name, value in reading.items() if name in _CHANGING}, default=str)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-60:]
    path = os.path.join(folder, f"{slug}-{zlib.crc32(told.encode()):08x}.npy")
    say(f"embeddings of {name}: {path}")
    begin = time.perf_counter()
    try:
        embed_to(model, files, path, per_record=True, resume=True, **reading)
    except FormatError as error:
        if error.path is not None and os.fsdecode(error.path).startswith(path[:-4]):
            error.remedy = "Remove it and the files beside it of this name: its recordings are embedded again"
        raise
    seconds = time.perf_counter() - begin
    rows = map_array(path)
    done = [plain_cell(file) for file in read_columns(f"{path[:-4]}.csv", ["file"])["file"]]
    if len(done) != len(rows):
        raise Error(f"{len(rows)} rows, {len(done)} recordings in the table beside it", path=path)
    place = {file: row for row, file in enumerate(done)}
    known = np.array([file in place for file in files])
    values = np.zeros((len(files), rows.shape[1]), np.float32)
    values[known] = rows[[place[file] for file in files if file in place]]
    finite = np.isfinite(values).all(axis=1)
    return _Embedded(name, values, known & finite, seconds)


def _cells(
    plan: Plan, run: _Run, found: Sequence[_Embedded], models: Mapping[str, tuple[str, Any]], known: NDArray[np.bool_]
) -> list[Cell]:
    """Fit all cells; of tasks that are columns of another one, that once."""
    cells = []
    for one in found:
        for way in run.ways:
            for share in run.shares:
                fits: dict[str, Fit] = {}
                for name in run.tasks:
                    part = part_of(plan, known, name, share)
                    if part.task.name not in fits:
                        told, model = models[one.name]
                        fits[part.task.name] = fit = (
                            linear_fit(part, one.values) if way == "linear"
                            else tuned_fit(part, model, told, plan.tables.files(), run.tuning, run.folder)
                        )  # fmt: skip
                        run.say(f"{one.name}, {way}, {share:g} %, {part.task.name}: {fit.seconds:.1f} s, "
                                f"validation {fit.valid_auroc:.4f}")  # fmt: skip
                    cells.append(Cell(one.name, way, part, fits[part.task.name], one.seconds))
    return cells


def _rows(plan: Plan, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The table: every cell is scored on the test fold, and compared with that of random weights."""
    scores = [score_of(plan, cell) for cell in cells]
    random = {_place(cell): score for cell, score in zip(cells, scores) if cell.model == _RANDOM}
    return [
        row_of(plan, cell, score, None if cell.model == _RANDOM else random.get(_place(cell)))
        for cell, score in zip(cells, scores)
    ]


def _place(cell: Cell) -> tuple[str, float, str]:
    return cell.way, cell.part.share, cell.part.name


def _notes(plan: Plan, known: NDArray[np.bool_], cells: Sequence[Cell]) -> list[str]:
    """What must be said of the whole table."""
    notes = [f"scores: macro AUROC per recording; {plan.convention.about}"]
    if not known.all():
        notes.append(f"{int((~known).sum())} recordings could not be embedded by every model and are left out")
    unfinished = sum(not cell.fit.converged for cell in cells)
    if unfinished:
        notes.append(f"the regressions of {unfinished} of {len(cells)} cells did not converge")
    return notes


def _settings(plan: Plan, run: _Run) -> dict[str, Any]:
    tuning = {"epochs": run.tuning.epochs, "learning_rate": run.tuning.learning_rate} if FINETUNE in run.ways else {}
    made = {"folder": plan.tables.folder, "preset": plan.convention.name, "seed": plan.seed, "shares": run.shares}
    return made | {"ways": run.ways, **tuning}
