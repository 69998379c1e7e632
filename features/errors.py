"""The project's own errors: one line each, saying what was found, what was expected, where, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MMRecError(Exception):
    """Base of every error a user can cause; `str(error)` is one line and programs exit with code 2."""

    def __str__(self) -> str:
        """One line, also where a name that came from outside has line breaks in it."""
        return " ".join(super().__str__().splitlines())


class FeatureError(MMRecError):
    """Items, photos, texts, encoders and feature stores."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Ending for an error about an unknown name: the nearest known one and all of them.

    Args:
        name: what was found.
        known: every name that would have been right.

    Returns:
        For example ``; did you mean 'FREEDOM'? known: BM3, FREEDOM``.
    """
    names = sorted(set(known))
    by_lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"did you mean '{by_lower[close[0]]}'? " if close else ""
    return f"; {hint}known: {', '.join(names)}"
