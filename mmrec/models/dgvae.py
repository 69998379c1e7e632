"""DGVAE: a variational autoencoder with disentangled tastes, read from clicks and from words."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from mmrec.errors import ConfigError
from mmrec.graph.known import Known
from mmrec.graph.matrices import click_matrix, item_matrix
from mmrec.graph.ops import SparseMatrix, propagate
from mmrec.graph.view import GraphView
from mmrec.losses.contrastive import check_temperature
from mmrec.models.base import Batch, Embeddings, Part, Recommender
from mmrec.models.words import item_words
from mmrec.train.streams import keep

_CHUNK = 1024  # users encoded at once outside of training


class _Encoded(Embeddings):
    """Tastes of all users [U, K D], made when they are looked at, and items: [I, D + K]."""

    def __init__(self, model: DGVAE, view: GraphView, *, in_training: bool = False) -> None:
        self.model, self.view, self.in_training = model, view, in_training

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        model = self.model
        numbers = torch.arange(model.num_users, device=model.device)
        users = [
            model.tastes(self.view, some, None).mixed.flatten(1) for some in torch.split(numbers, _CHUNK)
        ]
        clicks = model.clicks
        items = torch.cat([normalize(clicks.table, dim=1), clicks.log_shares(model.temperature, None)], dim=1)
        return torch.cat(users), items


class DGVAE(Recommender):
    """DGVAE (Zhou and Miao 2024, arXiv:2402.16110): two autoencoders, of clicks and of words, share K tastes.

    Each item and each word belongs to K prototypes by c = softmax(cos / t). A user's clicks, weighed by c_k,
    are spread twice over the item graph and encoded to taste k; so are the words of these items. The two
    attend to each other, and the sum decodes both: p(x) ~ sum_k c_xk exp(z_k . x / t). Loss: both cross
    entropies with annealed KL terms, and mutual information between tastes.

    Words are TF-IDF of the user's items' words. Here an item's words are the `words_per_item` nearest of
    `words` k-means centres of each modality, so that photos and sounds have words too; the released code
    takes words of texts and captions. An epoch is every user once.
    """

    needs: ClassVar[frozenset[Part]] = frozenset({"features", "item_graph"})
    batches = "users"

    def __init__(
        self,
        view: GraphView,
        *,
        dim: int = 64,
        n_tastes: int = 4,
        temperature: float = 0.1,
        dropout: float = 0.5,
        noise: float = 0.075,
        word_weight: float = 0.2,
        information_weight: float = 0.2,
        anneal_cap: float = 0.2,
        anneal_steps: int = 20_000,
        words: int = 200,
        words_per_item: int = 5,
    ) -> None:
        """Make both nets.

        Args:
            view: the training view; needs features and an item graph.
            dim: width D of a taste.
            n_tastes: prototypes, and tastes per user.
            temperature: t, of assignments and decoding.
            dropout: of what is encoded, in [0, 1).
            noise: standard deviation of the reparametrisation, times sigma.
            word_weight: of the words' losses.
            information_weight: of the mutual information.
            anneal_cap: largest weight of the KL terms.
            anneal_steps: the weight is steps / anneal_steps up to the cap.
            words: k-means centres per modality.
            words_per_item: words that an item has of each modality.

        Raises:
            ConfigError: for fewer than 2 tastes, or dropout or temperature out of its range.
        """
        super().__init__(view)
        if n_tastes < 2 or not 0 <= dropout < 1:
            found = f"n_tastes {n_tastes} and dropout {dropout}"
            raise ConfigError(f"DGVAE has {found}, expected at least 2, and at least 0 and below 1")
        self.temperature = check_temperature("DGVAE.temperature", temperature)
        self.dropout, self.noise = dropout, noise
        self.word_weight, self.information_weight = word_weight, information_weight
        self.anneal_cap, self.anneal_steps = anneal_cap, anneal_steps
        self.word_options = words, words_per_item
        width = self._words(view).shape[1]
        self.clicks = _Net(view.num_items, dim, n_tastes)
        self.words = _Net(width, dim, n_tastes)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._last: ref[Batch] | None = None  # batch whose losses were taken last

    def embed(self, view: GraphView) -> Embeddings:
        """Tastes, encoded without chance when they are looked at."""
        return _Encoded(self, view)

    def embed_in_training(self, view: GraphView, rng: torch.Generator) -> Embeddings:
        """The same; losses on it are a step of the annealing."""
        return _Encoded(self, view, in_training=True)

    def tastes(self, view: GraphView, users: Tensor, rng: torch.Generator | None) -> _Tastes:
        """Encode users [B]; with `rng` as in training."""
        history = torch.zeros(len(users), self.num_items, device=users.device, dtype=self.clicks.table.dtype)
        history[self._known(view).of(users)] = 1
        words = self._words(view).to(history).index_select(0, users)
        chance = _Chance(rng, self.dropout, self.noise)
        return _Tastes(
            self.clicks.encode(history, item_matrix(view), self.temperature, chance),
            self.words.encode(words, None, self.temperature, chance),
        )

    def losses(self, out: Embeddings, batch: Batch, view: GraphView) -> dict[str, Tensor]:
        """`clicks`, `words` (cross entropies), `kl` and `information`."""
        users = torch.unique(batch.users)
        found = self.tastes(view, users, batch.rng)
        # Steps are batches: auxiliary losses embed, and may take these losses, several times in one.
        in_training = isinstance(out, _Encoded) and out.in_training
        if in_training and (self._last is None or self._last() is not batch):
            self.get_buffer("steps").add_(1)
            self._last = ref(batch)
        anneal = min(self.anneal_cap, float(self.get_buffer("steps")) / self.anneal_steps)
        both = [found.of_clicks, found.of_words]
        entropy = [
            -(one.inputs * torch.log_softmax(net.decode(found.mixed, one, self.temperature), dim=1))
            .sum(dim=1)
            .mean()
            for net, one in zip((self.clicks, self.words), both, strict=True)
        ]
        divergence = [
            -0.5 * (1 + one.log_variance - one.log_variance.exp()).sum(dim=(1, 2)).mean() for one in both
        ]
        return {
            "clicks": entropy[0],
            "words": self.word_weight * entropy[1],
            "kl": anneal * (divergence[0] + self.word_weight * divergence[1]),
            "information": self.information_weight * found.information(),
        }

    def for_ranking(self, out: Embeddings) -> Embeddings:
        """Tastes of all users, and items."""
        return Embeddings(out.users, out.items)

    def score(self, out: Embeddings, users: Tensor) -> Tensor:
        """Log of sum_k c_ik exp(z_k . i / t)."""
        dim = self.clicks.table.shape[1]
        tastes = out.users[users].view(len(users), out.users.shape[1] // dim, dim)
        items, log_shares = torch.split(out.items, [dim, out.items.shape[1] - dim], dim=1)
        return _mixture(tastes, items, log_shares, self.temperature)

    def _known(self, view: GraphView) -> Known:
        return view.derive("clicks: known", lambda view: Known(view.edge_index, self.num_users))

    def _words(self, view: GraphView) -> Tensor:
        """TF-IDF of each user's words, rows of length one: [U, W]."""
        named = f"words {self.word_options}"

        def of_users(view: GraphView) -> Tensor:
            clicks = click_matrix(view)
            of_items = view.freeze(named, lambda clean: item_words(clean, *self.word_options))
            count = clicks.multiply(of_items.to(view.edge_index.device, clicks.csr.dtype))
            seen = (count > 0).sum(dim=0)
            weight = torch.log((1 + self.num_users) / (1 + seen)) + 1
            return normalize(count * weight, dim=1)

        return view.derive(f"clicks: {named}", of_users)


