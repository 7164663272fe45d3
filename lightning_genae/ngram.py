"""Characters predicted by the ones before them, without any network: what text costs, in bits, at the least effort.

The estimate is Witten and Bell's (1991, IEEE Trans. Information Theory 37(4), their method C), interpolated, as in Chen
and Goodman (1999, Computer Speech & Language 13(4)).
"""

import gzip
import math
from collections import Counter
from collections.abc import Sequence


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
        self.counts, self.totals, self.types = Counter(), Counter(), Counter()

    def fit(self, texts: Sequence[str]) -> "CharacterNGram":
        """Counts the n-grams of texts, anew; returns itself."""
        self.counts = Counter()  # of n-grams
        for text in texts:
            for n in range(1, self.order + 1):
                self.counts.update(text[i : i + n] for i in range(len(text) - n + 1))
        self.totals, self.types = Counter(), Counter()  # of contexts: what followed, and how much of that differs
        for gram, count in self.counts.items():
            self.totals[gram[:-1]] += count
            self.types[gram[:-1]] += 1
        return self

    def probability(self, character: str, context: str = "") -> float:
        """Of a character after a context, of which the last `order` - 1 characters count."""
        probability = 1 / (self.types[""] + 1)
        for n in range(min(len(context), self.order - 1) + 1):
            seen = context[len(context) - n :]
            if seen not in self.totals:
                break
            types = self.types[seen]
            probability = (self.counts.get(seen + character, 0) + types * probability) / (self.totals[seen] + types)
        return probability

    def bits_per_character(self, texts: Sequence[str]) -> float:
        """Mean of -log2 of the probabilities of the characters of texts, which begin without a context."""
        before = self.order - 1
        bits = -math.fsum(
            math.log2(self.probability(text[i], text[max(0, i - before) : i]))
            for text in texts
            for i in range(len(text))
        )
        return bits / max(1, sum(map(len, texts)))


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
