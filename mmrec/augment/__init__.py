"""Graph augmentations, one file each; a class in this folder is a plug-in by existing."""

from mmrec.augment.base import Augmentation, Compose, check_rate

__all__ = ["Augmentation", "Compose", "check_rate"]
