"""Text: files in windows of tokens, its metrics against closed forms and nltk, n-grams by hand and against a chain."""

import math
import random
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nltk.translate.bleu_score import corpus_bleu

from datamodules import text
from datamodules.text import UNKNOWN, TextDataModule
from lightning_genae import registry
from lightning_genae.data.modalities.text import Text
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.evaluation import Evaluation
from lightning_genae.evaluation.metrics import Samples
from lightning_genae.evaluation.metrics.likelihood import LikelihoodMetric
from lightning_genae.evaluation.metrics.perplexity import PerplexityMetric
from lightning_genae.evaluation.metrics.self_bleu import SelfBLEUMetric
from lightning_genae.evaluation.metrics.words import WordMetric, filled_up, whole_words
from lightning_genae.evaluation.ngram import CharacterNGram, floors
from lightning_genae.report import table
from tests.data import dataset_of

WORDS = "the model sees a small text and draws from it what no one has read before, über alles; naïve ☃\n"


def prose(num_words, seed=0):
    """Words in an order that means nothing."""
    return " ".join(random.Random(seed).choices(WORDS.split(" "), k=num_words))


def texts_of(data):
    """Those of the training split, in the order of the text."""
    return data.dataset.modality.inverse_transform(data.dataset.pool.images)


def train_texts_of(data):
    """The windows that are trained on, which overlap if the stride is below the window."""
    return data.dataset.modality.inverse_transform(data.dataset.train.images)


def heldout_texts_of(data):
    """The windows that are held out, in the order of the text."""
    return data.dataset.modality.inverse_transform(data.dataset.heldout.images)


def texts_trained_on(data):
    """What is trained on, each character once."""
    return data.dataset.modality.joined(data.dataset.train.images, data.dataset.places.get("train"))


def loaded(root, **options):
    datamodule = TextDataModule(root=None if root is None else str(root), **{"batch_size": 4, **options})
    datamodule.setup()
    return datamodule


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text(prose(2000))
    return path


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_windows_hold_the_text_and_nothing_that_is_held_out(file, tokens):
    whole = file.read_text()
    cut = round(len(whole) * 0.7)
    data = loaded(file, tokens=tokens, vocabulary=90, window=32, heldout=0.3)
    size = data.tokenizer.get_vocab_size()
    assert data.dataset.image_shape == (size, 1, 32) and data.dataset.num_classes == 0
    assert size == (90 if tokens == "bpe" else len(set(whole[:cut])) + 1)
    for split, part, texts in (
        (data.dataset.pool, whole[:cut], texts_of(data)),
        (data.dataset.heldout, whole[cut:], heldout_texts_of(data)),
    ):
        assert set(split.images.unique().tolist()) == {0, 255}
        assert (split.images.sum(1, dtype=torch.int64) == 255).all()
        # all of it, but what does not fill the last window
        assert part.startswith("".join(texts)) and "".join(texts)
        assert len(data.tokenizer.encode(part).ids) - 32 < 32 * len(texts)
        assert data.dataset.modality.inverse_transform(to_float(split.images)) == texts
    num_characters = len("".join(heldout_texts_of(data))) / (32 * len(heldout_texts_of(data)))  # of a token
    assert num_characters > 1.5 if tokens == "bpe" else num_characters == 1


def test_floats_that_are_no_tokens_are_read_by_their_largest_channel(file):
    data = loaded(file)
    images = to_float(data.dataset.heldout.images[:5])
    assert (
        data.dataset.modality.inverse_transform(images * 0.3 - 0.1 + 0.05 * torch.rand(images.shape))
        == heldout_texts_of(data)[:5]
    )


