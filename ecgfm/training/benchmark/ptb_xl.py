"""The PTB-XL benchmark: six tasks, from the data set's folder to a table of what models reach."""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..._text import plain_cell, printable, short
from ..._types import StrPath
from ...data.tables.ptb_xl import PTB_XL_TASKS, PtbXlTables, Task, read_ptb_xl
from ...errors import ConfigError, Error
from ...inference.opening import ModelLike, opened_model
from ...inference.write import embed_to, fingerprint
from ...metrics.ranking import scikit_learn
from ...model.model import Model
from ...model.untrained import untrained_like
from ...storage.columns import read_columns
from ...storage.npy import map_array
from ...table import Table
from ...validation import Choice, Seed, checked, is_finite
from ..linear import Linear, chosen_linear
from .contamination import seen_text
from .conventions import CONVENTIONS, Convention, Score, classes_text, macro_auroc
from .result import Benchmark

__all__ = ["WAYS", "Benchmark", "benchmark_ptb_xl"]

#: How a model is put to a task.
WAYS: Final = ("linear",)
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


@dataclass(eq=False)
class _Cell:
    """One model, share and task: what was fitted, before the test fold is looked at."""

    model: str
    share: float
    task: Task
    used: NDArray[np.bool_]
    train: int
    valid: int
    without: tuple[int, ...]
    fit: Linear
    valid_auroc: float
    seconds: float


@dataclass(eq=False)
class _Plan:
    """What is run: the data, its splits, and the arguments."""

    tables: PtbXlTables
    convention: Convention
    seed: int
    splits: NDArray[np.str_] = field(init=False)
    patients: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.splits = self.tables.splits()
        self.patients = np.unique(self.tables.records["patient_id"], return_inverse=True)[1]
        for split in ("train", "valid", "test"):
            if not (self.splits == split).any():
                raise ConfigError(f"no recording is in the split {split}", path=self.tables.folder, field="strat_fold")

    def share_of(self, share: float) -> NDArray[np.bool_]:
        """The recordings of the patients that a share of training has; those of a smaller share are among them."""
        train = self.splits == "train"
        if share >= 100:
            return np.array(train)
        order = np.random.default_rng(self.seed).permutation(int(self.patients.max()) + 1)
        counts = np.bincount(self.patients[train], minlength=len(order))[order]
        chosen = order[np.cumsum(counts) - counts < share / 100 * train.sum()]
        found: NDArray[np.bool_] = train & np.isin(self.patients, chosen)
        return found


