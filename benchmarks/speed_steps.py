"""What a step of the GAN takes beside a bare PyTorch loop over the same networks.

    python benchmarks/speed_steps.py          two minutes on two cores

The loop does what the training does and nothing else: batches by random index, two updates by Adam, the average of the
generator; its networks have PyTorch's default memory format, its optimizers PyTorch's defaults. `python run.py` runs as
for any user, with its bar, metrics.csv and Weights & Biases offline. Batches have 64 images.
"""

import copy

from speed_data import mnist_words
from speed_table import Row, ratio
from speed_turns import Times, Turn, by_turns, train_by_turns

BATCH, LR, BETAS, EMA = 64, 4e-4, (0.5, 0.999), 0.995  # the defaults of --model gan
CRITIC = ["--augment", "ae", "--augment.on", "critic", "--augment.steps", "50"]
# the features that need no training: a step does not depend on them
OURS = ["--model", "gan", "--steps", "1000000", "--metrics.features", "pixels", "--metrics.looks", "1"]


def rows(rounds: int = 5, share: float = 1.0) -> list[Row]:
    """Rows of steps at 8x8 and 28x28.

    Args:
        rounds: how many.
        share: of the usual number of batches in a block.
    """
    small = measure(8, max(2, int(200 * share)), rounds)
    large = measure(28, max(2, int(40 * share)), rounds, ("32-true", "bf16-mixed"))
    return [
        ratio("step-8", small, "none", "bare"),
        ratio("critic-8", small, "ae on critic", "none"),
        ratio("step-28", large, "none, 32-true", "bare"),
        ratio("step-28-bf16", large, "none, bf16-mixed", "bare"),
        ratio("critic-28", large, "ae on critic", "none"),
    ]


def measure(
    side: int, block: int, rounds: int, precisions: tuple[str, ...] = (), device: str = "cpu"
) -> dict[str, Times]:
    """Times of blocks of batches: of the bare loop, of trainings without and with an augmentation, and of those without
    in other precisions.

    Args:
        side: of the images, 8 (digits) or 28 (Fashion-MNIST).
        block: batches.
        rounds: how many.
        precisions: of Lightning.
        device: cpu or cuda.
    """
    data = ["--data", "digits"] if side == 8 else [*mnist_words(), "--data.num_train", "1000"]
    ours = {"function": train_by_turns, "block": block}
    words = [*OURS, *data, "--accelerator", "gpu" if device == "cuda" else "cpu"]
    none = [*words, "--augment", "none"]
    contenders = {
        "bare": {"function": bare, "side": side, "block": block, "device": device},
        "none": {**ours, "words": none},
        **{f"none, {name}": {**ours, "words": [*none, "--precision", name]} for name in precisions},
        "ae on critic": {**ours, "words": [*words, *CRITIC]},
    }
    times = by_turns(contenders, rounds)
    return {
        name: time._replace(wall=[s / block for s in time.wall], cpu=[s / block for s in time.cpu])
        for name, time in times.items()
    }


def bare(turn: Turn, side: int, block: int, device: str = "cpu") -> None:
    """A contender: the loop that somebody would write."""
    import torch
    from torch.nn import functional as F

    from lightning_genae.models.gan import GAN

    torch.manual_seed(0)
    gan = GAN((1, side, side)).to(device, memory_format=torch.contiguous_format).train()
    generator, critic = gan.generator, gan.critic
    averaged = copy.deepcopy(generator).requires_grad_(False)
    optimizer_g = torch.optim.Adam(generator.parameters(), LR, BETAS)
    optimizer_d = torch.optim.Adam(critic.parameters(), LR, BETAS)
    images = torch.randint(0, 256, (1000, 1, side, side), dtype=torch.uint8)

    def fake() -> torch.Tensor:
        return generator(torch.randn(BATCH, 32, device=device)).tanh()

    def step() -> None:
        x = images[torch.randint(0, 1000, (BATCH,))].to(device).float() / 127.5 - 1
        loss = F.softplus(-critic(x)).mean() + F.softplus(critic(fake().detach())).mean()
        optimizer_d.zero_grad()
        loss.backward()
        optimizer_d.step()
        critic.requires_grad_(False)
        loss = F.softplus(-critic(fake())).mean()
        optimizer_g.zero_grad()
        loss.backward()
        optimizer_g.step()
        critic.requires_grad_(True)
        with torch.no_grad():
            for average, weight in zip(averaged.parameters(), generator.parameters()):
                average.lerp_(weight, 1 - EMA)
            for average, value in zip(averaged.buffers(), generator.buffers()):
                average.copy_(value)

    while True:
        for _ in range(block):
            step()
        turn.note(threads=torch.get_num_threads())
        turn()


if __name__ == "__main__":
    for row in rows():
        print(row)
