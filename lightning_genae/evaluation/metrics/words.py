"""Words of sampled text: how many are distinct (distinct-n, Li et al. 2016, arXiv 1510.03055), and how many exist."""

import re
from itertools import pairwise
from types import MappingProxyType

import torch

from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value

WHOLE_WORD = re.compile(r"(?<=[\W\d_])[^\W\d_]+(?=[\W\d_])")  # letters, with something else before and after them


class WordMetric(SampleMetric):
    """Fractions of the whole words of samples: letters only, not at the ends of a window, which may cut them.

    `distinct_1` and `distinct_2`: of distinct words, and distinct pairs of neighbours, in the first 200 samples,
    because the fractions fall with their number; low if samples repeat each other, but highest for noise.
    `known_words`: of words that occur in real text, training or held out. All are 0 without any words.
    """

    values = MappingProxyType(
        {
            "distinct_1": Value("distinct words", ".3f", None),
            "distinct_2": Value("distinct pairs of words", ".3f", None),
            "known_words": Value("known words", ".3f", True),
        }
    )
    order = 21

    modalities = ("text",)
    needs_images = True
    num_distinct = 200

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        assert real.images is not None
        self.of_heldout = [whole_words(text) for text in self.modality.inverse_transform(real.images)]
        trained_on = [] if self.trained_on is None else self.modality.inverse_transform(self.trained_on)
        self.of_train = {word for text in trained_on for word in whole_words(text)}
        self.known = self.of_train.union(*self.of_heldout)

    def measure(self, samples: Samples) -> dict[str, float]:
        assert samples.images is not None
        texts = [whole_words(text) for text in self.modality.inverse_transform(samples.images)]
        words = [word for text in texts for word in text]
        return {
            "distinct_1": _distinct([word for text in texts[: self.num_distinct] for word in text]),
            "distinct_2": _distinct([pair for text in texts[: self.num_distinct] for pair in pairwise(text)]),
            "known_words": sum(word in self.known for word in words) / max(1, len(words)),
        }

    def floor(self, fresh: Samples) -> dict[str, float]:
        """The values of real text; `known_words` is of held-out words that other windows or the training text have.

        Fresh windows may be training text, and every word is known from its own window.
        """
        elsewhere = set(self.of_train)
        once: set[str] = set()
        for text in self.of_heldout:
            elsewhere |= once.intersection(text)
            once.update(text)
        words = [word for text in self.of_heldout for word in text]
        return self.measure(filled_up(fresh, self.real)) | {
            "known_words": sum(word in elsewhere for word in words) / max(1, len(words))
        }


def whole_words(text: str) -> list[str]:
    """The words of a text that neither of its ends can have cut, in lower case."""
    return WHOLE_WORD.findall(text.lower())


def filled_up(fresh: Samples, real: Samples) -> Samples:
    """Fresh images and then held-out ones, for values of a number of images that the fresh ones may not reach.

    The latter are in random order, because neighbours in a text have the same topic.
    """
    assert fresh.images is not None and real.images is not None
    order = torch.randperm(len(real.images), generator=torch.Generator().manual_seed(0))
    return Samples(images=torch.cat([fresh.images, real.images[order]]))


def _distinct(grams: list) -> float:
    return len(set(grams)) / max(1, len(grams))