class _Chance:
    """Dropout, noise and Gumbel draws; without a generator, none of them."""

    def __init__(self, rng: torch.Generator | None, dropout: float, noise: float) -> None:
        self.rng, self.dropout, self.noise = rng, dropout, noise

    def drop(self, x: Tensor) -> Tensor:
        if self.rng is None:
            return x
        return x * keep(x.shape, 1 - self.dropout, self.rng).to(x.dtype).div_(1 - self.dropout)

    def around(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        if self.rng is None:
            return mean
        draw = torch.randn(mean.shape, generator=self.rng, device=mean.device, dtype=mean.dtype)
        return mean + (0.5 * log_variance).exp() * draw * self.noise

    def gumbel(self, like: Tensor) -> Tensor | float:
        if self.rng is None:
            return 0.0
        draw = torch.rand(like.shape, generator=self.rng, device=like.device, dtype=like.dtype)
        return -torch.log(-torch.log(draw.clamp(1e-10, 1 - 1e-7)))


class _Taste:
    """One net's view of a batch: tastes [B, K, D], their log-variance, inputs [B, n], log c [n, K]."""

    def __init__(self, z: Tensor, log_variance: Tensor, inputs: Tensor, log_shares: Tensor) -> None:
        self.z, self.log_variance, self.inputs, self.log_shares = z, log_variance, inputs, log_shares


class _Net(nn.Module):
    """Items or words, prototypes, and the encoder."""

    def __init__(self, size: int, dim: int, n_tastes: int) -> None:
        super().__init__()
        self.table = nn.Parameter(nn.init.xavier_normal_(torch.empty(size, dim)))
        self.prototypes = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_tastes, dim)))
        self.encoder = nn.Linear(size, 2 * dim)
        nn.init.xavier_normal_(self.encoder.weight)
        nn.init.normal_(self.encoder.bias, std=0.01)

    def log_shares(self, temperature: float, chance: _Chance | None) -> Tensor:
        """Log of c, [n, K]."""
        logits = normalize(self.table, dim=1) @ normalize(self.prototypes, dim=1).T / temperature
        return torch.log_softmax(logits + (chance.gumbel(logits) if chance else 0.0), dim=1)

    def encode(self, x: Tensor, graph: SparseMatrix | None, temperature: float, chance: _Chance) -> _Taste:
        log_shares = self.log_shares(temperature, chance)
        tastes, variances = [], []
        for share in log_shares.exp().T:
            part = normalize(x * share, dim=1)
            if graph is not None:
                across = SparseMatrix(graph.transposed, graph.csr, graph.backend)  # rows times the graph
                part = (propagate(across, propagate(across, part.T.contiguous())).T + part) / 2
            mean, minus = self.encoder(chance.drop(part)).chunk(2, dim=1)
            mean = normalize(mean, dim=1)
            tastes.append(normalize(chance.around(mean, -minus), dim=1))
            variances.append(-minus)
        return _Taste(torch.stack(tastes, dim=1), torch.stack(variances, dim=1), x, log_shares)

    def decode(self, tastes: Tensor, one: _Taste, temperature: float) -> Tensor:
        return _mixture(tastes, normalize(self.table, dim=1), one.log_shares, temperature)


