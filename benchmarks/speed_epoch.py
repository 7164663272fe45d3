"""What an epoch of a dense autoencoder takes beside a bare PyTorch loop, and beside pythae's trainer.

    python benchmarks/speed_epoch.py          two minutes on two cores; pythae: pip install pythae

All train the same layers (784, 512, 256, 16 and back) by Adam on the same 54,000 images in batches of 64, and in a new
order in every epoch. `python run.py` has its bar, metrics.csv and Weights & Biases offline, pythae the bar that is its
default, the loop nothing. The images are Fashion-MNIST's, which are as many and as large as MNIST's.
"""

from importlib.util import find_spec

from speed_data import mnist_words
from speed_table import Row, ratio
from speed_turns import Turn, by_turns, train_by_turns

BATCH, LR, NUM, SHAPE, LATENT = 64, 2e-3, 54_000, (1, 28, 28), 16
OURS = ["--model", "ae", "--model.network", "mlp", "--accelerator", "cpu", "--augment", "none", "--steps", "10000000"]
OURS += ["--metrics.features", "pixels", "--metrics.looks", "1", "--logger", "wandb"]


def rows(rounds: int = 5, share: float = 1.0) -> list[Row]:
    """Rows over the bare loop and over pythae's trainer.

    Args:
        rounds: how many.
        share: of the images that an epoch has.
    """
    num = max(BATCH, int(NUM * share)) // BATCH * BATCH
    words = [*OURS, *mnist_words(), *([] if share == 1 else ["--data.num_train", str(num)])]
    contenders = {
        "ours": {"function": train_by_turns, "words": words, "block": num // BATCH},
        "bare": {"function": bare, "num": num},
    }
    if find_spec("pythae"):
        contenders["pythae"] = {"function": by_pythae, "num": num}
    times = by_turns(contenders, rounds)
    missing = Row("epoch-pythae", None, {}, "not installed: pip install pythae")
    return [
        ratio("epoch-bare", times, "ours", "bare"),
        ratio("epoch-pythae", times, "ours", "pythae") if "pythae" in times else missing,
    ]


def bare(turn: Turn, num: int) -> None:
    """A contender: the loop that somebody would write."""
    import torch
    from torch.nn import functional as F

    images, encoder, decoder = parts(num)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], LR)
    while True:
        for index in torch.randperm(num).split(BATCH):
            x = images[index].float() / 127.5 - 1
            loss = F.mse_loss(decoder(encoder(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        turn()


def by_pythae(turn: Turn, num: int) -> None:
    """A contender: pythae's trainer, as its documentation has it."""
    from pythae.models import AE, AEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    images, encoder, decoder = parts(num)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.layers = encoder

        def forward(self, x):
            return ModelOutput(embedding=self.layers(x))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = decoder

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z))

    class Pause(TrainingCallback):
        def on_epoch_end(self, training_config, **options):
            turn()

    config = BaseTrainerConfig("pythae", num_epochs=100_000, per_device_train_batch_size=BATCH, learning_rate=LR)
    model = AE(AEConfig(input_dim=SHAPE, latent_dim=LATENT), Encoder(), Decoder())
    data = images.float() / 127.5 - 1
    BaseTrainer(model, dataset(data), training_config=config, callbacks=[Pause()]).train()


def dataset(images):
    """pythae's data set of images, with labels that it does not use."""
    import torch
    from pythae.data.datasets import BaseDataset

    return BaseDataset(images, torch.zeros(len(images)))


def parts(num: int) -> tuple:
    """Bytes (num, 1, 28, 28) and the layers of `--model ae --model.network mlp`."""
    import torch

    from lightning_genae.models.ae import Autoencoder

    torch.manual_seed(0)
    autoencoder = Autoencoder(SHAPE, network="mlp", latent_dim=LATENT)
    images = torch.randint(0, 256, (num, *SHAPE), dtype=torch.uint8)
    return images, autoencoder.encoder, autoencoder.decoder


if __name__ == "__main__":
    for row in rows():
        print(row)
