"""Every option of a run, by section: the signature it comes from, or, where there is none, what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from features.base import Encoder
from features.items import Items, read_items
from mmrec.augment.base import Augmentation
from mmrec.auxiliary.base import Auxiliary
from mmrec.auxiliary.view_contrast import Against, Redraw
from mmrec.binding import Signature
from mmrec.data.dataset import load_data
from mmrec.data.missing import Missing
from mmrec.evaluate.evaluator import Evaluator
from mmrec.graph.item_graph import add_item_graph
from mmrec.losses.contrast import Contrast
from mmrec.models.base import Recommender
from mmrec.recommend import recommend
from mmrec.train.loop import fit

Plugin = str | dict[str, Any]


def run_options(
    config: str | None = None,
    print_config: bool = False,
    name: str = "run",
    run_dir: str | None = None,
    cache_dir: str = "cache",
    root: str = ".",
    seed: int = 0,
    open_test: bool = True,
    model: Plugin | None = None,
    compare: Sequence[Plugin] = (),
    auxiliary: Sequence[Plugin] = (),
) -> None:
    """Options of the top level.

    Args:
        config: YAML file with any of these options; several are merged, later ones win; without any, the
            demo's is taken. A file may name others that it starts from: `base: [../data/shop.yaml]`.
        print_config: print the options with every default filled in, and stop.
        name: name of the run; its folder is runs/<name>.
        run_dir: folder of the run instead; an older run there is replaced once the new one is complete.
        cache_dir: folder for features and graphs, kept by content hash.
        root: folder that the paths of data, items, features and graph start from.
        seed: seed of initialisation, sampling and augmentation.
        open_test: open the test split once at the end; false for tries, which are judged on valid alone.
        model: class name or import path, or {class_path: ..., init_args: {...}}; its options are below.
        compare: models trained beside it, for the table; each as `model`.
        auxiliary: losses beside the model's own, such as AdversarialFeature or RLMRec; each as `model`.
    """


def item_options(path: str | None = None, **options: Any) -> Items | None:
    """The item table.

    Args:
        path: table of items (.csv, .tsv, .parquet); optional.
        options: see `read_items`.
    """
    return read_items(path, **options) if path else None


def feature_options(
    stores: Sequence[str] = (),
    encoders: Sequence[Plugin] = (),
    width: int | None = None,
    missing: Missing = "zero",
    strict: bool = False,
) -> None:
    """Where features come from.

    Args:
        stores: folders of ready features: stores, or MMRec's layout.
        encoders: encoders of the items' photos and texts, run once; each as `model`.
        width: columns that models see, by PCA of each modality that has more, kept in the cache; the item
            graph is made of all columns.
        missing: what stands in for the photo or text that an item lacks: `zero`, the `mean` of all items, the
            mean of its `neighbours` (items clicked by the same users), or `propagation` of features over the
            graph of clicks. The item graph links what the last two filled.
        strict: stop at broken photos instead of treating them as missing.
    """


def augment_options(
    epoch: Sequence[Plugin] = (),
    step: Sequence[Plugin] = (),
    views: Sequence[Plugin] = (),
    contrast: Plugin | None = None,
    redraw: Redraw = "step",
    against: Against = "view",
) -> None:
    """Augmentations of the graph that `model` is trained on; `python -m mmrec.augment --list` shows them.

    Args:
        epoch: drawn anew each epoch; each as `model`.
        step: drawn anew each step, after those; for noise inside propagation.
        views: make two views whose embeddings are contrasted, beside the model's own loss.
        contrast: loss between the views: InfoNCE (default), AlignUniform, CalibratedUniformity, BarlowTwins
            or CosineBootstrap.
        redraw: draw views anew each `step`, or each `epoch`, which costs less.
        against: contrast the two views with each other, or one `view` with the `clean` graph.
    """


_PARTS = {"augment", "augment_step", "auxiliary"}  # parameters of `fit` that have sections of their own
# Section: where its options come from, and the parameters there that are no options.
SECTIONS: dict[str, tuple[Signature, frozenset[str]]] = {
    "": (run_options, frozenset()),
    "data": (load_data, frozenset({"items", "root"})),
    "items": (item_options, frozenset({"photo_cache"})),
    "features": (feature_options, frozenset()),
    "graph": (add_item_graph, frozenset({"view", "root"})),
    "augment": (augment_options, frozenset()),
    "train": (fit, frozenset({"model", "view", "validate", "monitor", "seed", "logs"} | _PARTS)),
    "eval": (Evaluator, frozenset()),
    "recommend": (recommend, frozenset({"model", "data", "held_out"})),
}
PLUGINS: dict[str, type[Any]] = {
    "model": Recommender,
    "compare": Recommender,
    "features.encoders": Encoder,
    "augment.epoch": Augmentation,
    "augment.step": Augmentation,
    "augment.views": Augmentation,
    "augment.contrast": Contrast,
    "auxiliary": Auxiliary,
}
SINGLE = ("model", "augment.contrast")  # one plug-in, not a list
MADE_OF_A_VIEW = (Recommender, Auxiliary)  # their first parameter is no option
ACTIONS = ("config", "print_config", "help")  # words of the command line, not options of a run
