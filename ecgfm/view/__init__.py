"""Pictures of recordings, of saliency and of embeddings (extra ``[plot]``)."""

from .embedding_map import plot_embeddings, project
from .plot import plot

__all__ = ["plot", "plot_embeddings", "project"]