def benchmark_ptb_xl(
    models: ModelLike | Sequence[ModelLike] | Mapping[str, ModelLike],
    folder: StrPath,
    out: StrPath,
    *,
    tasks: str | Sequence[str] = PTB_XL_TASKS,
    ways: str | Sequence[str] = WAYS,
    shares: float | Sequence[float] = (100,),
    preset: str = "ecgfm",
    random_weights: bool = True,
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
        Folder to write to: ``benchmark.md``, ``.csv``, ``.html`` and ``.json``, and ``embeddings/``, which a later run
        with the same models goes on with.
    tasks : str or sequence of str
        ``all``, ``diagnostic``, ``subdiagnostic``, ``superdiagnostic``, ``form``, ``rhythm``.
    ways : str or sequence of str
        ``linear``: logistic regressions on the mean of a recording's embeddings, which stay as they are.
    shares : float or sequence of float
        Per cent of the training recordings, by whole patients drawn from `seed`; a smaller share is part of a larger
        one.
    preset : {"ecgfm", "helme", "ai4health"}
        The convention of scores; see `ecgfm.training.benchmark.CONVENTIONS`.
    random_weights : bool
        Whether a row is added for the first model's network with random weights.
    seed : int
        Of shares, resamples and random weights.
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
    names = [checked(one, Choice(PTB_XL_TASKS), "tasks") for one in _several(tasks, "tasks")]
    for way in _several(ways, "ways"):
        checked(way, Choice(WAYS), "ways")
    parts = _shares(shares)
    convention = CONVENTIONS[checked(preset, Choice(tuple(CONVENTIONS)), "preset")]
    seed = checked(seed, Seed(bits=128), "seed")
    scikit_learn("benchmark")
    say = say or (lambda text: None)
    plan = _Plan(read_ptb_xl(folder), convention, seed)
    ready, notes = _models(models, random_weights, seed)
    os.makedirs(os.path.join(out, "embeddings"), exist_ok=True)
    files, beside = plan.tables.files(), os.path.join(out, "embeddings")
    found = [_embedded(name, told, model, files, beside, say, reading) for name, told, model in ready]
    known = np.all([one.known for one in found], axis=0)
    cells = [_fitted(plan, one, known, task, share, say) for one in found for share in parts for task in names]
    say("testing")
    seconds = {one.name: one.seconds for one in found}
    values = {one.name: one.values for one in found}
    rows = [_tested(plan, cell, values[cell.model], known, seconds[cell.model]) for cell in cells]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    made = Benchmark(
        Table(columns), (*plan.tables.about(), *_notes(plan, known, cells), *notes), _settings(plan, parts)
    )
    made.write(out)
    return made


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
    embed_to(model, files, path, per_record=True, resume=True, **reading)
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


def _fitted(
    plan: _Plan, model: _Embedded, known: NDArray[np.bool_], name: str, share: float, say: Callable[[str], object]
) -> _Cell:
    """Fit one cell on its training recordings, and choose by those of validation."""
    task = plan.tables.task("all" if name in plan.convention.columns_of_all else name)
    used = known if plan.convention.all_records else known & task.labelled
    train, valid = used & plan.share_of(share), used & (plan.splits == "valid")
    for rows, what in ((train, "training"), (valid, "validation")):
        if not rows.any():
            raise ConfigError(f"no recording of the task {name} is left for {what}", field="shares")
    begin = time.perf_counter()
    fit, auroc = chosen_linear(model.values[train], task.y[train], model.values[valid], task.y[valid])
    seconds = time.perf_counter() - begin
    if task.name != name:
        task, fit = _columns(plan.tables.task(name), task, fit)
    say(f"{model.name}, {share:g} %, {name}: {seconds:.1f} s, validation {auroc:.4f}")
    without = tuple(np.flatnonzero(~task.y[train].any(axis=0)).tolist())
    return _Cell(model.name, share, task, used, int(train.sum()), int(valid.sum()), without, fit, auroc, seconds)


def _columns(task: Task, whole: Task, fit: Linear) -> tuple[Task, Linear]:
    """A task as columns of the task ``all``, with the regressions of these."""
    of = [whole.names.index(name) for name in task.names]
    return task, Linear(fit.mean, fit.scale, fit.weight[of], fit.bias[of], fit.strength, fit.converged)


def _tested(
    plan: _Plan, cell: _Cell, values: NDArray[np.float32], known: NDArray[np.bool_], embedding: float
) -> dict[str, Any]:
    """A row of the table."""
    test = cell.used & (plan.splits == "test")
    score = Score(np.nan, np.nan, np.nan, np.full(len(cell.task.names), np.nan), (), 0)
    if test.any():
        patients = np.unique(plan.patients[test], return_inverse=True)[1]
        score = macro_auroc(cell.fit.logits(values[test]), cell.task.y[test], patients, plan.convention, plan.seed)
    return {
        "model": cell.model,
        "way": "linear",
        "share": cell.share,
        "task": cell.task.name,
        "auroc": score.auroc,
        "auroc_low": score.low,
        "auroc_high": score.high,
        "printed": score.printed(),
        "classes": len(cell.task.names),
        "undefined": classes_text(cell.task.names, score.undefined),
        "without_training_positives": classes_text(cell.task.names, cell.without),
        "train": cell.train,
        "valid": cell.valid,
        "test": int(test.sum()),
        "resamples": score.resamples,
        "c": cell.fit.strength,
        "converged": cell.fit.converged,
        "valid_auroc": cell.valid_auroc,
        "trained_parameters": cell.fit.weight.size + cell.fit.bias.size,
        "seconds": round(cell.seconds, 3),
        "embedding_seconds": round(embedding, 3),
    }


def _notes(plan: _Plan, known: NDArray[np.bool_], cells: Sequence[_Cell]) -> list[str]:
    """What must be said of the whole table."""
    notes = [f"scores: macro AUROC per recording; {plan.convention.about}"]
    if not known.all():
        notes.append(f"{int((~known).sum())} recordings could not be embedded by every model and are left out")
    unfinished = sum(not cell.fit.converged for cell in cells)
    if unfinished:
        notes.append(f"{unfinished} of {len(cells)} regressions did not converge")
    return notes


def _settings(plan: _Plan, shares: Sequence[float]) -> dict[str, Any]:
    return {"folder": plan.tables.folder, "preset": plan.convention.name, "seed": plan.seed, "shares": list(shares)}
