"""Perplexity of sampled text by n-grams of real text, and of real text by n-grams of samples (arXiv 1706.04223)."""

from types import MappingProxyType

from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation.metrics._metric import MAX_IMAGES, SampleMetric, Samples, Value
from lightning_genae.evaluation.ngram import CharacterNGram


class PerplexityMetric(SampleMetric):
    """Perplexities per character under n-grams of five characters, of at most MAX_IMAGES texts a side.

    `perplexity`: of the samples, by the n-grams of held-out text: from 1 on, and right where that of real text is;
    above they are no such text, below they say the most usual things again and again. `reverse_perplexity`: of
    held-out text, by the n-grams of the samples, as in Zhao et al. 2018; lower is better, and samples that lack
    variety, or sense, are bad. It depends on the number of samples; its floor is that of training windows as they are,
    which a model can beat where they are few.
    """

    values = MappingProxyType(
        {
            "perplexity": Value(
                "perplexity a character, by n-grams",
                ".2f",
                None,
                is_ratio=True,
                in_brief=True,
                note="The Frechet distance of texts knows letters, not words: rank them by perplexity, words and bits",
            ),
            "reverse_perplexity": Value(
                "perplexity of held-out text, by those of samples", ".2f", False, is_ratio=True
            ),
        }
    )
    order = 20

    modalities = ("text",)
    needs_images = True

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        self.texts = self.modality.inverse_transform(real.images[:MAX_IMAGES])
        # of held-out text, not of what was trained on, by which copies of that would be the best samples; so they are
        # no better than other real text
        self.model = CharacterNGram().fit(self.texts)

    def measure(self, samples: Samples) -> dict[str, float]:
        texts = self.modality.inverse_transform(samples.images[:MAX_IMAGES])
        return {
            "perplexity": 2 ** self.model.bits_per_character(texts),
            "reverse_perplexity": 2 ** CharacterNGram().fit(texts).bits_per_character(self.texts),
        }
