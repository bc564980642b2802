"""A benchmark as a picture: the macro AUROC of each task with its interval, over the share of training."""

from __future__ import annotations

from ..._types import StrPath
from ...view.figures import new_figure, save, text_label
from .result import Benchmark

__all__ = ["draw"]

_MARKS = "os^vDP*X"


def draw(found: Benchmark, path: StrPath) -> None:
    """Draw a benchmark into a file; the ending of its name chooses the format.

    Raises
    ------
    ConfigError
        If the ending is that of no picture.
    MissingExtraError
        If matplotlib isn't installed.
    """
    rows = list(found.table.rows())
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    series = list(dict.fromkeys((row["model"], row["way"]) for row in rows))
    shares = sorted({row["share"] for row in rows})
    figure = new_figure(3 * min(len(tasks), 3), 2.8 * ((len(tasks) + 2) // 3) + 0.6)
    axes = figure.subplots((len(tasks) + 2) // 3, min(len(tasks), 3), squeeze=False, sharey=True).ravel()
    for task, axis in zip(tasks, axes):
        for i, (model, way) in enumerate(series):
            mine = [row for row in rows if (row["task"], row["model"], row["way"]) == (task, model, way)]
            share, value = [row["share"] for row in mine], [row["auroc"] for row in mine]
            ends = [
                [row["auroc"] - row["auroc_low"] for row in mine],
                [row["auroc_high"] - row["auroc"] for row in mine],
            ]
            mark = _MARKS[i % len(_MARKS)]
            axis.errorbar(
                share, value, ends, marker=mark, capsize=3, label=text_label(f"{model}, {way}").replace("$", r"\$")
            )
        axis.set(title=task, xscale="log", xlabel="training, %")
        axis.set_xticks(shares, [f"{share:g}" for share in shares])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    for axis in axes[len(tasks) :]:
        axis.axis("off")
    axes[0].set_ylabel("macro AUROC")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize="small")
    save(figure, path)
