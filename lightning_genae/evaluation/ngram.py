"""Characters predicted by the ones before them, without any network: what text costs, in bits, at the least effort.

The estimate is Witten and Bell's (1991, IEEE Trans. Information Theory 37(4), their method C), interpolated, as in Chen
and Goodman (1999, Computer Speech & Language 13(4)), by nltk.
"""

import gzip
import math
from collections import Counter
from collections.abc import Sequence

UNSEEN = "unseen"  # any character that was not in the texts; no name of a single one


class CharacterNGram:
    """Probabilities of a character given the up to `order` - 1 ones before it, in the same text.

    A context that was followed n times, by t different characters, gives one that followed it c times the probability
    (c + t p) / (n + t), where p is that of the context without its first character, and in the end 1 / (size of the
    alphabet + 1): all characters that were never seen count as one more.

    Args:
        order: characters of the longest n-gram, at least 1.
    """

    def __init__(self, order: int = 5):
        assert order >= 1
        self.order = order
        self.fit([])

    def fit(self, texts: Sequence[str]) -> "CharacterNGram":
        """Counts the n-grams of texts, anew; returns itself.

        Raises:
            ImportError: nltk is missing.
        """
        try:
            from nltk.lm import NgramCounter, WittenBellInterpolated
            from nltk.util import everygrams
        except ImportError as error:
            raise ImportError('--data: text needs the package nltk; pip install -e ".[sequences]"') from error
        counts = NgramCounter(everygrams(text, max_len=self.order) for text in texts)
        # nltk stops at the shares of the characters, 0 of one never seen; these counts make it Witten and Bell's step
        share = len(counts.unigrams) / (len(counts.unigrams) + 1) or 1
        for character in [*counts.unigrams, UNSEEN]:
            counts.unigrams[character] += share
        self.model = WittenBellInterpolated(self.order, counter=counts)
        return self

    def probability(self, character: str, context: str = "") -> float:
        """Of a character after a context, of which the last `order` - 1 characters count."""
        known = character if character in self.model.counts.unigrams else UNSEEN
        return self.model.unmasked_score(known, tuple(context))

    def bits_per_character(self, texts: Sequence[str]) -> float:
        """Mean of -log2 of the probabilities of the characters of texts, which begin without a context."""
        before = self.order - 1
        # each n-gram once, because nltk adds up the counts of a context whenever it is asked
        grams = Counter(text[max(0, i - before) : i + 1] for text in texts for i in range(len(text)))
        bits = -math.fsum(num * math.log2(self.probability(gram[-1], gram[:-1])) for gram, num in grams.items())
        return bits / max(1, grams.total())


def floors(train_texts: Sequence[str], heldout_texts: Sequence[str], order: int = 5) -> dict[str, float]:
    """Bits per character of held-out texts by models that learn nothing; a network that needs more is worth nothing.

    Returns:
        `ngram`: of `CharacterNGram`, fitted to the training texts. `gzip`: what the held-out texts add to the size of
        the training texts, packed by gzip, which looks back 32 kB, also to held-out text that came before.
    """
    train, heldout = ("".join(texts).encode() for texts in (train_texts, heldout_texts))
    added = len(gzip.compress(train + heldout)) - len(gzip.compress(train))
    return {
        "ngram": CharacterNGram(order).fit(train_texts).bits_per_character(heldout_texts),
        "gzip": 8 * added / sum(map(len, heldout_texts)),
    }
