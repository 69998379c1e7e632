"""Checkpoints: weights and how to make the model again, nothing that has to be unpickled."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from features.files import atomic_file, content_hash
from mmrec.data.dataset import RecData
from mmrec.errors import TrainingError
from mmrec.models.base import Recommender
from mmrec.plugins import resolve

_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained model on disk.

    Attributes:
        class_path: import path of the model's class.
        init_args: its options.
        ids: hash of the users and items, in order, that the rows belong to.
        state: the weights.
    """

    class_path: str
    init_args: Mapping[str, Any]
    ids: str
    state: Mapping[str, Tensor]

    def build(self, data: RecData) -> Recommender:
        """The model as it was saved, for the same users and items.

        Raises:
            TrainingError: if `data` has other ids, or other features than the weights fit.
        """
        if self.ids != ids_hash(data):
            raise TrainingError("the checkpoint was trained on other users or items (their ids differ); train again")
        model_class = resolve(Recommender, self.class_path, "checkpoint")
        model = model_class(data.train, **self.init_args)
        try:
            model.load_state_dict(dict(self.state))
        except RuntimeError as error:
            raise TrainingError(f"the checkpoint does not fit the data: {' '.join(str(error).split())[:300]}") from error
        return model


def save_checkpoint(path: Path, model: Recommender, init_args: Mapping[str, Any], data: RecData) -> None:
    """Write `path` whole or not at all.

    Args:
        path: the file.
        model: trained model.
        init_args: the options it was made with, as JSON can hold them.
        data: the dataset it belongs to.
    """
    kind = type(model)
    content = {
        "format": _FORMAT,
        "class_path": f"{kind.__module__}.{kind.__qualname__}",
        "init_args": json.dumps(dict(init_args)),
        "ids": ids_hash(data),
        "state": {name: value.cpu() for name, value in model.state_dict().items()},
    }
    with atomic_file(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; tensors and plain values only, never a pickled object.

    Raises:
        TrainingError: for a missing or damaged file, or one that is not a checkpoint of this project.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != _FORMAT:
            raise TrainingError(f"{path} has checkpoint format {content['format']}, expected {_FORMAT}; train again")
        return Checkpoint(content["class_path"], json.loads(content["init_args"]), content["ids"], content["state"])
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read as a checkpoint ({' '.join(str(error).split())[:200]})") from error


def ids_hash(data: RecData) -> str:
    """Hash of all users' and items' ids in their order."""
    return content_hash(data.users.ids, data.items.ids)
