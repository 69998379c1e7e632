"""Encoders by name, for the command line."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Sequence
from typing import Any

from features.base import Encoder
from features.errors import FeatureError

_DEFAULT_TAG = "laion2b_s34b_b79k"
_KINDS = "an open_clip name, a model configuration (.json), demo, tfidf, or an import path pkg.mod.Class"


def make_encoders(name: str, modalities: Sequence[str], **options: Any) -> list[Encoder]:
    """The encoders a name stands for.

    Args:
        name: an open_clip name, `hf-hub:owner/name`, the path of a model configuration (.json), `demo`,
            `tfidf`, or an import path `pkg.mod.Class`.
        modalities: `image`, `text` or both: what there is to encode.
        options: `pretrained`, `precision`, `batch_size`, `device`; a class gets those its constructor has.

    Returns:
        One encoder per modality.

    Raises:
        FeatureError: nothing of that name, or it does not encode one of the modalities.
    """
    classes = _encoder_classes(name, modalities)
    for modality in modalities:
        if modality not in classes:
            known = " and ".join(f"{key}s" for key in classes)
            raise FeatureError(
                f"encoder '{name}' is for {known}, not for {modality}s: drop their options or choose another"
            )
    made = []
    for modality in modalities:
        parameters = inspect.signature(classes[modality]).parameters
        if options.get("pretrained") is not None and "pretrained" not in parameters:
            raise FeatureError(f"encoder '{name}' has no pretrained weights to choose: drop --pretrained")
        given = {key: value for key, value in options.items() if key in parameters and value is not None}
        if "pretrained" in parameters and _is_clip(name):
            given = {"model": name, "pretrained": "demo" if name == "demo" else _DEFAULT_TAG, **given}
        made.append(classes[modality](**given))
    return made


def _is_clip(name: str) -> bool:
    return name != "tfidf" and (
        name.startswith("hf-hub:") or name.endswith(".json") or not re.fullmatch(r"\w+(\.\w+)+", name)
    )


def _encoder_classes(name: str, modalities: Sequence[str]) -> dict[str, type[Encoder]]:
    if name == "tfidf":
        from features.tfidf import TfidfText

        return {"text": TfidfText}
    if _is_clip(name):
        from features.open_clip import OpenClipImage, OpenClipText

        return {"image": OpenClipImage, "text": OpenClipText}
    module_name, _, class_name = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError as error:
        raise FeatureError(f"encoder '{name}' cannot be imported ({error}): expected {_KINDS}") from error
    if not (inspect.isclass(found) and issubclass(found, Encoder) and not inspect.isabstract(found)):
        raise FeatureError(f"'{name}' is not an encoder: expected a subclass of features.base.Encoder")
    return {found.modality: found}
