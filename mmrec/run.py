"""The whole story on one page: `python -m mmrec.run [--config FILE] [--option value ...]`."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import polars as pl
import torch
from jsonargparse import Namespace

from features.base import Encoder
from features.errors import MMRecError
from features.files import atomic_folder, content_hash
from features.items import Items, read_items
from features.store import FeatureStore, open_stores
from mmrec.auxiliary.base import Auxiliary
from mmrec.config import arguments_of, make, parse, plugin_class, save_config
from mmrec.data.dataset import RecData, add_features, load_data
from mmrec.data.missing import Missing, fill_missing
from mmrec.errors import ConfigError, DataError, GraphError
from mmrec.evaluate.evaluator import Evaluator, Scores
from mmrec.graph.item_graph import add_item_graph
from mmrec.helpers import Helpers
from mmrec.models.base import Recommender
from mmrec.recommend import check_options, recommend, write_recommendations
from mmrec.report.progress import console, logging_to
from mmrec.report.table import score_table
from mmrec.train.checkpoint import save_checkpoint
from mmrec.train.loop import History, fit, free_name
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
    # What can be refused is refused now, not after the features are extracted or the model is trained.
    run_dir = _run_dir(options)
    evaluator = Evaluator(**options.eval.as_dict())
    check_options(**options.recommend.as_dict())
    helpers = Helpers.of(options)
    with atomic_folder(run_dir) as folder, logging_to(folder / "log.txt"):
        data = prepare(options)
        for what, number in data.report.items():
            log.info("%10s %s", f"{number:,}", what)
        trained = [train(options, options.model, data, evaluator, folder, helpers=helpers)]
        for plugin in options.compare:
            trained.append(
                train(options, plugin, data, evaluator, folder, taken=[one.name for one in trained])
            )
        # The test split is opened once, now that every choice has been made, or not at all.
        test = data.test.open() if options.open_test else None
        scores = {one.name: _scores(one, data, evaluator, test) for one in trained}
        main = trained[0]
        held_out = data.valid if test is None else torch.cat([data.valid, test], dim=1)
        frame = recommend(main.model, data, held_out, **options.recommend.as_dict())
        write_recommendations(frame, folder / "recommendations.csv")
        save_checkpoint(folder / "checkpoint.pt", main.model, main.init_args, data)
        save_config(options, folder / "config.yaml")
        metrics = _metrics(trained, scores, data, time.perf_counter() - started)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        at_k = evaluator.monitor[evaluator.monitor.index("@") :]
        shown = [evaluator.monitor, *(name for name in evaluator.names if name.endswith(at_k))]
        log.info("%s", score_table(scores, list(dict.fromkeys(shown))[:2]))
    held = "metrics.json, recommendations.csv, checkpoint.pt, config.yaml, epochs/ and log.txt"
    console.print(f"{run_dir} holds {held}", highlight=False, markup=False, soft_wrap=True)
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
    items = read_items(root / path, photo_cache=cache / "photos", **table) if path else None
    data = load_data(items=items, root=root, **settings)
    data = replace(data, train=replace(data.train, cache_dir=cache / "graphs"))
    kinds: list[type[Recommender | Auxiliary]] = []
    kinds += [plugin_class(Recommender, plugin) for plugin in (options.model, *options.compare)]
    kinds += [plugin_class(Auxiliary, plugin) for plugin in options.auxiliary]
    needs = {part for kind in kinds for part in kind.needs}
    stores = _stores(options.features, items, root, cache) if needs else {}
    data = _with_features(data, stores, options.features.missing)
    if "features" in needs and not data.train.features:
        advice = "set features.stores, or items and features.encoders"
        raise DataError(f"a model needs item features and there are none; {advice}")
    if "item_graph" in needs:
        if options.graph.edges and not data.items.are_positions:
            found = f"the items here have ids such as '{data.items.ids[0]}'"
            raise GraphError(f"graph.edges number items 0, 1, 2, ... and {found}; leave graph.edges out")
        view = add_item_graph(data.train, root=root, **options.graph.as_dict())
        data = replace(data, train=view)
    if reduced := _reduced(stores, options.features.width, cache):
        data = _with_features(data, reduced, options.features.missing)
    return data


def train(
    options: Namespace,
    plugin: Namespace,
    data: RecData,
    evaluator: Evaluator,
    folder: Path,
    *,
    helpers: Helpers | None = None,
    taken: Sequence[str] = (),
) -> Trained:
    """One model, trained on train and chosen on valid.

    Args:
        options: of the run.
        plugin: the model's class and options.
        data: what it is trained on; its test split stays sealed.
        evaluator: gives the monitored metric.
        folder: gets `epochs/<name>/metrics.csv`.
        helpers: augmentations and auxiliary losses; none for models that are compared.
        taken: names of models trained before; the second LightGCN is called LightGCN-2.
    """
    name = free_name(plugin.class_path.rpartition(".")[2], taken)
    with seeded(options.seed, "init"):
        model = make(Recommender, plugin, data.train)
        helping = helpers.arguments(data.train) if helpers else {}
    monitor = evaluator.of_monitor()
    valid = functools.cache(lambda device: monitor.prepare(data.train.to(device), data.valid))
    history = fit(
        model,
        data.train,
        lambda model, view: monitor.evaluate(model, view, valid(model.device)),
        monitor=evaluator.monitor,
        seed=options.seed,
        **helping,
        **options.train.as_dict(),
    )
    if history.epochs:
        path = folder / "epochs" / name / "metrics.csv"
        path.parent.mkdir(parents=True)
        pl.DataFrame(history.rows).write_csv(path)
        log.info(
            "%s: %d epochs in %.1f s (+ %.1f s of validation); best %s %.4f at epoch %d",
            *(name, history.epochs, history.train_seconds, history.valid_seconds),
            *(evaluator.monitor, history.best_value, history.best_epoch),
        )
    return Trained(name, model, arguments_of(plugin), history)


def _run_dir(options: Namespace) -> Path:
    """The folder to write; whatever is there and is no run must not be replaced."""
    if not options.run_dir and Path(options.name).name in ("", ".."):
        raise ConfigError(f"name is '{options.name}', expected the name of a folder")
    path = Path(options.run_dir or Path("runs", options.name))
    if path.is_dir() and any(path.iterdir()) and not (path / "metrics.json").is_file():
        raise ConfigError(f"{path} is a folder of something else than a run; choose another name or run_dir")
    return path


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


def _with_features(data: RecData, stores: dict[str, FeatureStore], missing: Missing) -> RecData:
    if not stores:
        return data
    data = add_features(data, stores)
    return replace(data, train=fill_missing(data.train, missing))


def _reduced(stores: dict[str, FeatureStore], width: int | None, cache: Path) -> dict[str, FeatureStore]:
    """The stores with at most `width` columns each; none where all are narrow enough."""
    if width is None or all(store.dim <= width for store in stores.values()):
        return {}
    from features.reduce import reduce_store

    def one(name: str, store: FeatureStore) -> FeatureStore:
        folder = cache / "reduced" / content_hash(str(store.path.resolve()), width)[:16] / name
        return reduce_store(store, folder, width=width) if store.dim > width else store

    return {name: one(name, store) for name, store in stores.items()}


def _scores(
    one: Trained, data: RecData, evaluator: Evaluator, test: torch.Tensor | None
) -> dict[str, Scores]:
    view = data.train.to(one.model.device)
    splits = {"valid": evaluator.prepare(view, data.valid)}
    if test is not None:
        splits["test"] = evaluator.prepare(view, test, also_known=data.valid)
    title = f"{one.name} on {' and '.join(splits)}"
    found = evaluator.evaluate_all(one.model, view, list(splits.values()), title=title)
    return dict(zip(splits, found, strict=True))


def _metrics(
    trained: Sequence[Trained], scores: dict[str, dict[str, Scores]], data: RecData, seconds: float
) -> dict[str, Any]:
    main, *others = trained

    def plain(one: Trained) -> dict[str, Any]:
        parts = scores[one.name]
        history = {key: value for key, value in asdict(one.history).items() if key != "rows"}
        if not one.history.epochs:
            history["best_value"] = None  # nothing was trained; JSON has no NaN
        groups = {split: asdict(part) for split, part in parts.items()}
        metrics = {split: group.pop("metrics") for split, group in groups.items()}
        return {**metrics, "groups": groups, "training": history}

    compare = {one.name: plain(one) for one in others}
    return {
        "model": main.name,
        **plain(main),
        "compare": compare,
        "data": dict(data.report),
        "seconds": seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when all went well, 2 after one line about what did not."""
    if isinstance(sys.stdout, TextIOWrapper):  # an id that the terminal lacks letters for must not end a run
        sys.stdout.reconfigure(errors="replace")
    try:
        run(parse(sys.argv[1:] if argv is None else argv))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads on, as in `--help | head`; nor may the exit flush what is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        print("error: stopped by Ctrl-C; the run's folder was not written", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
