from __future__ import annotations

import torch

from mmrec.evaluate.topk import final_embeddings, top_items
from mmrec.models.popularity import Popularity
from tests.cases.planted import tiny_view, without_clicks


def test_scores_are_counts_of_clicks_for_everybody() -> None:
    view = tiny_view()
    model = Popularity(view)
    scores = model.score(final_embeddings(model, view), torch.arange(5))
    assert scores.tolist() == [[2, 2, 2, 2, 2, 0]] * 5


def test_the_most_clicked_item_that_the_user_does_not_know_comes_first() -> None:
    view = tiny_view()
    fewer = view.with_edges(torch.tensor([1, 3, 4, 8, 9]))  # item 1 clicked by users 0 and 1; 2, 3 and 4 once
    model = Popularity(fewer)
    lists = top_items(model, final_embeddings(model, fewer), torch.arange(5), fewer.edge_index, 1)
    ((_, items, scores),) = lists
    assert scores[:, 0].tolist() == [1, 1, 2, 2, 2]
    assert items[2:, 0].tolist() == [1, 1, 1]


def test_no_clicks() -> None:
    view = without_clicks(tiny_view())
    assert not Popularity(view).embed(view).items.any()


def test_nothing_to_train() -> None:
    assert not list(Popularity(tiny_view()).parameters())
