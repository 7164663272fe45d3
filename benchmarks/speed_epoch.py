"""What half an epoch of a dense autoencoder takes beside a bare PyTorch loop, and beside pythae's trainer.

    python benchmarks/speed_epoch.py          two minutes on two cores; pythae: pip install pythae

All train the same layers (784, 512, 256, 16 and back) by Adam on as many images in batches of 64, in a new order in
every epoch. `python run.py` has its bar, metrics.csv and Weights & Biases offline, pythae the bar that is its default,
the loop nothing. The images are Fashion-MNIST's, which are as many and as large as MNIST's. Ours chooses its number of
threads, which is one here; the others take all cores, as they do by themselves, and once more only one.
"""

from importlib.util import find_spec

from speed_data import mnist_words
from speed_table import Row, ratio
from speed_turns import Times, Turn, by_turns, train_by_turns

BATCH, LR, NUM, SHAPE, LATENT = 64, 2e-3, 27_000, (1, 28, 28), 16
OURS = ["--model", "ae", "--model.network", "mlp", "--accelerator", "cpu", "--augment", "none", "--steps", "10000000"]
OURS += ["--metrics.features", "pixels", "--metrics.looks", "1", "--logger", "wandb"]


def rows(rounds: int = 5, share: float = 1.0) -> list[Row]:
    """Rows over the bare loop and over pythae's trainer.

    Args:
        rounds: how many.
        share: of the images.
    """
    num = max(BATCH, int(NUM * share)) // BATCH * BATCH
    words = [*OURS, *mnist_words(), *([] if share == 1 else ["--data.num_train", str(num)])]
    others = {"bare": bare, **({"pythae": by_pythae} if find_spec("pythae") else {})}
    contenders: dict[str, dict] = {"ours": {"function": train_by_turns, "words": words, "block": num // BATCH}}
    for name, function in others.items():
        contenders[name] = {"function": function, "num": num}
        contenders[f"{name}, one thread"] = {**contenders[name], "threads": 1}
    times = by_turns(contenders, rounds)
    missing = Row("epoch-pythae", None, {}, "not installed: pip install pythae")
    return [_row(times, "bare"), _row(times, "pythae") if "pythae" in times else missing]


def _row(times: dict[str, Times], other: str) -> Row:
    alone = times[f"{other}, one thread"].seconds
    note = f"{times['ours'].seconds / alone:.2f} over its {alone:.2f} with one thread"
    return ratio(f"epoch-{other}", times, "ours", other)._replace(note=note)


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
