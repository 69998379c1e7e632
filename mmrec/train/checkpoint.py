"""Checkpoints: weights and how to make the model again, nothing that has to be unpickled."""

from __future__ import annotations

import json
import pickle
import warnings
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
            raise TrainingError("the checkpoint was trained on other users or other items; train again")
        model_class = resolve(Recommender, self.class_path, "checkpoint")
        model = model_class(data.train, **self.init_args)
        try:
            model.load_state_dict(dict(self.state))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(f"the checkpoint does not fit the data: {reason}") from error
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
        with warnings.catch_warnings():  # about files it will refuse
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
        found = content.get("format") if isinstance(content, dict) else None
        if found != _FORMAT:
            raise TrainingError(f"{path} has checkpoint format {found}, expected {_FORMAT}; train again")
        init_args, state = dict(json.loads(content["init_args"])), dict(content["state"])
        return Checkpoint(str(content["class_path"]), init_args, str(content["ids"]), state)
    except pickle.UnpicklingError as error:  # torch's own words would advise to load it all the same
        reason = "it is no checkpoint, or holds more than tensors and plain values"
        raise TrainingError(f"{path} cannot be read as a checkpoint ({reason}); train again") from error
    except (OSError, RuntimeError, EOFError, LookupError, AttributeError, TypeError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:200]
        raise TrainingError(f"{path} cannot be read as a checkpoint ({reason}); train again") from error


def ids_hash(data: RecData) -> str:
    """Hash of all users' and items' ids in their order."""
    return content_hash(data.users.ids, data.items.ids)