class _Tastes:
    """Both nets' tastes, and what attention makes of them."""

    def __init__(self, of_clicks: _Taste, of_words: _Taste) -> None:
        self.of_clicks, self.of_words = of_clicks, of_words
        self.words_by_clicks = _attend(of_clicks.z, of_words.z)
        self.clicks_by_words = _attend(of_words.z, of_clicks.z)
        self.mixed = self.clicks_by_words + self.words_by_clicks

    def information(self) -> Tensor:
        """Negative Jensen-Shannon bound: equal tastes of both views agree, others do not."""
        scores = self.clicks_by_words @ self.words_by_clicks.transpose(1, 2)  # [B, K, K]
        count = scores.shape[1]
        same = torch.eye(count, dtype=torch.bool, device=scores.device)
        others = softplus(scores).masked_fill(same, 0.0).sum(dim=2) / (count - 1)
        return (others + softplus(-torch.diagonal(scores, dim1=1, dim2=2))).mean()


def _attend(query: Tensor, other: Tensor) -> Tensor:
    """(tanh(Q K') * sigmoid(mean_row D - D)) K, D the L1 distances; [B, K, D]."""
    distance = (query[:, :, None] - other[:, None]).abs().sum(dim=3)
    near = torch.sigmoid(distance.mean(dim=2, keepdim=True) - distance)
    return (torch.tanh(query @ other.transpose(1, 2)) * near) @ other


def _mixture(tastes: Tensor, items: Tensor, log_shares: Tensor, temperature: float) -> Tensor:
    """Log of sum_k c_ik exp(z_k . i / t), stable for any K: [B, I]."""
    total: Tensor | None = None
    for number in range(tastes.shape[1]):
        part = tastes[:, number] @ items.T / temperature + log_shares[:, number]
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return total
