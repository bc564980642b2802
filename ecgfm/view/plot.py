"""A recording as a picture, coloured by saliency if that is given."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._types import StrPath
from ..ecg import Record, Segments, read
from ..ecg.choices import Choices
from ..ecg.named import named_rows
from ..errors import LeadError, SignalError
from ..io.segment_files import SegmentFiles
from ..signal.checks import checked_signal
from ..signal.leads import LEADS, canonical_leads, names_lead
from ..specs.inputs import ECG_FM
from ..validation import Number, checked
from .figures import GREY, HIGH, LOW, file_label, new_figure, save, text_label
from .overlay import Known, values_by_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SaliencyPlots", "interval_values", "plot"]

Pieces: TypeAlias = "list[tuple[NDArray[np.float64], NDArray[Any]]]"  # (times, signal) of what is drawn

#: What can be drawn: a file, a recording, its segments, or an array of leads, also one that names them.
Drawn: TypeAlias = "StrPath | Record | Segments | ArrayLike | Mapping[str, ArrayLike]"

_INK = "#1B1B1B"
_MAX_SAMPLES = 100_000  # of one lead in one picture: more is nothing that anyone could see
_SHADES = 64  # of a coloured line; neighbours of one shade are drawn together


def plot(
    record: Drawn,
    *,
    saliency: Known | ArrayLike | None = None,
    leads: Sequence[str] | str | None = None,
    start_s: float | None = None,
    duration_s: float = 10.0,
    sampling_rate: float | None = None,
    unit: str | None = None,
    title: str | None = None,
    path: StrPath | None = None,
) -> Figure:
    """Draw a recording.

    Parameters
    ----------
    record : path, Record, Segments or array_like
        What is drawn: a recording in millivolt, or what the model sees of it (Segments). An array is (12, samples) in
        the order of `ecgfm.LEADS`; a DataFrame and its like name their leads.
    saliency : Saliency or array_like, optional
        What `ecgfm.saliency` gave for the recording, alone or among others: it is found by its values, and that of
        another recording is refused. Or an array (n, N), or (N,) for the first segment. The line is blue where it is
        low, red where it is high, and grey where there is none.
    leads : sequence of str, optional
        Which leads, in this order; by default all.
    start_s, duration_s : float, optional
        The time that is drawn, in seconds: by default 10 s from the beginning.
    sampling_rate : float, optional
        In Hz, for an array and for a file that doesn't state it.
    unit : {"mV", "uV", "V"}, optional
        Of an array's values, or of those of a file that states none.
    title : str, optional
        By default the name of the recording.
    path : path-like, optional
        Where the picture is written; the ending chooses the format (``.png``, ``.svg``, ``.pdf``).

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib isn't installed.
    LeadError
        If a lead is not there.
    SignalError
        If the saliency is of another recording, or nothing lies in the time asked for.
    ConfigError
        If a time is not a number.

    Examples
    --------
    >>> record = ecgfm.read("a.mat")
    >>> ecgfm.plot(record, saliency=ecgfm.saliency(model, record), leads=["II"], path="a.png")
    """
    shown = _Shown(record, sampling_rate, unit)
    rows = shown.rows_of(leads)
    start = checked(shown.start_s if start_s is None else start_s, Number(), "start_s")
    end = start + checked(duration_s, Number(above=0), "duration_s")
    pieces = shown.between(start, end)
    values: list[NDArray[np.float64] | None] = [None] * len(pieces)
    if saliency is not None:
        starts, samples, rate = values_by_time(saliency, shown)
        values = [interval_values(times, starts, samples, rate) for times, _ in pieces]
    height = 1.5 + (2.2 if len(rows) == 1 else 1.15 * -(-len(rows) // _columns(len(rows))))
    figure = new_figure(14, height)
    axes = _axes(figure, len(rows))
    for axis, (name, row) in zip(axes, rows):
        for (times, signal), colours in zip(pieces, values):
            _draw_line(axis, times, np.asarray(signal[row], dtype=np.float64), colours)
        axis.set_ylabel(
            text_label(name).replace("$", r"\$"), rotation=0, ha="right", va="center", fontweight="bold", color=_INK
        )
    _style(axes, (start, max(times[-1] for times, _ in pieces)), _limits(pieces, rows), shown.unit)
    figure.suptitle(file_label(shown.source) if title is None else text_label(title), fontsize=11, color=_INK)
    if saliency is not None:
        _add_scale(figure, axes, _what(saliency))
    if path is not None:
        save(figure, path)
    return figure


class SaliencyPlots:
    """Draws each recording that `ecgfm.inference.saliency_to` is done with; to be given to it as ``on_done``.

    Parameters
    ----------
    folder : path-like
        Where the pictures go: ``<number>_<name>.png``.
    **reading
        Further arguments of `ecgfm.read`.

    Attributes
    ----------
    paths : list of str
        The pictures.
    """

    def __init__(self, folder: StrPath, **reading: Any) -> None:
        new_figure(1, 1)  # an absent matplotlib is noticed before the work
        self.folder, self._reading = os.fspath(folder), reading
        self.paths: list[str] = []

    def __call__(self, done: Any) -> None:
        name = re.sub(r"[^\w.-]+", "_", os.path.splitext(os.path.basename(done.file))[0])[:50]
        path = os.path.join(self.folder, f"{len(self.paths)}_{name}.png")
        known = Known(
            done.start_s, done.outputs["samples"], done.outputs["checksum"], done.checksum, done.input.sampling_rate
        )
        files = done.provenance.get("segment_files")
        if files is None:
            shown: Record | Segments = read(done.file, **self._reading)
        else:
            numbers = done.provenance["segment_numbers"]
            shown = SegmentFiles(files, numbers, done.file).segments(Choices(input=done.input, **self._reading))
        plot(shown, saliency=known, path=path)
        self.paths.append(path)


def interval_values(
    times: NDArray[np.float64], start_s: NDArray[np.float64], samples: NDArray[Any], rate: float = ECG_FM.sampling_rate
) -> NDArray[np.float64]:
    """Saliency in the middle of the intervals between the samples of a line.

    Parameters
    ----------
    times : ndarray
        (m,) seconds.
    start_s : ndarray
        (n,) seconds, of the segments.
    samples : ndarray
        (n, N) saliency of the segments.
    rate : float
        Of these samples, in Hz.

    Returns
    -------
    ndarray
        (m - 1,); NaN outside of all segments, the largest where several overlap.
    """
    middles = (times[:-1] + times[1:]) / 2
    values = np.full(len(middles), np.nan)
    length = samples.shape[1]
    for start, row in zip(start_s, samples):
        first, last = np.searchsorted(middles, (start, start + length / rate))
        found = np.interp((middles[first:last] - start) * rate, np.arange(length), row)
        values[first:last] = np.fmax(values[first:last], found)
    return values


class _Shown:
    """What is drawn: pieces of (times, signal), the names of the rows, and the unit."""

    def __init__(self, record: Drawn, sampling_rate: float | None, unit: str | None) -> None:
        if isinstance(record, (str, os.PathLike)):
            record = read(record, sampling_rate=sampling_rate, unit=unit)
        elif not isinstance(record, (Record, Segments)):
            record = _record_of(record, sampling_rate, unit)
        self.source, self.record = record.source, record
        if isinstance(record, Segments):
            spec = record.input or ECG_FM
            self.rate = spec.sampling_rate
            step = np.arange(record.x.shape[2]) / self.rate
            self._pieces = [(start + step, x) for start, x in zip(record.start_s, record.x)]
            self.leads: tuple[str, ...] = spec.leads or LEADS
            self.unit = "standard deviations" if spec.standardised else spec.unit
        else:
            self.rate = ECG_FM.sampling_rate
            self._pieces = [(record.start_s + np.arange(record.samples) / record.sampling_rate, record.signal)]
            self.leads, self.unit = record.leads, "standard deviations" if record.standardised else "mV"

    @property
    def start_s(self) -> float:
        return float(self._pieces[0][0][0])

    @property
    def end_s(self) -> float:
        return max(float(times[-1]) for times, _ in self._pieces)

    def rows_of(self, leads: Sequence[str] | str | None) -> list[tuple[str, int]]:
        """(name, row) of each lead to be drawn."""
        names = self.leads if leads is None else canonical_leads(leads)
        absent = [name for name in names if name not in self.leads]
        if absent or not names:
            raise LeadError(
                f"leads missing: {', '.join(absent)} (the recording has {', '.join(self.leads[:30])})",
                path=self.source,
                field="leads",
            )
        return [(name, self.leads.index(name)) for name in names]

    def between(self, start: float, end: float) -> Pieces:
        """The pieces cut to a time."""
        spans = [slice(*np.searchsorted(times, (start, end))) for times, _ in self._pieces]
        cut = [(times[at], x[:, at]) for (times, x), at in zip(self._pieces, spans) if at.stop - at.start > 1]
        if not cut:
            raise SignalError(f"nothing lies between {start:g} s and {end:g} s", path=self.source, field="start_s")
        if sum(len(times) for times, _ in cut) > _MAX_SAMPLES:
            raise SignalError(
                f"more than {_MAX_SAMPLES:,} samples a lead are too many for a picture",
                path=self.source,
                field="duration_s",
                remedy="Draw a shorter time",
            )
        return cut


def _record_of(array: Any, sampling_rate: float | None, unit: str | None) -> Record:
    array, names, _ = named_rows(array, names_lead)
    array = checked_signal(array)
    if sampling_rate is None or (names is None and len(array) != len(LEADS)):
        raise SignalError(
            f"an array of shape {array.shape} is no recording without a rate and the names of its leads",
            field="record",
            remedy="Make one of it: ecgfm.Record(array, sampling_rate, leads)",
        )
    units = (None,) * len(array)
    record = Record(array.astype(np.float32), sampling_rate, LEADS if names is None else tuple(names), units=units)
    record.set_unit(unit)
    return record


def _what(saliency: Any) -> str:
    layer, reduction = getattr(saliency, "layer", None), getattr(saliency, "reduction", None)
    return "saliency" if layer is None else f"attention, layer {layer}, {reduction}"


def _columns(count: int) -> int:
    return 2 if count > 3 else 1


def _axes(figure: Figure, count: int) -> list[Axes]:
    """Axes that are filled column by column, as the leads of an ECG are printed."""
    columns = _columns(count)
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, sharex=True)
    axes = list(grid.T.flat)
    for axis in axes[count:]:
        axis.remove()
    return axes[:count]


def _draw_line(
    axis: Axes, times: NDArray[np.float64], signal: NDArray[np.float64], values: NDArray[np.float64] | None
) -> None:
    if values is None:
        axis.plot(times, signal, color=_INK, linewidth=0.9)
        return
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    shades = np.where(np.isnan(values), -1, np.rint(np.nan_to_num(values) * (_SHADES - 1))).astype(int)
    ends = np.flatnonzero(np.diff(shades)) + 1
    starts, ends = np.concatenate([[0], ends]), np.concatenate([ends, [len(shades)]])
    points = np.column_stack([times, signal])
    lines = LineCollection(
        [points[first : last + 1] for first, last in zip(starts, ends)],
        array=np.ma.masked_less(shades[starts], 0) / (_SHADES - 1),
        cmap=_colours(),
        norm=Normalize(0, 1),
        linewidths=1.3,
        capstyle="round",
    )
    axis.add_collection(lines, autolim=False)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("saliency", [LOW, HIGH], N=256).with_extremes(bad=GREY)


def _limits(pieces: Pieces, rows: Sequence[tuple[str, int]]) -> NDArray[np.float64]:
    """Limits (leads, 2): one scale for all leads, each around the middle of its own values."""
    lowest, highest = np.zeros(len(rows)), np.zeros(len(rows))
    for i, (_, row) in enumerate(rows):
        values = np.concatenate([signal[row] for _, signal in pieces]).astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            lowest[i], highest[i] = values.min(), values.max()
    half = 0.56 * (highest - lowest).max() or 0.5
    middle = (lowest + highest) / 2
    return np.column_stack([middle - half, middle + half])


def _style(axes: Sequence[Axes], span: tuple[float, float], limits: NDArray[np.float64], unit: str) -> None:
    from matplotlib.ticker import MultipleLocator

    seconds = span[1] - span[0]
    for axis, of_lead in zip(axes, limits):
        axis.set(xlim=span, ylim=of_lead, axisbelow=True)
        if seconds <= 30:
            axis.xaxis.set_major_locator(MultipleLocator(1.0))
            axis.xaxis.set_minor_locator(MultipleLocator(0.2))
        axis.grid(True, which="major", color="#F3C6C6", linewidth=0.8)
        axis.grid(True, which="minor", color="#FAE8E8", linewidth=0.5)
        axis.tick_params(labelsize=8, length=0, which="both", colors="#555555")
        axis.spines[:].set_color("#E6D5D5")
        place = axis.get_subplotspec()
        if axis is axes[-1] or (place is not None and place.is_last_row()):
            axis.set_xlabel("seconds", fontsize=9, color=_INK)
            axis.tick_params(labelbottom=True)
    axes[0].figure.supylabel(unit, fontsize=9, color=_INK)


def _add_scale(figure: Figure, axes: Sequence[Axes], what: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = figure.colorbar(
        ScalarMappable(Normalize(0, 1), _colours()), ax=axes, fraction=0.02, pad=0.01, ticks=[0, 0.5, 1], aspect=30
    )
    scale.set_label(what, fontsize=9, color=_INK)
    scale.ax.tick_params(labelsize=8)
    scale.outline.set_visible(False)
