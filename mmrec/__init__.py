"""Multimodal graph recommendation: graphs, augmentations, models, training and evaluation."""

__version__ = "0.1.0"
