"""Pictures of recordings, of saliency and of embeddings (extra ``[plot]``)."""

from .embedding_map import plot_embeddings, project
from .plot import interval_values, plot

__all__ = ["interval_values", "plot", "plot_embeddings", "project"]
