"""Losses beside a model's own, one file each; a class in this folder is a plug-in by existing."""

from mmrec.auxiliary.base import Auxiliary

__all__ = ["Auxiliary"]
