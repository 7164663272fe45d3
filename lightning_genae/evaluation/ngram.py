"""Prediction of characters from the previous ones by n-grams: a baseline in bits for models of text.

The estimate is Witten and Bell's (1991, IEEE Trans. Information Theory 37(4), their method C), interpolated, as in Chen
and Goodman (1999, Computer Speech & Language 13(4)), by nltk.
"""

import gzip
import math
from collections import Counter
from collections.abc import Sequence

UNSEEN = "unseen"  # any character that was not in the texts; longer than a character, so that it equals none


class CharacterNGram:
    """Probabilities of a character given up to `order` - 1 previous characters of the same text.

    After a context that was followed n times, by t different characters, a character that followed it c times has the
    probability (c + t p) / (n + t), where p is its probability after the context without its first character. The
    recursion ends at 1 / (size of the alphabet + 1): all unseen characters together count as one more.

    Args:
        order: characters of the longest n-gram, at least 1.
    """

    def __init__(self, order: int = 5):
        assert order >= 1
        self.order = order
        self.fit([])

    def fit(self, texts: Sequence[str]) -> "CharacterNGram":
        """Counts the n-grams of texts, replacing earlier counts; returns itself.

        Raises:
            ImportError: nltk is missing.
        """
        try:
            from nltk.lm import NgramCounter, WittenBellInterpolated
            from nltk.util import everygrams
        except ImportError as error:
            raise ImportError('--data: text needs the package nltk; pip install -e ".[sequences]"') from error
        counts = NgramCounter(everygrams(text, max_len=self.order) for text in texts)
        # nltk stops at the relative frequencies of the characters, 0 if unseen; these counts add the last step
        smoothing = len(counts.unigrams) / (len(counts.unigrams) + 1) or 1
        for character in [*counts.unigrams, UNSEEN]:
            counts.unigrams[character] += smoothing
        self.model = WittenBellInterpolated(self.order, counter=counts)
        return self

    def probability(self, character: str, context: str = "") -> float:
        """The probability of a character after a context, of which only the last `order` - 1 characters count."""
        known = character if character in self.model.counts.unigrams else UNSEEN
        return self.model.unmasked_score(known, tuple(context))

    def bits_per_character(self, texts: Sequence[str]) -> float:
        """Mean of -log2 of the probabilities of the characters of texts, which begin without a context."""
        before = self.order - 1
        # each n-gram once, because nltk sums the counts of a context at every call
        grams = Counter(text[max(0, i - before) : i + 1] for text in texts for i in range(len(text)))
        bits = -math.fsum(num * math.log2(self.probability(gram[-1], gram[:-1])) for gram, num in grams.items())
        return bits / max(1, grams.total())


def floors(train_texts: Sequence[str], heldout_texts: Sequence[str], order: int = 5) -> dict[str, float]:
    """Bits per character of held-out texts by simple baselines; a useful network needs fewer.

    Returns:
        `ngram`: of `CharacterNGram`, fitted to the training texts. `gzip`: of the bytes that the held-out texts add to
        the training texts compressed by gzip, whose window of 32 kB includes earlier held-out text.
    """
    train, heldout = ("".join(texts).encode() for texts in (train_texts, heldout_texts))
    added = len(gzip.compress(train + heldout)) - len(gzip.compress(train))
    return {
        "ngram": CharacterNGram(order).fit(train_texts).bits_per_character(heldout_texts),
        "gzip": 8 * added / sum(map(len, heldout_texts)),
    }
