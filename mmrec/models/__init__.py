"""Recommenders, one file each; a class in this folder is a plug-in by existing."""

from mmrec.models.base import Batch, Embeddings, Recommender

__all__ = ["Batch", "Embeddings", "Recommender"]
