"""Perplexity of sampled text by n-grams of real text, and of real text by n-grams of samples (arXiv 1706.04223)."""

from types import MappingProxyType

from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation.metrics._metric import MAX_IMAGES, SampleMetric, Samples, Value
from lightning_genae.evaluation.ngram import CharacterNGram


class PerplexityMetric(SampleMetric):
    """Perplexities per character under n-grams of five characters, of at most MAX_IMAGES texts per side.

    `perplexity`: of the samples, by the n-grams of held-out text, at least 1; best at the value of real text: higher
    means unlike real text, lower means repetition of frequent phrases. `reverse_perplexity`: of
    held-out text, by the n-grams of the samples, as in Zhao et al. 2018; lower is better; samples that
    lack variety or sense have high values. It depends on the number of samples; its floor is that of training windows,
    which a model can beat if they are few.
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
        assert real.images is not None
        self.texts = self.modality.inverse_transform(real.images[:MAX_IMAGES])
        # fitted to held-out text: with training text, copies of it would be the best samples; so they are no better
        # than other real text
        self.model = CharacterNGram().fit(self.texts)

    def measure(self, samples: Samples) -> dict[str, float]:
        assert samples.images is not None
        texts = self.modality.inverse_transform(samples.images[:MAX_IMAGES])
        return {
            "perplexity": 2 ** self.model.bits_per_character(texts),
            "reverse_perplexity": 2 ** CharacterNGram().fit(texts).bits_per_character(self.texts),
        }
