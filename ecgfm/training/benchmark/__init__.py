"""Published benchmarks: their tasks, splits and conventions, and tables of what a model reaches."""

from .conventions import CONVENTIONS, Convention, Score, macro_auroc
from .ptb_xl import WAYS, Benchmark, benchmark_ptb_xl

__all__ = ["CONVENTIONS", "WAYS", "Benchmark", "Convention", "Score", "benchmark_ptb_xl", "macro_auroc"]
