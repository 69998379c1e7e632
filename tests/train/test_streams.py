from __future__ import annotations

import pytest
import torch

from mmrec.train.streams import keep, seeded, stream


def test_a_stream_is_its_seed_and_its_name() -> None:
    def draw(seed: int, name: str) -> list[float]:
        return torch.rand(4, generator=stream(seed, name)).tolist()

    assert draw(0, "init") == draw(0, "init")
    others = [draw(0, "init"), draw(1, "init"), draw(0, "augment"), draw(10, ""), draw(1, "0")]
    assert len({tuple(values) for values in others}) == 5


def test_streams_are_the_same_in_every_process() -> None:
    """Not Python's own hash, which changes from run to run."""
    assert stream(0, "sampling").initial_seed() == 6544249414852775016
    assert stream(7, "init").initial_seed() == 4452384550919706081


def test_large_and_negative_seeds() -> None:
    for seed in (-1, 2**80):
        assert 0 <= stream(seed, "init").initial_seed() < 2**63


def test_seeded_is_for_a_moment() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(0, "init"):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(0, "init"):
        assert torch.equal(torch.rand(3), first)


def test_seeded_puts_back_after_an_error() -> None:
    before = torch.get_rng_state()

    def stopped() -> None:
        with seeded(0, "init"):
            torch.rand(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_coins_fall_as_often_as_they_should(probability: float) -> None:
    coins = keep((400, 257), probability, stream(0, "coins"))
    assert coins.shape == (400, 257)
    share = float(coins.double().mean())
    assert abs(share - probability) <= 5 * (probability * (1 - probability) / coins.numel()) ** 0.5 + 1e-5
    if 0 < probability < 1:  # and neighbours, which share a draw, fall on their own
        pairs = coins.flatten()[: coins.numel() // 4 * 4].view(-1, 4).double()
        correlation = torch.corrcoef(pairs.T) - torch.eye(4)
        assert float(correlation.abs().max()) < 0.03


@pytest.mark.parametrize("probability", [0.0, 1e-9, 0.3, 0.5, 0.99999, 1 - 1e-9, 1.0])
def test_coins_are_16_bits_of_a_draw_each(probability: float) -> None:
    """Number by number, and as many are drawn when all are True."""
    source, again = stream(3, "coins"), stream(3, "coins")
    found = keep((7, 11), probability, source)
    bits = torch.empty(20, dtype=torch.int64).random_(-(2**63), None, generator=again)
    halves = [(int(one) >> shift) % 2**16 for one in bits for shift in (0, 16, 32, 48)][:77]
    signed = [half - 2**16 if half >= 2**15 else half for half in halves]
    assert found.flatten().tolist() == [one + 2**15 < round(probability * 2**16) for one in signed]
    assert torch.equal(torch.rand(3, generator=source), torch.rand(3, generator=again))


def test_coins_come_from_their_generator_alone() -> None:
    assert torch.equal(keep((3, 5), 0.5, stream(1, "a")), keep((3, 5), 0.5, stream(1, "a")))
    assert not torch.equal(keep((30, 5), 0.5, stream(1, "a")), keep((30, 5), 0.5, stream(2, "a")))
    assert keep((0, 5), 0.5, stream(1, "a")).shape == (0, 5)