def test_strides_and_subsets(file):
    whole = file.read_text()
    half, none = loaded(file, window=32, stride=16), loaded(file, window=32)
    assert texts_of(half)[::2] == texts_of(none)
    assert texts_of(half)[1] == whole[16:48]
    assert heldout_texts_of(half) == heldout_texts_of(none)  # which never overlap
    few, other = loaded(file, num_train=20), loaded(file, num_train=20, split_seed=1)
    assert len(train_texts_of(few)) == 20 and train_texts_of(few) != train_texts_of(other)
    assert set(train_texts_of(few)) <= set(texts_of(few))
    assert few.dataset.image_shape == loaded(file).dataset.image_shape


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_the_tokens_know_training_text_alone(tmp_path, tokens):
    (tmp_path / "a.txt").write_text("abcab " * 200 + "xxyz" * 5 + " x y z" * 46 + "zzzz")
    data = loaded(tmp_path / "a.txt", tokens=tokens, window=8, heldout=0.1)
    assert "x" in "".join(texts_of(data)) and data.tokenizer.token_to_id("x") is not None
    data = loaded(tmp_path / "a.txt", tokens=tokens, window=8, heldout=0.2)
    assert not set("xyz") & set("".join(data.tokenizer.get_vocab()))
    assert data.tokenizer.token_to_id(UNKNOWN) == 0
    assert heldout_texts_of(data)[-1] == f" {UNKNOWN}" * 4
    # the unknown sign among the text, which is no other one than the token
    (tmp_path / "a.txt").write_text((f"ab{UNKNOWN}cab" + " cab" * 20) * 100)
    data = loaded(tmp_path / "a.txt", tokens=tokens, window=8)
    assert sorted(data.tokenizer.get_vocab().values()) == list(range(data.dataset.image_shape[0]))
    assert "".join(texts_of(data)).startswith(f"ab{UNKNOWN}cab cab")


def test_rare_characters_are_unknown(tmp_path):
    (tmp_path / "a.txt").write_text("aaaaaaaabbbbbbccccd " * 300)
    data = loaded(tmp_path / "a.txt", vocabulary=4)
    assert data.dataset.image_shape[0] == 4
    assert texts_of(data)[0][:20] == f"aaaaaaaabbbbbbcccc{UNKNOWN * 2}"
    with pytest.raises(ValueError, match=r"--data.vocabulary: .*; 3 tokens leave 30% of what is trained on unknown"):
        loaded(tmp_path / "a.txt", vocabulary=3)


def test_a_folder_joins_the_ends_of_its_files(tmp_path):
    root = tmp_path / "books"
    (root / "b" / ".git").mkdir(parents=True)
    (root / "b" / "run").mkdir()
    for name, content in {
        "c": "C" * 100,  # all are shorter than a window
        "A.TXT": "a" * 100,
        "b/b.md": "b" * 100,
        "b/empty.txt": " \n",
        "b/.git/HEAD": "hidden",
        "b/code.py": "no text",
        "b/run/results.json": "{}",
        "b/run/samples.txt": "what a model made",
    }.items():
        (root / name).write_text(content)
    options = {"window": 10, "batch_size": 2}
    data = loaded(root, heldout=0.5, **options)
    assert "".join(texts_of(data)) == "\n\n".join(["a" * 50, "b" * 50, "C" * 50])[:150]
    assert "".join(heldout_texts_of(data)) == "\n\n".join(["a" * 50, "b" * 50, "C" * 50])[:150]
    assert "".join(texts_of(loaded(root, heldout=0.5, lowercase=True, **options)))[-9:] == "c" * 9
    assert loaded(root, **options).dataset.fingerprint == loaded(root, **options).dataset.fingerprint


def test_signs_of_the_system_are_left_out(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + b"a line\r\n" * 200)
    assert texts_of(loaded(tmp_path / "a.txt"))[0] == ("a line\n" * 10)[:64]


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_the_default_text_holds_out_what_it_does_not_train_on(tokens):
    data = loaded(None, tokens=tokens)
    again = loaded(None, tokens=tokens)
    assert (
        data.dataset.train.fingerprint == again.dataset.train.fingerprint
        and data.dataset.heldout.fingerprint == again.dataset.heldout.fingerprint
    )
    assert len(data.dataset.train.images) > 2000 and len(data.dataset.heldout.images) > 500
    train = "".join(train_texts_of(data))
    assert "statement" in train and UNKNOWN not in train
    copies = sum(window in train for window in heldout_texts_of(data)[::4])
    assert copies < 0.02 * len(heldout_texts_of(data)) / 4  # usual phrases, but no paragraph


