"""Errors of the recommendation side; all are `features.errors.MMRecError`, one line each."""

from __future__ import annotations

from features.errors import MMRecError, nearest

__all__ = ["ConfigError", "DataError", "GraphError", "MMRecError", "TrainingError", "nearest"]


class DataError(MMRecError):
    """Interactions, splits and their joining with items and features."""


class GraphError(MMRecError):
    """Graphs, their caches and augmentations."""


class ConfigError(MMRecError):
    """Options, config files and names of plug-ins."""


class TrainingError(MMRecError):
    """Training that cannot go on, and checkpoints that do not fit."""
