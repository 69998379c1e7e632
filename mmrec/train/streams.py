"""Randomness from one seed, in named streams: drawing more in one place changes nothing in another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose.

    Args:
        seed: the run's seed.
        name: what it is for, such as `init`, `sampling` or `augment`.
        device: where it draws.
    """
    return torch.Generator(device).manual_seed(_derive(seed, name))


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Torch's global generator set for a moment, then put back: for what uses no other, like constructors."""
    with torch.random.fork_rng():
        torch.manual_seed(_derive(seed, name))
        yield


def _derive(seed: int, name: str) -> int:
    digest = blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # generators take 63 bits
