"""Ids: the user's own, as text, and the dense integers that stand for them inside the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmrec.data.tables import show
from mmrec.errors import DataError


@dataclass(frozen=True, eq=False)
class IdMap:
    """Ids in a fixed order; the code of an id is its place in it.

    The order depends on the set of ids alone, not on the rows they came from: by value where all ids are
    decimal integers as one writes them (``0``, ``7``, ``10``; not ``007``, ``-1`` or ``1.0``), else by code
    point. So the dense integer ids of MMRec's files map to themselves.

    Args:
        ids: text [N], all different; `from_values` makes it.
    """

    ids: NDArray[np.str_]

    @classmethod
    def from_values(cls, *values: pl.Series | Sequence[str] | NDArray[np.str_]) -> IdMap:
        """Map of all ids that occur.

        Args:
            values: ids, repeated and in any order; several columns are taken together.

        Raises:
            DataError: an id is missing, empty or ends in a NUL character, which numpy would cut off.
        """
        ids = pl.concat([_text(part) for part in values]).unique()
        broken = ids.filter(ids.is_null() | (ids == "") | ids.str.ends_with("\0"))
        if len(broken):
            raise DataError(
                f"an id is {show(broken[0])}, expected text of at least one letter; correct the ids"
            )
        if ids.str.contains(r"^(0|[1-9][0-9]*)$").all():
            # Shorter first, then by text: by value, and no integer is too large for it.
            ids = ids.to_frame("id").sort(pl.col("id").str.len_bytes(), "id").to_series()
        else:
            ids = ids.sort()
        return cls(np.array(ids.to_list(), dtype=np.str_))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def are_positions(self) -> bool:
        """True if the ids are 0, 1, 2, ...: then a number in another file means the same as here."""
        return bool(np.array_equal(self.ids, np.arange(len(self)).astype(np.str_)))

    def encode(
        self, values: pl.Series | Sequence[str] | NDArray[np.str_], *, strict: bool = True
    ) -> NDArray[np.int64]:
        """Codes of ids.

        Args:
            values: ids [n].
            strict: unknown ids are an error; else their code is -1.

        Returns:
            int64 [n], each in [0, N) or -1.

        Raises:
            DataError: an id that is not in the map, where `strict`.
        """
        known = pl.DataFrame({"id": pl.Series(self.ids.tolist(), dtype=pl.String)}).with_row_index("code")
        text = _text(values)
        codes = text.to_frame("id").join(known, on="id", how="left", maintain_order="left")["code"]
        if strict and codes.null_count():
            first = text.filter(codes.is_null())[0]
            raise DataError(
                f"{codes.null_count()} of {len(text)} ids are unknown, the first is {show(first)}; "
                f"the map holds {len(self)} ids{f' such as {show(self.ids[0])}' if len(self) else ''}; "
                "check the id column"
            )
        return codes.cast(pl.Int64).fill_null(-1).to_numpy().astype(np.int64)

    def decode(self, codes: NDArray[np.int64] | Sequence[int]) -> NDArray[np.str_]:
        """Ids of codes, in the shape of `codes`.

        Args:
            codes: integers in [0, N), any shape.

        Raises:
            DataError: a code outside [0, N).
        """
        index = np.asarray(codes, dtype=np.int64)
        outside = (index < 0) | (index >= len(self))
        if outside.any():
            raise DataError(f"code {index[outside].flat[0]} stands for no id; expected 0 to {len(self) - 1}")
        decoded: NDArray[np.str_] = self.ids[index]
        return decoded


def _text(values: pl.Series | Sequence[str] | NDArray[np.str_]) -> pl.Series:
    if not isinstance(values, pl.Series):
        values = pl.Series(
            np.asarray(values).tolist() if isinstance(values, np.ndarray) else list(values), dtype=pl.String
        )
    return values.cast(pl.String).alias("id")
