"""Errors: whether the user made a mistake, the exit status of a command and its error message of one line.

The message of a user's mistake begins with the option (`--model.lr: expected ...`) or the argument (`RUN: ...`). A
ValueError that names neither may come from a library or a bug of this project, and does not count as a user's mistake.
"""

import errno
import re
import traceback
from pathlib import Path

NAMES_AN_ARGUMENT = re.compile(r"--\S+: |RUN: |FOLDER: ")
USERS_FILES = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
TOO_LONG = (errno.ENAMETOOLONG, errno.ELOOP)  # of a path: a user's mistake, too
LACKS = (OSError, ImportError, MemoryError)  # the machine lacks disk space, permission, packages or memory


class UserError(ValueError):
    """A mistake in the command or in the files that it reads, even if the message does not begin with an option."""


class Damaged(UserError):
    """A file of this project with damaged content.

    Args:
        damage: the option, the file and the cause.
        remedy: what to do.
    """

    def __init__(self, damage: str, remedy: str):
        super().__init__(f"{damage}; expected it as it was made; {remedy}")
        self.damage = damage
        self.remedy = remedy


def status_of(error: Exception) -> int:
    """The exit status for an error: 2 for the user's mistakes, 3 for what the machine lacks or refuses, 1 for other
    failures. If a training failed, the cause of the error counts, too."""
    if is_users(error):
        return 2
    return 3 if any(isinstance(part, LACKS) or lacks_memory(part) for part in (error, error.__cause__)) else 1


def is_users(error: Exception) -> bool:
    """Whether an error is a mistake in the command or in the files that it names."""
    if isinstance(error, ValueError):
        return isinstance(error, UserError) or NAMES_AN_ARGUMENT.match(str(error)) is not None
    return isinstance(error, USERS_FILES) or getattr(error, "errno", None) in TOO_LONG


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error of torch means that the GPU or the machine is out of memory."""
    is_torchs = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return isinstance(error, RuntimeError) and is_torchs


def format_error(error: Exception) -> str:
    """One line about an error, with a remedy where one is known."""
    words = str(error)
    if isinstance(error, OSError) and error.filename is not None:  # the system's message begins with its number
        words = f"'{str(error.filename)[:200]}': {error.strerror}"
    elif lacks_memory(error) or isinstance(error, MemoryError):
        words = f"{words or 'out of memory'}; a smaller model, batch, data set or --num takes less memory"
    words = words or type(error).__name__
    hint = "" if status_of(error) in (2, 3) else f" ({_where(error)}--debug shows more)"
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "; free some space, and the same command goes on from the last checkpoint"
    return f"error: {' '.join(words.split())}{hint}"


def _where(error: BaseException) -> str:
    """The last line of this project, or of code that adds to it, that the cause of an unexpected error passed."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    ours = [frame for frame in frames if "site-packages" not in frame[0] and not frame[0].startswith("<")]
    if not ours:
        return ""
    filename, line = ours[-1]
    path, folder = Path(filename), Path(__file__).parents[1]
    shown = path.relative_to(folder) if path.is_relative_to(folder) else path
    return f"{type(error).__name__} in {shown}, line {line}; "


def check_characters(argv: list[str]) -> None:
    """Raises UserError for an argument that is not UTF-8: files that contain it could not be read again."""
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            shown = word.encode(errors="backslashreplace").decode()
            raise UserError(f"expected arguments in UTF-8; got '{shown}'; rename the file, or type it anew") from error
