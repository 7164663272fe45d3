"""Whose mistake an error is, and how it is said: the exit status of a command and its one line.

A mistake of the user's names what it is about: the option (`--model.lr: expected ...`) or the argument (`RUN: ...`). A
ValueError that names neither may be of a library or of this project's own code, and is no mistake of the user's.
"""

import errno
import re

NAMES_AN_ARGUMENT = re.compile(r"--\S+: |RUN: |FOLDER: ")
USERS_FILES = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
TOO_LONG = (errno.ENAMETOOLONG, errno.ELOOP)  # of a path: the user's, too
LACKS = (OSError, ImportError, MemoryError)  # of the machine: disk, permission, packages, memory


class UserError(ValueError):
    """A mistake in the command or in what it reads, also where the message begins with no option."""


class Damaged(UserError):
    """A file of this project's that is not as it was made.

    Args:
        damage: what is wrong: the option, the file, the cause.
        remedy: what to do.
    """

    def __init__(self, damage: str, remedy: str):
        super().__init__(f"{damage}; expected it as it was made; {remedy}")
        self.damage = damage
        self.remedy = remedy


def status_of(error: Exception) -> int:
    """The exit status that an error asks for, by itself or, where it says that a training failed, by its cause: 2 for
    the user's mistakes, 3 for what the machine lacks or refuses, 1 for other failures."""
    if is_users(error):
        return 2
    return 3 if any(isinstance(part, LACKS) or lacks_memory(part) for part in (error, error.__cause__)) else 1


def is_users(error: Exception) -> bool:
    """Whether an error is a mistake in the command, or in the files that it names."""
    if isinstance(error, ValueError):
        return isinstance(error, UserError) or NAMES_AN_ARGUMENT.match(str(error)) is not None
    return isinstance(error, USERS_FILES) or getattr(error, "errno", None) in TOO_LONG


def lacks_memory(error: Exception | None) -> bool:
    """Whether torch says that there is not as much memory as it asked for, of a GPU or of the machine."""
    is_torchs = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return isinstance(error, RuntimeError) and is_torchs


def format_error(error: Exception) -> str:
    """One line about an error, with what may help."""
    words = str(error)
    if isinstance(error, OSError) and error.filename is not None:  # the system's own, which begins with its number
        words = f"'{str(error.filename)[:200]}': {error.strerror}"
    elif lacks_memory(error) or isinstance(error, MemoryError):
        words = f"{words or 'out of memory'}; a smaller model, batch, data set or --num takes less memory"
    hint = "" if status_of(error) in (2, 3) else " (--debug shows where)"
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "; free some space, and the same command goes on from the last checkpoint"
    return f"error: {' '.join(words.split())}{hint}"


def check_characters(argv: list[str]) -> None:
    """Raises UserError for an argument that is no UTF-8: what is written down of it could not be read again."""
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            shown = word.encode(errors="backslashreplace").decode()
            raise UserError(f"expected arguments in UTF-8; got '{shown}'; rename the file, or type it anew") from error
