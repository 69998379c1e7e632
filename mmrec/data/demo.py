"""The demo: a small shop with photos, texts and clicks, made here and now, the same on every machine.

Eight attributes make an item. Kind, colour and pattern are seen in the photo and written in the text; shade,
form and trim are only seen; material and occasion are only written. Users have tastes for all eight, so
neither photos nor texts nor clicks alone tell the whole story.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.command_line import run_command
from features.files import atomic_folder, content_hash, file_hash
from mmrec.data.demo_clicks import draw_clicks
from mmrec.data.demo_items import KINDS, Catalogue, draw_catalogue, write_texts
from mmrec.errors import DataError

VERSION = 1
MISSING = 0.03
# One stream of chance each, so that more of one thing does not change another.
_SHOP, _TEXTS, _PHOTOS, _CLICKS, _GAPS, _IDS = range(6)

Strings = npt.NDArray[np.str_]


def make_demo(
    out: Path, *, users: int = 1000, items: int = 600, seed: int = 0, thorough: float = 0.0
) -> Path:
    """Make the demo shop, or find it made.

    Writes items.csv (item_id, title, description, photo), photos/, clicks.csv (user_id, item_id, time and
    x_label: 0 train, 1 valid, 2 test) and demo.json (arguments and a hash of the content). 3 % of the items
    have no photo, another 3 % no text, 5 % no training click.

    Args:
        out: folder to make; a demo made with the same arguments is left as it is.
        users: how many users.
        items: how many items, at least 50: five of each kind.
        seed: decides everything; any integer from 0.
        thorough: share, in [0, 1], of texts that also say what is otherwise only seen, and of photos that
            also show what is otherwise only written: what a CLIP learns from.

    Returns:
        The folder.

    Raises:
        DataError: arguments out of range, or `out` holds something else.
    """
    out = Path(out)
    if users < 1 or items < 5 * len(KINDS) or seed < 0 or not 0 <= thorough <= 1:
        raise DataError(
            f"demo of {users} users, {items} items, seed {seed}, thorough {thorough}: expected at least "
            f"1 user and {5 * len(KINDS)} items, a seed from 0 and thorough in [0, 1]"
        )
    arguments = {"users": users, "items": items, "seed": seed, "thorough": thorough}
    if _is_made(out, arguments):
        return out
    with atomic_folder(out) as folder:
        shop = demo_catalogue(items, seed, thorough)
        item_ids, user_ids = demo_ids(users, items, seed)
        gaps = np.random.default_rng([seed, _GAPS]).permutation(items)
        no_photo, no_text, _ = np.split(gaps, [round(MISSING * items), 2 * round(MISSING * items)])
        _write_items(folder, shop, item_ids, seed, set(no_photo.tolist()), no_text)
        clicks = draw_clicks(shop, users, np.random.default_rng([seed, _CLICKS]))
        ids = pl.DataFrame({"user_id": user_ids[clicks.user], "item_id": item_ids[clicks.item]})
        clicked = ids.with_columns(time=clicks.time, x_label=clicks.label)
        clicked.write_csv(folder / "clicks.csv")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        content = content_hash([[path.relative_to(folder).as_posix(), file_hash(path)] for path in files])
        about = {"demo": VERSION, **arguments, "content": content}
        (folder / "demo.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return out


def demo_catalogue(items: int, seed: int, thorough: float = 0.0) -> Catalogue:
    """What the items of `make_demo` with these arguments are, in the order of items.csv."""
    return draw_catalogue(items, np.random.default_rng([seed, _SHOP]), thorough=thorough)


def demo_ids(users: int, items: int, seed: int) -> tuple[Strings, Strings]:
    """Ids of items and users, such as SKU-4821 and u0317: with gaps and in no order, as real ones are."""
    rng = np.random.default_rng([seed, _IDS])
    found = []
    for count, prefix in ((items, "SKU-"), (users, "u")):
        digits = len(str(4 * count))
        numbers = rng.choice(10**digits, size=count, replace=False)
        found.append(np.array([f"{prefix}{number:0{digits}}" for number in numbers.tolist()]))
    return found[0], found[1]


def _is_made(out: Path, arguments: dict[str, int | float]) -> bool:
    """True if this very demo is there; an older version's is replaced, anything else is not ours to touch."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        about = json.loads((out / "demo.json").read_text(encoding="utf-8"))
        found = {name: about[name] for name in arguments}
        version = about["demo"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{out} is there and is no demo (no demo.json says so): choose another place"
        ) from error
    if found != arguments:
        raise DataError(
            f"{out} holds a demo made with {_flags(found)}, not {_flags(arguments)}: choose another place"
        )
    complete = all((out / name).exists() for name in ("items.csv", "clicks.csv", "photos"))
    return complete and version == VERSION


def _flags(arguments: dict[str, int | float]) -> str:
    return " ".join(f"--{name} {value}" for name, value in arguments.items())


def _write_items(
    folder: Path,
    shop: Catalogue,
    ids: Strings,
    seed: int,
    no_photo: set[int],
    no_text: npt.NDArray[np.int64],
) -> None:
    from rich.console import Console
    from rich.progress import track

    from mmrec.data.demo_photos import draw_photo

    (folder / "photos").mkdir()
    rng = np.random.default_rng([seed, _PHOTOS])
    photos = []
    for row in track(range(len(shop)), "Drawing photos", console=Console(stderr=True)):
        name = f"photos/{ids[row]}.jpg"
        photo = draw_photo(shop, row, rng)
        if row not in no_photo:
            photo.save(folder / name, quality=92, subsampling=0)
        photos.append("" if row in no_photo else name)
    texts = write_texts(shop, np.random.default_rng([seed, _TEXTS]))
    titles, descriptions = np.array(texts[0]), np.array(texts[1])
    titles[no_text], descriptions[no_text] = "", ""
    columns = {"item_id": ids, "title": titles, "description": descriptions, "photo": photos}
    pl.DataFrame(columns).with_columns(pl.all().replace("", None)).write_csv(folder / "items.csv")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns 0, or 2 after one line on stderr saying what was wrong."""
    return run_command(
        make_demo,
        argv,
        program="python -m mmrec.data.demo",
        description="Make the demo shop: photos, texts and clicks.",
        show=print,
        positional=True,
    )


if __name__ == "__main__":
    sys.exit(main())