def test_errors(tmp_path, monkeypatch):
    def error(content=None, **options):
        if content is not None:
            (tmp_path / "x.txt").write_bytes(content)
        with pytest.raises((ValueError, OSError, ImportError)) as info:
            loaded(**{"root": tmp_path / "x.txt", **options})
        assert "\n" not in str(info.value)
        return str(info.value).replace(f"{tmp_path}/", "")

    assert "--data.root: expected a file or a folder of text, got '" in error()
    assert error(b"") == error(b" \n") == "--data.root: expected text, but 'x.txt' is empty"
    assert error(b"a" * 17 + b"\xff") == (
        "--data.root: expected UTF-8 text; got 'x.txt' with the byte 0xff at 17; if it is Latin-1, "
        "`iconv -f latin1 -t utf-8` converts it"
    )
    assert "with the byte 0x00 at 6" in error("größe"[:4].encode() + b"\0" + b"more")
    assert "expected text for at least 2 windows of 64 tokens to train on and 2 to hold out; got 5 and 1" in error(
        b"ab" * 200
    )
    text_of_10_000 = "".join(chr(0x4E00 + i % 500) for i in range(10_000)).encode()
    assert "--data.vocabulary: expected a token for most of the text; 100 tokens leave 80% of what" in error(
        text_of_10_000, vocabulary=100
    )
    assert "--data.vocabulary: expected at least 3 tokens" in error(vocabulary=2)
    assert "--data.window: expected at least 2 tokens, got 1" in error(window=1)
    assert "--data.root: expected a file or a folder of text, got an empty name" in error(root=" ")
    assert "--data.num_train: expected at most" in error(num_train=1_000_000, vocabulary=600)
    assert "smaller --data.batch_size" in error(batch_size=1_000_000, vocabulary=600)
    (tmp_path / "folder").mkdir()
    assert "expected files of text (.txt, .md, or without suffix) in" in error(root=tmp_path / "folder")
    (tmp_path / "folder" / "a").touch()
    assert "--data.root: expected text, but all files in 'folder' are empty" in error(root=tmp_path / "folder")
    monkeypatch.setattr(text, "MAX_BYTES", 1e6)
    assert (
        "--data.vocabulary: expected windows of at most 0.001 GB; 156 of 501 tokens at 64 places take 0.005 GB"
        in error(text_of_10_000, vocabulary=600)
    )
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert error() == '--data: text needs the package tokenizers; pip install -e ".[sequences]"'


ALPHABET = "abcdefghijklmnopqrstuvwxyz .,"


def one_hot(texts):
    """Texts of one length as they are stored, (N, V, 1, L)."""
    tokens = torch.tensor([[ALPHABET.index(character) for character in line] for line in texts])
    images = torch.zeros(len(texts), len(ALPHABET), 1, tokens.shape[1], dtype=torch.uint8)
    return images.scatter_(1, tokens[:, None, None], 255)


def told(metric, heldout, trained_on=None):
    """A metric that knows held-out texts, and those that were trained on, if there are any."""
    heldout = one_hot(heldout)
    modality = Text(decode=lambda tokens: ["".join(ALPHABET[i] for i in row) for row in tokens])
    train = heldout[:0] if trained_on is None else one_hot(trained_on)
    return metric(Samples(images=heldout), dataset_of(train, heldout, modality))


def measured(metric, heldout, samples, trained_on=None):
    return told(metric, heldout, trained_on).measure(Samples(images=one_hot(samples)))


