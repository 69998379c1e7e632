"""The user-item graph and the frozen item-item graph, as values."""

from mmrec.graph.view import GraphView

__all__ = ["GraphView"]
