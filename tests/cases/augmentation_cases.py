"""What every augmentation has to keep to. Yours too:

from tests.cases.augmentation_cases import AugmentationCase

class TestNodeDrop(AugmentationCase):
    augmentation = NodeDrop
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from mmrec.augment.base import Augmentation, Compose
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.feature_mask import FeatureMask
from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.view import GraphView
from tests.cases.planted import (
    assert_same_but_rounding,
    assert_same_tensors,
    copies,
    planted_blocks,
    rng,
    tensors,
    tiny_view,
    without_clicks,
)

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


class AugmentationCase:
    """Subclass it, name the class, and pytest finds the tests.

    Attributes:
        augmentation: the class.
        options: options at which it changes a graph of 240 clicks; the defaults unless said otherwise.
        zero: options at which it changes nothing. `drop` is the field's name for a strength. None for one
            that always changes something.
        draws: False for one that leaves nothing to chance.
    """

    augmentation: ClassVar[type[Augmentation]]
    options: ClassVar[dict[str, Any]] = {}
    zero: ClassVar[dict[str, Any] | None] = {"drop": 0}
    draws: ClassVar[bool] = True

    def make(self) -> Augmentation:
        return self.augmentation(**self.options)

    @staticmethod
    def view() -> GraphView:
        view = planted_blocks().data.train
        return replace(view, edge_weight=1 + torch.rand(view.edge_index.shape[1], generator=rng(9)))

    def test_the_view_that_comes_in_is_untouched(self) -> None:
        view = self.view()
        before = copies(view)
        self.make()(view, rng())
        assert_same_tensors(view, before)

    def test_it_changes_something(self) -> None:
        view = self.view()
        before, after = copies(view), tensors(self.make()(view, rng()))
        assert before.keys() != after.keys() or any(
            not torch.equal(before[name], after[name]) for name in before
        )

    def test_strength_zero_changes_nothing(self) -> None:
        if self.zero is None:
            pytest.skip("always changes something")
        view = self.view()
        state = rng(3)
        assert_same_tensors(self.augmentation(**self.zero)(view, state), copies(view))

    def test_same_generator_same_result(self) -> None:
        view = self.view()
        first = self.make()(view, rng(3))
        torch.rand(7)  # torch's global generator has no part in it
        assert_same_tensors(self.make()(view, rng(3)), copies(first))

    def test_the_generator_moves_on(self) -> None:
        if not self.draws:
            pytest.skip("leaves nothing to chance")
        view, source, augmentation = self.view(), rng(3), self.make()
        first, second = tensors(augmentation(view, source)), tensors(augmentation(view, source))
        assert any(
            first[name].shape != second[name].shape or not torch.equal(first[name], second[name])
            for name in first
        )

    def test_it_keeps_no_state(self) -> None:
        view, augmentation = self.view(), self.make()
        first = augmentation(view, rng(3))
        augmentation(tiny_view(), rng(4))
        assert_same_tensors(augmentation(view, rng(3)), copies(first))

    def test_what_was_asked_before_leaves_no_trace(self) -> None:
        """In the midst of others, which drop clicks and mask features, one generator gives one result."""
        view, chain = self.view(), Compose([EdgeDrop(0.5), FeatureMask(0.5), self.make()])
        expected = copies(chain(self.view(), rng(1)))
        for seed in (2, 1, 3, 1):
            found = chain(view, rng(seed))
            if seed == 1:
                assert_same_tensors(found, expected)

    def test_users_items_and_modalities_stay_what_they_are(self) -> None:
        view = self.view()
        changed = self.make()(view, rng())
        assert (changed.num_users, changed.num_items) == (view.num_users, view.num_items)
        assert changed.features.keys() == view.features.keys()
        assert changed.backend == view.backend

    @pytest.mark.parametrize("device", DEVICES)
    def test_nodes_without_clicks(self, device: str) -> None:
        view = tiny_view().to(device)
        changed = self.make()(view, rng())
        assert {tensor.device.type for tensor in tensors(changed).values()} == {device}
        out = user_item_matrix(changed).multiply(torch.ones(11, 2, device=device))
        assert out.isfinite().all()

    def test_no_clicks_at_all(self) -> None:
        changed = self.make()(without_clicks(tiny_view()), rng())
        assert user_item_matrix(changed).multiply(torch.ones(11, 2)).isfinite().all()

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_one_seed_gives_one_result_on_either_device(self) -> None:
        view = self.view()
        on_gpu = self.make()(view.to("cuda"), rng(3)).to("cpu")
        assert_same_but_rounding(on_gpu, self.make()(view, rng(3)))
