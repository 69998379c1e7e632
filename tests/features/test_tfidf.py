from __future__ import annotations

import numpy as np
import pytest

from features.errors import FeatureError
from features.tfidf import TfidfText

KINDS = {"shirt": "cotton sleeves collar", "mug": "ceramic handle dishwasher", "lamp": "bulb shade cable"}
TEXTS = [
    f"{kind} {word} n{index}" for kind, words in KINDS.items() for word in words.split() for index in (1, 2)
]


def test_texts_about_the_same_thing_are_nearest() -> None:
    encoder = TfidfText(dim=8)
    encoder.fit(TEXTS)
    rows = encoder.encode(TEXTS)
    near = rows @ rows.T
    same = np.arange(18)[:, None] // 6 == np.arange(18) // 6
    np.fill_diagonal(same, False)
    np.fill_diagonal(near, -1)
    assert same[np.arange(18), near.argmax(axis=1)].all()


def test_with_all_dimensions_it_is_the_cosine_of_tfidf_weights() -> None:
    """By hand: sublinear tf is 1 for each word here, idf is log((1 + n) / (1 + df)) + 1."""
    texts = ["red shirt", "red mug", "blue mug", "blue shirt", "red red red mug"]
    encoder = TfidfText(dim=4, min_df=1)
    encoder.fit(texts)
    words = ["red", "blue", "shirt", "mug"]
    counts = np.array([[text.split().count(word) for word in words] for text in texts], dtype=float)
    tf = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
    weights = tf * (np.log(6 / (1 + (counts > 0).sum(axis=0))) + 1)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    rows = encoder.encode(texts)
    np.testing.assert_allclose(rows @ rows.T, weights @ weights.T, atol=1e-6)


def test_few_texts_give_fewer_dimensions_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    encoder = TfidfText(dim=256, min_df=1)
    assert encoder.dim == 256
    with caplog.at_level("INFO"):
        encoder.fit(["red shirt", "blue mug", "red mug"])
    assert encoder.dim == encoder.encode(["red"]).shape[1] == 3
    assert "3 texts with 4 words give 3 dimensions, not 256" in caplog.text


def test_one_text() -> None:
    encoder = TfidfText(min_df=1)
    encoder.fit(["one single text"])
    np.testing.assert_allclose(encoder.encode(["one single text"]), [[1.0]], atol=1e-6)


def test_texts_without_known_words_are_zero_and_counted() -> None:
    encoder = TfidfText(dim=4)
    encoder.fit(TEXTS)
    rows = encoder.encode(["shirt", "unheard of", "!!!"])
    assert (rows != 0).any(axis=1).tolist() == [True, False, False]
    assert encoder.notes() == {"texts_without_words": 2}
    encoder.fit(TEXTS)
    assert encoder.notes() == {"texts_without_words": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_df": 9}, "no word is left"),
        ({"dim": 0}, "expected whole numbers"),
        ({"max_df": 2.0}, "max_df in"),
    ],
)
def test_options_that_leave_nothing(options: dict[str, float], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        TfidfText(**options).fit(["one", "two"])  # type: ignore[arg-type]


def test_encode_before_fit() -> None:
    with pytest.raises(FeatureError, match="before fit"):
        TfidfText().encode(["text"])
