"""The demo shop's items: what each one is, and what its seller wrote about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SOFT_KINDS = ("shirt", "bag", "shoe", "cap", "umbrella")
_HARD_KINDS = ("mug", "lamp", "chair", "clock", "bottle")
KINDS = _SOFT_KINDS + _HARD_KINDS
COLOURS = ("red", "yellow", "green", "blue", "purple", "pink")
PATTERNS = ("plain", "striped", "dotted", "checked", "floral")
SHADES = ("pale", "bright", "dark")
FORMS = ("angular", "rounded")
TRIMS = ("black", "white", "gold")
MATERIALS = ("cotton", "wool", "leather", "steel", "glass", "oak")
OCCASIONS = ("camping", "weddings", "the office", "birthdays", "the beach")

# Rows of MATERIALS each kind can be made of: the first three are soft, the others hard.
_MADE_OF = np.array([(0, 1, 2)] * len(_SOFT_KINDS) + [(3, 4, 5)] * len(_HARD_KINDS))

SEEN = ("shade", "form", "trim")
WRITTEN = ("material", "occasion")
BOTH = ("kind", "colour", "pattern")

Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Catalogue:
    """Attributes of I items, each an [I] array of positions in the tuple of its name above.

    Args:
        kind: what it is; seen and written.
        colour: seen and written.
        pattern: seen and written.
        shade: how light the colour is; only seen.
        form: angular or rounded outline; only seen.
        trim: colour of handle, sole, frame; only seen.
        material: only written.
        occasion: what it is good for; only written.
        tells: [I] bool; this text also says what is usually only seen.
        shows: [I] bool; this photo also shows what is usually only written.
    """

    kind: Codes
    colour: Codes
    pattern: Codes
    shade: Codes
    form: Codes
    trim: Codes
    material: Codes
    occasion: Codes
    tells: Flags
    shows: Flags

    def __len__(self) -> int:
        return len(self.kind)


NAMES: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "colour": COLOURS,
    "pattern": PATTERNS,
    "shade": SHADES,
    "form": FORMS,
    "trim": TRIMS,
    "material": MATERIALS,
    "occasion": OCCASIONS,
}


def draw_catalogue(items: int, rng: np.random.Generator, *, thorough: float = 0.0) -> Catalogue:
    """Draw items; attributes are independent, except that a mug is not made of wool.

    Args:
        items: how many.
        rng: the only source of chance.
        thorough: share, in [0, 1], of texts that say everything and, drawn apart, of photos that show it;
            with the same items for both, an encoder would learn to look only where it finds both.
    """
    codes = {name: rng.integers(len(values), size=items) for name, values in NAMES.items()}
    # Kinds are as even as can be, so that even a tiny shop has all of them.
    codes["kind"] = rng.permutation(np.arange(items) % len(KINDS))
    codes["material"] = _MADE_OF[codes["kind"], codes["material"] % _MADE_OF.shape[1]]
    tells, shows = rng.random((2, items)) < thorough
    return Catalogue(**codes, tells=tells, shows=shows)


_TITLES = (
    "{Pattern} {kind} in {colour}",
    "{Colour} {kind}, {pattern}",
    "{Colour} {pattern} {kind}",
    "{Kind}, {pattern}, {colour}",
)
_BODIES = (
    "A {colour} {kind} made of {material}, {pattern}. Good for {occasion}.",
    "Our {pattern} {kind} is {colour}; the material is {material}. Made for {occasion}.",
    "For {occasion}: this {material} {kind} comes in {colour}, {pattern}.",
    "{Material}, {pattern}, {colour}: a {kind} you will want for {occasion}.",
)
_EXTRAS = (" A {shade} shade, {form}, with {trim} trim.", " {Form} form, {trim} trim, {shade} tone.")


def write_texts(shop: Catalogue, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Title and description of each item; some add a sentence on shade, form and trim."""
    picks = rng.integers([len(_TITLES), len(_BODIES), len(_EXTRAS)], size=(len(shop), 3))
    codes = np.stack([getattr(shop, name) for name in (*NAMES, "tells")], axis=1)
    titles, bodies = [], []
    for (title, body, extra), row in zip(picks.tolist(), codes.tolist(), strict=True):
        words = {name: NAMES[name][code] for name, code in zip(NAMES, row, strict=False)}
        words |= {name.capitalize(): word.capitalize() for name, word in words.items()}
        titles.append(_TITLES[title].format(**words))
        bodies.append((_BODIES[body] + (_EXTRAS[extra] if row[-1] else "")).format(**words))
    return titles, bodies
