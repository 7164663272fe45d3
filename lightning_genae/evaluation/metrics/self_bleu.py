"""Self-BLEU: the similarity of samples of text to each other (Texygen, Zhu et al. 2018, arXiv 1802.01886)."""

from types import MappingProxyType

from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value
from lightning_genae.evaluation.metrics.words import filled_up, whole_words


class SelfBLEUMetric(SampleMetric):
    """`self_bleu`: BLEU of each of the first 100 samples against the other ones, by torchmetrics, from 0 to 1.

    It uses whole words, one to three in a row, counted over all samples together, because a window has few of them;
    Texygen takes two to five in a row, and the mean over the samples. Best at the value of real text: higher means
    that samples repeat each other, and noise has 0.
    """

    values = MappingProxyType({"self_bleu": Value("self-BLEU", ".3f", None)})
    order = 22

    modalities = ("text",)
    needs_images = True
    max_words = 3  # in a row
    num_compared = 100  # the value grows with their number, and its time with the square

    def measure(self, samples: Samples) -> dict[str, float]:
        from torchmetrics.functional.text import bleu_score  # slow, and not needed before the first look

        assert samples.images is not None
        texts = [
            " ".join(whole_words(text)) for text in self.modality.inverse_transform(samples.images[: self.num_compared])
        ]
        others = [texts[:i] + texts[i + 1 :] for i in range(len(texts))]
        return {"self_bleu": float(bleu_score(texts, others, n_gram=self.max_words))}

    def floor(self, fresh: Samples) -> dict[str, float]:
        return self.measure(filled_up(fresh, self.real))
