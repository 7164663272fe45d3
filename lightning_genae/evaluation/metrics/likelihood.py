"""How probable held-out data are under the model, if it has a likelihood."""

import math
from types import MappingProxyType

import torch

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities.text import Text
from lightning_genae.data.storage import as_input
from lightning_genae.evaluation import ngram
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value
from lightning_genae.evaluation.models import Generative


class LikelihoodMetric(SampleMetric):
    """`log_likelihood`: mean of log p(x) in nats, a lower bound by importance sampling (arXiv 1509.00519), of random
    held-out images; for text also `bits_per_character`, an upper bound.

    The protocol has the bits per character of n-grams and gzip for the same texts.
    """

    values = MappingProxyType(
        {
            "log_likelihood": Value(
                "log-likelihood",
                ".1f",
                True,
                is_row=False,
                note="log-likelihood of {n_log_likelihood} held-out {items}, at least {log_likelihood:,.1f} nats each "
                "({importance_samples} importance samples)",
            ),
            "bits_per_character": Value(
                "bits per character of held-out text",
                ".3f",
                False,
                in_brief=True,
                is_row=False,
                note="bits per character of these, at most {bits_per_character:.3f}; of the same by character n-grams "
                "{bits_per_character_of[ngram]:.3f}, by gzip {bits_per_character_of[gzip]:.3f}",
            ),
        }
    )
    order = 91

    num_images, num_latents = 250, 32  # held-out images, and latents for each
    seed = 0  # of the latents

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        assert real.images is not None
        chosen = torch.randperm(len(real.images), generator=torch.Generator().manual_seed(0))
        self.heldout = real.images[chosen[: self.num_images]]
        self.num_characters = self.modality.num_characters(self.heldout)
        self.is_measured = False
        if self.num_characters:
            assert dataset is not None and isinstance(self.modality, Text)  # only text has characters
            trained_on = self.modality.joined(dataset.train.images, dataset.places.get("train"))
            self.floors = ngram.floors(trained_on, self.modality.inverse_transform(self.heldout))

    def measure(self, samples: Samples) -> dict[str, float]:
        return {}  # it does not depend on samples

    @torch.no_grad()
    def of_model(self, model: Generative) -> dict[str, float]:
        if not hasattr(model, "log_likelihood"):
            return {}
        self.is_measured = True
        x = as_input(model, self.heldout)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            value = float(model.log_likelihood(x, self.num_latents).mean())
        if not self.num_characters:
            return {"log_likelihood": value}
        bits = -value * len(x) / self.num_characters / math.log(2)
        return {"log_likelihood": value, "bits_per_character": bits}

    def protocol(self) -> dict[str, object]:
        floors: dict[str, object] = {"bits_per_character_of": self.floors} if self.num_characters else {}
        numbers = {"n_log_likelihood": len(self.heldout), "importance_samples": self.num_latents}
        return floors | (numbers if self.is_measured else {})
