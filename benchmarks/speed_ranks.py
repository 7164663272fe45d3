"""Images per second of a training by two processes over gloo, over those of one process with two threads.

    python benchmarks/speed_ranks.py          a minute on two cores

The batch of 64 images of 28x28 is split, so that both do the same work; each of the two processes has one thread.
"""

from speed_data import mnist_words
from speed_steps import OURS
from speed_table import Row
from speed_turns import by_turns, train_by_turns

BATCH = 64


def rows(rounds: int = 5, share: float = 1.0) -> list[Row]:
    """The row of two processes.

    Args:
        rounds: how many.
        share: of the usual number of batches in a block.
    """
    block = max(2, int(40 * share))
    words = [*OURS, *mnist_words(), "--data.num_train", "1000", "--augment", "none", "--accelerator", "cpu"]
    contenders = {
        f"{num} process{'es' * (num > 1)}": {
            "function": train_by_turns,
            "threads": 2 // num,
            "block": block,
            "words": [*words, "--devices", str(num), "--data.batch_size", str(BATCH // num)],
        }
        for num in (1, 2)
    }
    times = by_turns(contenders, rounds)
    one, two = times.values()
    seconds = {name: time.seconds / block for name, time in times.items()}
    return [Row("ranks", one.seconds / two.seconds, seconds, rounds=rounds)]


if __name__ == "__main__":
    for row in rows():
        print(row)
