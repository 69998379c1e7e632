"""Randomness from one seed, in named streams: drawing more in one place changes nothing in another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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


def keep(shape: Sequence[int], probability: float, rng: torch.Generator) -> torch.Tensor:
    """Independent coins: bool of a shape, each True with a probability, on the generator's device.

    Each coin takes 16 bits of a 64-bit draw: many times faster on a CPU than `bernoulli_`, which draws
    for each; in return the probability is rounded to a multiple of 1 / 65,536.
    """
    count = math.prod(shape)
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=rng.device)
    bits.random_(-(2**63), None, generator=rng)
    below = round(probability * 2**16) - 2**15  # of the 16-bit numbers, this share lies below
    if below == 2**15:  # which is none of them
        return torch.ones(tuple(shape), dtype=torch.bool, device=rng.device)
    return (bits.view(torch.int16)[:count] < below).view(*shape)


def uniform(shape: Sequence[int], rng: torch.Generator) -> torch.Tensor:
    """Float32 in (0, 1) on the generator's device; four numbers of 16 bits to a draw, as in `keep`."""
    count = math.prod(shape)
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=rng.device)
    bits.random_(-(2**63), None, generator=rng)
    return bits.view(torch.int16)[:count].float().add_(2**15 + 0.5).mul_(2**-16).view(*shape)


def draw_seed(rng: torch.Generator) -> int:
    """A seed for a stream of its own."""
    return int(torch.randint(2**62, (), generator=rng, device=rng.device))


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Torch's global generator set for a moment, then put back: for what uses no other, like constructors."""
    with torch.random.fork_rng():
        torch.manual_seed(_derive(seed, name))
        yield


def _derive(seed: int, name: str) -> int:
    digest = blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # generators take 63 bits
