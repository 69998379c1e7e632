"""The whole story on one page: `python -m mmrec.run [--config FILE] [--option value ...]`."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from features.base import Encoder
from features.errors import MMRecError
from features.files import atomic_folder, content_hash
from features.items import Items, read_items
from features.store import FeatureStore, open_stores
from mmrec.augment.base import Augmentation, Compose
from mmrec.config import arguments_of, make, parse, plugin_class, save_config
from mmrec.data.dataset import RecData, add_features, load_data
from mmrec.errors import DataError
from mmrec.evaluate.evaluator import Evaluator, Scores
from mmrec.graph.item_graph import add_item_graph
from mmrec.models.base import Recommender
from mmrec.recommend import recommend, write_recommendations
from mmrec.report.progress import console, logging_to
from mmrec.report.table import score_table
from mmrec.train.checkpoint import save_checkpoint
from mmrec.train.loop import History, fit
from mmrec.train.streams import seeded

log = logging.getLogger("mmrec")


@dataclass(frozen=True)
class Trained:
    """A model at its best epoch, with the options it was made with."""

    name: str
    model: Recommender
    init_args: dict[str, Any]
    history: History


def run(options: Namespace) -> dict[str, Any]:
    """Data, features, graphs, training, the one look at test, and the run's folder.

    Args:
        options: from `mmrec.config.parse`.

    Returns:
        What `metrics.json` holds.
    """
    started = time.perf_counter()
    evaluator = Evaluator(**options.eval.as_dict())
    run_dir = Path(options.run_dir or Path("runs", options.name))
    with atomic_folder(run_dir) as folder, logging_to(folder / "log.txt"):
        data = prepare(options)
        for what, count in data.report.items():
            log.info("%10s %s", f"{count:,}", what)
        trained = [train(options, plugin, data, evaluator, folder) for plugin in (options.model, *options.compare)]
        test = data.test.open()  # once, now that every choice has been made
        scores = {one.name: _scores(one, data, evaluator, test) for one in trained}
        main = trained[0]
        frame = recommend(main.model, data, torch.cat([data.valid, test], dim=1), **options.recommend.as_dict())
        write_recommendations(frame, folder / "recommendations.csv")
        save_checkpoint(folder / "checkpoint.pt", main.model, main.init_args, data)
        save_config(options, folder / "config.yaml")
        metrics = _metrics(trained, scores, data, time.perf_counter() - started)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        shown = [name for name in (evaluator.monitor, *evaluator.names) if name.endswith(evaluator.monitor.split("@")[1])]
        log.info("%s", score_table(scores, list(dict.fromkeys(shown))[:2]))
    log.info("%s holds metrics.json, recommendations.csv, checkpoint.pt, config.yaml and log.txt", run_dir)
    return metrics


def prepare(options: Namespace) -> RecData:
    """The dataset with what the models need: features extracted or read, item graph built."""
    root, cache = Path(options.root), Path(options.cache_dir)
    settings = options.data.as_dict()
    if settings["interactions"] == "demo":
        from mmrec.data.demo import make_demo

        root, settings["interactions"] = make_demo(cache / "demo"), "clicks.csv"
    table = options["items"].as_dict()
    path = table.pop("path")
    items = read_items(root / path, **table) if path else None
    data = load_data(items=items, root=root, **settings)
    needs = {part for plugin in (options.model, *options.compare) for part in plugin_class(Recommender, plugin).needs}
    if needs:
        data = add_features(data, _stores(options.features, items, root, cache))
    if "features" in needs and not data.train.features:
        raise DataError("a model needs item features and there are none; set features.stores, or items and features.encoders")
    if "item_graph" in needs:
        view = add_item_graph(data.train, root=root, cache_dir=cache / "graphs", **options.graph.as_dict())
        data = replace(data, train=view)
    return data


def train(options: Namespace, plugin: Namespace, data: RecData, evaluator: Evaluator, folder: Path) -> Trained:
    """One model, trained on train and chosen on valid; the augmentations are for the main model only."""
    from lightning_fabric.loggers import CSVLogger

    name = plugin.class_path.rpartition(".")[2]
    with seeded(options.seed, "init"):
        model = make(Recommender, plugin, data.train)
    steps = [make(Augmentation, step) for step in options.augment.epoch] if plugin is options.model else []
    monitor = evaluator.of_monitor()
    logger = CSVLogger(folder, name="epochs", version=name)
    history = fit(
        model,
        data.train,
        lambda model, view: monitor.evaluate(model, view, data.valid),
        monitor=evaluator.monitor,
        augment=Compose(steps) if steps else None,
        seed=options.seed,
        logs=(logger,),
        **options.train.as_dict(),
    )
    logger.finalize("success")
    if history.epochs:
        log.info(
            "%s: %d epochs in %.1f s (+ %.1f s of validation); best %s %.4f at epoch %d",
            *(name, history.epochs, history.train_seconds, history.valid_seconds),
            *(evaluator.monitor, history.best_value, history.best_epoch),
        )
    return Trained(name, model, arguments_of(plugin), history)


def _stores(options: Namespace, items: Items | None, root: Path, cache: Path) -> dict[str, FeatureStore]:
    stores: dict[str, FeatureStore] = {}
    for name in options.stores:
        stores |= open_stores(root / name)
    encoders = [make(Encoder, plugin) for plugin in options.encoders]
    if encoders:
        from features.extract import extract

        if items is None:
            raise DataError("features.encoders are set but there is no item table; set items.path")
        key = content_hash([encoder.fingerprint() for encoder in encoders], str(items.path.resolve()))
        stores |= extract(items, encoders, cache / "features" / key[:16], strict=options.strict)
    return stores


def _scores(one: Trained, data: RecData, evaluator: Evaluator, test: torch.Tensor) -> dict[str, Scores]:
    view = data.train.to(one.model.device)
    return {
        "valid": evaluator.evaluate(one.model, view, data.valid, title=f"{one.name} on valid"),
        "test": evaluator.evaluate(one.model, view, test, also_known=data.valid, title=f"{one.name} on test"),
    }


def _metrics(
    trained: Sequence[Trained], scores: dict[str, dict[str, Scores]], data: RecData, seconds: float
) -> dict[str, Any]:
    main, *others = trained

    def plain(one: Trained) -> dict[str, Any]:
        parts = scores[one.name]
        history = {key: value for key, value in asdict(one.history).items() if key != "rows"}
        groups = {split: asdict(part) for split, part in parts.items()}
        return {
            **{split: dict(part.metrics) for split, part in parts.items()},
            "groups": {split: {key: value for key, value in group.items() if key != "metrics"} for split, group in groups.items()},
            "training": history,
        }

    compare = {one.name: plain(one) for one in others}
    return {"model": main.name, **plain(main), "compare": compare, "data": dict(data.report), "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when all went well, 2 after one line about what did not."""
    try:
        run(parse(sys.argv[1:] if argv is None else argv))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: stopped by Ctrl-C; the run's folder was not written", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
