"""Text of your own, a file or a folder, or Python's manual, in windows of characters or of parts of words."""

import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse.typing import OpenUnitInterval, PositiveInt
from torch import Tensor

from datamodules._files import find
from datamodules._sequences import SequenceDataModule
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.text import Text

UNKNOWN = "\ufffd"  # stands for characters without a token
MAX_UNKNOWN = 0.1  # most unknown tokens, as a fraction of the training text
MAX_BYTES = 2e9  # of the stored windows
MIN_WINDOWS = 2  # in either split
# BPE merges only within one of these: a word or signs, with the space before, or spaces
PIECES = r" ?\w+| ?[^\w\s]+|\s+"


class TextDataModule(SequenceDataModule):
    """Windows of a text, as sequences (V, 1, L) with one channel for each of V tokens.

    The last part of every file is held out; the parts that are trained on are joined into one text by empty lines, and
    so are those held out, so that files may be shorter than a window. The tokens are learnt from the whole
    training part, whatever num_train is, so that subsets of all sizes have the same channels. Held-out text is unused.
    Token 0 stands for all characters without a token.

    Args:
        root: a file, or a folder with files (.txt, .md or without suffix, in subfolders too), of UTF-8 text. null: what
            Python's manual says of the language, English of some 370,000 characters, which comes with Python.
        tokens: characters, or bpe: parts of words that are frequent, by byte pair encoding (Sennrich et al. 2016,
            arXiv 1508.07909), of which a window holds more text.
        vocabulary: largest number of different tokens, including the unknown one; the most frequent ones are used.
        window: length L of a sequence, in tokens.
        stride: tokens from one training window to the next. null: the window, without overlap. Held-out
            windows never overlap.
        heldout: fraction of each file, at its end, that is held out from training, in (0, 1).
        lowercase: whether to convert the text to lower case first.

    Attributes:
        tokenizer: of the library `tokenizers`; after `setup`.
    """

    modality = Text()

    def __init__(
        self,
        root: str | None = None,
        tokens: Literal["characters", "bpe"] = "characters",
        vocabulary: PositiveInt = 256,
        window: PositiveInt = 64,
        stride: PositiveInt | None = None,
        heldout: OpenUnitInterval = 0.2,
        lowercase: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if root is not None and not root.strip():
            raise ValueError("--data.root: expected a file or a folder of text, got an empty name")
        if window < 2:
            raise ValueError(f"--data.window: expected at least 2 tokens, got {window}")
        if vocabulary < 3:
            raise ValueError(
                f"--data.vocabulary: expected at least 3 tokens, one of them the unknown; got {vocabulary}"
            )
        self.root = root
        self.tokens = tokens
        self.vocabulary = vocabulary
        self.window = window
        self.stride = stride or window
        self.heldout_fraction = heldout
        self.lowercase = lowercase

    def load(self) -> tuple[Images, Images, int]:
        texts = [_manual()] if self.root is None else _read_all(Path(self.root))
        if self.lowercase:
            texts = [text.lower() for text in texts]
        cuts = [round(len(text) * (1 - self.heldout_fraction)) for text in texts]
        train_text = "\n\n".join(text[:cut] for text, cut in zip(texts, cuts))
        heldout_text = "\n\n".join(text[cut:] for text, cut in zip(texts, cuts))
        self.tokenizer = _tokenizer(self.tokens, train_text, self.vocabulary)
        self.modality = Text(decode=partial(self.tokenizer.decode_batch, skip_special_tokens=False))
        train, heldout = self._windows(train_text, self.stride), self._windows(heldout_text, self.window)
        self._check(train, heldout)
        if self.stride < self.window:
            self.places = {
                "pool": self._places(len(train), self.stride),
                "heldout": self._places(len(heldout), self.window),
            }
        return self._one_hot(train), self._one_hot(heldout), 0

    def _windows(self, text: str, stride: int) -> Tensor:
        """Tokens (N, L) of the windows of a text."""
        tokens = torch.tensor(self.tokenizer.encode(text).ids, dtype=torch.long)
        return tokens.unfold(0, self.window, stride) if len(tokens) >= self.window else tokens.new_empty(0, self.window)

    def _places(self, num: int, stride: int) -> Tensor:
        """Where the windows of a text are cut from, (num, 3); see `Dataset`."""
        starts = torch.arange(num) * stride
        return torch.stack([torch.zeros_like(starts), starts, starts + self.window], 1)

    def _one_hot(self, tokens: Tensor) -> Images:
        images = torch.zeros(len(tokens), self.tokenizer.get_vocab_size(), 1, self.window, dtype=torch.uint8)
        return Images(images.scatter_(1, tokens[:, None, None], 255), torch.zeros(len(tokens), dtype=torch.long))

    def _check(self, train: Tensor, heldout: Tensor) -> None:
        """Raises ValueError if windows (N, L) of tokens are too few, too many or mostly unknown."""
        if min(len(train), len(heldout)) < MIN_WINDOWS:
            raise ValueError(
                f"--data.root: expected text for at least {MIN_WINDOWS} windows of {self.window} tokens to train on "
                f"and {MIN_WINDOWS} to hold out; got {len(train)} and {len(heldout)}; give more text, a smaller "
                "--data.window, or another --data.heldout"
            )
        unknown = float((train == 0).double().mean())
        if unknown > MAX_UNKNOWN:
            raise ValueError(
                f"--data.vocabulary: expected a token for most of the text; {self.vocabulary} tokens leave "
                f"{unknown:.0%} of what is trained on unknown; give a larger one"
            )
        num, size = len(train) + len(heldout), self.tokenizer.get_vocab_size()
        needed = num * size * self.window
        if needed > MAX_BYTES:
            raise ValueError(
                f"--data.vocabulary: expected windows of at most {MAX_BYTES / 1e9:.3g} GB; {num:,} of {size} tokens at "
                f"{self.window} places take {needed / 1e9:.3g} GB; give a smaller one, a larger --data.stride, or less "
                "text"
            )


def _tokenizer(tokens: str, text: str, vocabulary: int) -> Any:  # the Tokenizer of a package that may be missing
    """A tokenizer trained on this text; token 0 is the unknown one."""
    # else it would warn when worker processes start
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise ImportError('--data: text needs the package tokenizers; pip install -e ".[sequences]"') from error
    text = text.replace(UNKNOWN, "")  # it has its token already
    options: dict = {"vocab_size": vocabulary, "special_tokens": [UNKNOWN], "show_progress": False}
    if tokens == "characters":
        tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.FixedLength(1)
        trainer: trainers.Trainer = trainers.WordLevelTrainer(**options)
    else:
        tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
        # set, because the library chooses at random among equally frequent ones; the other half is for merges
        alphabet = [character for character, _ in Counter(text).most_common(vocabulary // 2)]
        trainer = trainers.BpeTrainer(**options, initial_alphabet=alphabet, limit_alphabet=len(alphabet))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def _manual() -> str:
    """Python's manual of the language, each paragraph once: topics share paragraphs, so else held-out text could be
    in the training text."""
    from pydoc_data.topics import topics

    paragraphs = (paragraph for name in sorted(topics) for paragraph in topics[name].split("\n\n"))
    return "\n\n".join(dict.fromkeys(paragraphs))


def _read_all(root: Path) -> list[str]:
    """The texts of a file, or of the files in a folder, without empty ones."""
    if not root.exists():
        raise FileNotFoundError(f"--data.root: expected a file or a folder of text, got '{root}', which does not exist")
    paths = find(root, (".txt", ".md", ""), "files of text") if root.is_dir() else [root]
    texts = [text for text in map(_read, map(Path, paths)) if text.strip()]
    if not texts:
        empty = f"all files in '{root}' are" if root.is_dir() else f"'{root}' is"
        raise ValueError(f"--data.root: expected text, but {empty} empty")
    return texts


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        text = content.decode()
    except OSError as error:
        raise ValueError(f"--data.root: '{path}' cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(_no_utf8(path, content, error.start)) from error
    if "\0" in text:
        raise ValueError(_no_utf8(path, content, content.index(0)))
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _no_utf8(path: Path, content: bytes, position: int) -> str:
    """The error message about a file with this invalid byte."""
    is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    name, encoding = ("UTF-16", "utf-16") if is_utf16 else ("Latin-1", "latin1")
    return (
        f"--data.root: expected UTF-8 text; got '{path}' with the byte 0x{content[position]:02x} at {position}; if it "
        f"is {name}, `iconv -f {encoding} -t utf-8` converts it"
    )