def windows(num, seed, length=40):
    """Windows of words from a list, with a frequent one first, and no comma."""
    generator = random.Random(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "some", "dogs", "there.", "what", "luck"]
    line = " ".join(generator.choices(words, weights=range(26, 0, -2), k=num * length // 3))
    return [line[i * length : (i + 1) * length] for i in range(num)]


def test_whole_words():
    assert whole_words("ut one_Two, thrEE4 f") == ["one", "two", "three"]
    assert whole_words(" one 2 ") == ["one"]
    assert whole_words("nothing") == whole_words("") == whole_words("two words") == whole_words("1 2 3") == []
    assert whole_words("(größe)") == ["größe"]


def test_distinct_and_known_words_by_hand():
    heldout, trained_on = [" cat sat on ", " cat ran by "], [" dog ate it "]
    values = measured(WordMetric, heldout, [" cat dog cat ", "t xx cat dog "], trained_on)
    # cat dog cat xx cat dog, of which three differ; cat-dog dog-cat xx-cat cat-dog
    assert values == pytest.approx({"distinct_1": 3 / 6, "distinct_2": 3 / 4, "known_words": 5 / 6})
    assert measured(WordMetric, heldout, [" cat dog cat ", "t xx cat dog "])["known_words"] == 3 / 6
    assert set(measured(WordMetric, heldout, ["............"]).values()) == {0}
    metric = told(WordMetric, heldout, [" dog ate by "])
    # cat is in both held-out texts, by in the training text; sat, on and ran are nowhere else
    floor = metric.floor(Samples(images=one_hot(trained_on)))
    # dog ate it cat sat on cat ran by, of which eight differ
    assert floor == pytest.approx({"distinct_1": 8 / 9, "distinct_2": 1, "known_words": 3 / 6})


def test_distinct_words_are_of_equally_many_samples():
    heldout, many = windows(300, 0), windows(400, 1)
    assert measured(WordMetric, heldout, many)["distinct_2"] == measured(WordMetric, heldout, many[:200])["distinct_2"]
    assert measured(WordMetric, heldout, many[:100])["distinct_2"] > measured(WordMetric, heldout, many)["distinct_2"]


def test_self_bleu_against_nltk():
    samples = windows(30, 2)
    words = [whole_words(line) for line in samples]
    others = [words[:i] + words[i + 1 :] for i in range(len(words))]
    expected = corpus_bleu(others, words, weights=[1 / 3] * 3)
    assert 0.2 < expected < 0.95
    assert measured(SelfBLEUMetric, samples, samples)["self_bleu"] == pytest.approx(expected, rel=1e-5)


def test_floors_of_few_training_windows_are_of_as_many_as_samples():
    few = one_hot(windows(10, 1))
    metric = told(SelfBLEUMetric, windows(300, 0), windows(10, 1))
    (floor,) = metric.floor(Samples(images=few)).values()
    (enough,) = metric.measure(Samples(images=one_hot(windows(100, 2)))).values()
    (too_few,) = metric.measure(Samples(images=few)).values()
    assert too_few < 0.7 * enough
    assert floor == pytest.approx(enough, rel=0.1)


def test_self_bleu_at_its_ends():
    samples = windows(150, 3)
    assert measured(SelfBLEUMetric, samples, samples[:1] * 50)["self_bleu"] == pytest.approx(1)
    assert (
        measured(SelfBLEUMetric, samples, samples)["self_bleu"]
        == measured(SelfBLEUMetric, samples, samples[:100])["self_bleu"]
    )
    generator = random.Random(0)
    noise = ["".join(generator.choices(ALPHABET, k=40)) for _ in range(50)]
    assert measured(SelfBLEUMetric, samples, noise)["self_bleu"] < 0.01


def test_perplexity_of_noise_is_its_alphabet():
    generator = random.Random(0)
    noise = [["".join(generator.choices("abcdefgh", k=50)) for _ in range(800)] for _ in range(2)]
    values = measured(PerplexityMetric, *noise)
    # somewhat more, for n-grams that were seen too seldom
    assert 8 <= values["perplexity"] < 11
    assert values["reverse_perplexity"] == pytest.approx(values["perplexity"], rel=0.05)


def test_perplexity_tells_copies_collapse_and_nonsense():
    heldout, train, fresh = (windows(300, seed) for seed in range(3))
    real = measured(PerplexityMetric, heldout, fresh)
    copies = measured(PerplexityMetric, heldout, train, train)
    assert copies["perplexity"] == pytest.approx(real["perplexity"], rel=0.05)  # no reward for them
    assert copies == measured(PerplexityMetric, heldout, train)
    collapsed = measured(PerplexityMetric, heldout, ["the the the the the the the the the the "] * 300)
    assert collapsed["perplexity"] < real["perplexity"]
    assert collapsed["reverse_perplexity"] > 3 * real["reverse_perplexity"]
    generator = random.Random(0)
    mixed = ["".join(generator.sample(line, len(line))) for line in fresh]
    nonsense = measured(PerplexityMetric, heldout, mixed)
    assert nonsense["perplexity"] > 2 * real["perplexity"]
    assert nonsense["reverse_perplexity"] > 2 * real["reverse_perplexity"]


def test_few_words_by_hand():
    """One word is one of one; without any, shares are 0, and of a floor as well."""
    heldout = [" cat sat on ", " cat ran by "]
    assert measured(WordMetric, heldout, [" cat "]) == {"distinct_1": 1, "distinct_2": 0, "known_words": 1}
    assert measured(WordMetric, heldout, [" dog "]) == {"distinct_1": 1, "distinct_2": 0, "known_words": 0}
    metric = told(WordMetric, ["catcatcatcat"], heldout)
    assert metric.floor(Samples(images=one_hot(heldout)))["known_words"] == 0
    metric = told(WordMetric, ["a cat ran on"], heldout)
    assert metric.floor(Samples(images=one_hot(heldout)))["known_words"] == 1  # cat and ran, of the training text


def test_floors_begin_with_the_fresh_texts(monkeypatch):
    """Held-out ones stand in for those that are missing, and only for them."""
    monkeypatch.setattr(SelfBLEUMetric, "num_compared", 4)
    monkeypatch.setattr(WordMetric, "num_distinct", 2)
    heldout, fresh = windows(20, 0), [" the cat sat on the mat ".ljust(40)] * 3
    metric = told(SelfBLEUMetric, heldout)
    beside = heldout[int(torch.randperm(20, generator=torch.Generator().manual_seed(0))[0])]
    expected = measured(SelfBLEUMetric, heldout, [*fresh, beside])["self_bleu"]
    assert metric.floor(Samples(images=one_hot(fresh)))["self_bleu"] == pytest.approx(expected)
    assert metric.floor(Samples(images=one_hot([*fresh, fresh[0]])))["self_bleu"] == pytest.approx(1)
    metric = told(WordMetric, heldout)
    assert metric.floor(Samples(images=one_hot(fresh)))["distinct_1"] == 5 / 12  # of twice six words


def test_words_of_three_held_out_texts_are_known_from_any_other_one():
    texts = ["a cat sat b", "a dog sat b", "a cat ran b"]
    metric = told(WordMetric, texts)
    # cat is in the first and the last, sat in the first and the second; dog and ran once
    assert metric.floor(Samples(images=one_hot(texts[:1])))["known_words"] == 4 / 6


def test_what_fills_a_floor_up_is_drawn_beside_the_runs_random_numbers():
    fresh, real = (Samples(images=torch.arange(start, start + 9.0)) for start in (100, 0))
    torch.manual_seed(3)
    filled = filled_up(fresh, real).images.tolist()
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert drawn == torch.rand(1)
    assert filled[:9] == list(range(100, 109)) and sorted(filled[9:]) == list(range(9)) != filled[9:]
    torch.manual_seed(4)
    assert filled_up(fresh, real).images.tolist() == filled


def test_perplexities_are_two_to_the_bits_of_ngrams():
    heldout, samples = windows(30, 0), windows(20, 1)
    values = measured(PerplexityMetric, heldout, samples)
    bits = [
        CharacterNGram().fit(one).bits_per_character(other) for one, other in ((heldout, samples), (samples, heldout))
    ]
    assert values == {"perplexity": pytest.approx(2 ** bits[0]), "reverse_perplexity": pytest.approx(2 ** bits[1])}


@pytest.mark.parametrize("order", [1, 2, 5])
def test_probabilities_sum_to_one(order):
    model = CharacterNGram(order).fit([prose(100)])
    letters = sorted(set(prose(100)))
    for context in ("", "t", "the ", "what no", "zq", "th\0e"):
        probabilities = [model.probability(letter, context) for letter in [*letters, "\0"]]
        assert min(probabilities) > 0
        assert math.fsum(probabilities) == pytest.approx(1)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_ngrams_by_the_formula_of_the_paper(order):
    texts, other = [prose(60), prose(50, 1)], prose(40, 2) + "zz"
    alphabet = set("".join(texts))

    def expected(character, context):
        """(c + t p) / (n + t), by searching the texts; what follows a context may overlap it."""
        followed = [
            found[1] for text in texts for found in re.finditer(f"(?={re.escape(context)}(.))", text, re.DOTALL)
        ]
        shorter = expected(character, context[1:]) if context else 1 / (len(alphabet) + 1)
        num, types = len(followed), len(set(followed))
        return (followed.count(character) + types * shorter) / (num + types) if num else shorter

    ours, bits = CharacterNGram(order).fit(texts), 0
    for i in range(len(other)):
        probability = expected(other[i], other[max(0, i - order + 1) : i])
        assert ours.probability(other[i], other[:i]) == pytest.approx(probability, rel=1e-12)
        bits -= math.log2(probability)
    assert ours.bits_per_character([other]) == pytest.approx(bits / len(other), rel=1e-12)


def chain(length, seed):
    """Text of a Markov chain of three letters: the next one by 0.7, the one after it by 0.1, else the same."""
    generator, letters = random.Random(seed), ["a"]
    for step in generator.choices([1, 0, 2], weights=[0.7, 0.2, 0.1], k=length - 1):
        letters.append("abc"[("abc".index(letters[-1]) + step) % 3])
    return "".join(letters)


def test_ngrams_approach_the_entropy_rate():
    rate = -sum(p * math.log2(p) for p in (0.7, 0.2, 0.1))
    heldout = [chain(20_000, 1)]
    bits = {num: CharacterNGram(2).fit([chain(num, 0)]).bits_per_character(heldout) for num in (30, 300, 30_000)}
    assert bits[30] > bits[300] > bits[30_000]
    assert bits[30_000] == pytest.approx(rate, abs=0.02)
    # without a context only the letters are left, which are equally frequent
    assert CharacterNGram(1).fit([chain(30_000, 0)]).bits_per_character(heldout) == pytest.approx(
        math.log2(3), abs=0.01
    )


def test_ngrams_do_not_cross_texts():
    model = CharacterNGram(3).fit(["ab", "ca"])
    # nothing followed b, as c would if the texts were one
    assert model.probability("c", "b") == model.probability("c")
    assert model.probability("b", "a") == pytest.approx((1 + model.probability("b")) / 2)
    assert CharacterNGram(3).fit([]).bits_per_character(["abc"]) == 0  # no letter but the unknown one
    assert model.bits_per_character([]) == 0


def test_floors():
    generator = random.Random(0)
    train, heldout = (["".join(generator.choices("abcd", k=64)) for _ in range(200)] for _ in range(2))
    noise = floors(train, heldout)
    assert 2 <= noise["ngram"] < 2.3 and 2 <= noise["gzip"] < 2.5
    known = floors(train, train[:100])
    assert known["gzip"] < 0.2  # found again, within 32 kB
    assert known["ngram"] < noise["ngram"]
    english = floors(windows(500, 0), windows(100, 1))
    assert english["ngram"] < english["gzip"] < 2
    # bits are of characters, not of bytes
    assert floors(["ü" * 100], ["".join(generator.choices("äöüß", k=2000))])["gzip"] > 2


class Known:
    """Knows of each window how many characters it has, and gives each an eighth; keeps what it was asked."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, data):
        self.data = data

    def log_likelihood(self, x, num_latents):
        self.asked = self.data.dataset.modality.inverse_transform(x)
        return torch.tensor([-3 * math.log(2) * len(one) for one in self.asked])


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_bits_per_character_and_its_floors_are_of_the_same_windows(tmp_path, tokens, monkeypatch):
    """The held-out text is easy at its beginning and hard at its end: windows are of all of it."""
    (tmp_path / "a.txt").write_text(prose(800) + " the" * 300 + prose(250, 1))
    data = loaded(tmp_path / "a.txt", tokens=tokens, vocabulary=90, window=16, stride=8, heldout=0.35)
    monkeypatch.setattr(LikelihoodMetric, "num_images", 20)
    names, known = registry.names, ["frechet", "likelihood", "reconstruction"]
    monkeypatch.setattr(registry, "names", lambda name: known if name.endswith("metrics") else names(name))
    evaluation, model = (
        Evaluation(replace(data.dataset, cache_dir=str(tmp_path)), "moments", num_samples=20),
        Known(data),
    )
    metric = evaluation.metric(LikelihoodMetric)
    values = metric.of_model(model)
    assert values["bits_per_character"] == pytest.approx(3, rel=1e-5)
    assert len(set(model.asked) & set(heldout_texts_of(data))) >= 8 and len(model.asked) == 20
    easy, of_all = (np.mean(["the the" in one for one in texts]) for texts in (model.asked, heldout_texts_of(data)))
    assert easy == pytest.approx(of_all, abs=0.2)
    of = evaluation.protocol["bits_per_character_of"]
    assert of["ngram"] == CharacterNGram().fit(texts_trained_on(data)).bits_per_character(model.asked)
    assert of["ngram"] != CharacterNGram().fit(train_texts_of(data)).bits_per_character(model.asked)  # windows overlap
    assert of["ngram"] != pytest.approx(
        CharacterNGram().fit(texts_trained_on(data)).bits_per_character(heldout_texts_of(data)[:20])
    )
    lines = table(values, evaluation.protocol | metric.protocol() | {"generator": "raw"})
    assert any(f"at most 3.000; of the same by character n-grams {of['ngram']:.3f}" in line for line in lines)


def test_the_likelihoods_mean_is_weighted_by_characters():
    """Two windows of 1 and 3 characters that need 8 and 4 bits: 3 bits a character, not the mean of 8 and 4 / 3."""
    metric = told(LikelihoodMetric, ["a"] * 2, ["a"])
    metric.num_characters = 4
    bits = torch.tensor([8.0, 4.0])
    model = SimpleNamespace(
        device="cpu", dtype=torch.float32, log_likelihood=lambda x, num_latents: -bits * math.log(2)
    )
    assert metric.of_model(model)["bits_per_character"] == pytest.approx(3)


def test_windows_that_overlap_count_each_character_once(file):
    """Of the joined windows, n-grams know what they know of the text as it is."""
    data = loaded(file, window=32, stride=16)
    (whole,) = texts_trained_on(data)
    assert file.read_text().startswith(whole) and len(whole) < 0.8 * 32 * len(train_texts_of(data))
    few = loaded(file, window=32, stride=16, num_train=100)
    assert len("".join(texts_trained_on(few))) < 32 * 100
    assert all(piece in file.read_text() for piece in texts_trained_on(few))
    assert all(any(window in piece for piece in texts_trained_on(few)) for window in train_texts_of(few))
    apart = loaded(file, window=32)
    assert texts_trained_on(apart) == train_texts_of(apart)


def test_an_ngram_by_hand():
    """Of "aab": a has 2 of 3, b 1 of 3; after a comes a once and b once, after all else nothing is known.

    p(a) = (2 + 2 / 3) / (3 + 2), p(b) = (1 + 2 / 3) / 5, p(other) = (2 / 3) / 5; p(b | a) = (1 + 2 p(b)) / 4.
    """
    model = CharacterNGram(2).fit(["aab"])
    assert model.probability("a") == pytest.approx(8 / 15)
    assert model.probability("b") == pytest.approx(1 / 3)
    assert model.probability("z") == pytest.approx(2 / 15)
    assert model.probability("b", "a") == pytest.approx((1 + 2 / 3) / 4)
    assert model.probability("b", "b") == pytest.approx(1 / 3)
    assert model.bits_per_character(["ab"]) == pytest.approx(-(math.log2(8 / 15) + math.log2(5 / 12)) / 2)
    assert model.bits_per_character(["a"]) == pytest.approx(-math.log2(8 / 15))
