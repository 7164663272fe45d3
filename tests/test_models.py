"""The contract of models/__init__.py, for every model there is, and what is special to each."""

import inspect
import math

import pytest
import torch
from pytorch_lightning import Trainer

from datamodules._base import ImageDataModule, Images
from lightning_genae import registry
from lightning_genae.models.ae import Autoencoder
from lightning_genae.models.gan import GAN

PACKAGE = "lightning_genae.models"
MODELS = {name: registry.load(PACKAGE, name) for name in registry.names(PACKAGE)}


def train(model, datamodule, steps, accelerator="cpu", **options):
    """Trains for a number of batches."""
    from callbacks.budget import Budget
    from callbacks.ema import Ema

    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=-1,
        callbacks=[Ema(), Budget(steps)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **options,
    )
    trainer.fit(model, datamodule=datamodule)
    return trainer


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 32, 32)], ids=str)
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("name", MODELS)
def test_sample_and_reconstruct(name, network, image_shape):
    model = MODELS[name](image_shape, 10, network=network)
    model.train()
    images = model.sample(5)
    assert images.shape == (5, *image_shape)
    assert images.abs().max() <= 1
    assert not images.requires_grad
    assert model.training
    torch.manual_seed(1)
    first = model.sample(5)
    torch.manual_seed(1)
    assert torch.equal(first, model.sample(5))
    if hasattr(model, "encode"):
        x = torch.rand(4, *image_shape) * 2 - 1
        assert model.decode(model.encode(x)).shape == x.shape
        assert torch.equal(model.reconstruct(x), model.decode(model.encode(x)))


@pytest.mark.parametrize("name", MODELS)
def test_training_changes_every_parameter_and_logs_finite_losses(name, digits, accelerator):
    torch.manual_seed(0)
    model = MODELS[name](digits.image_shape, digits.num_classes)
    before = {key: value.clone() for key, value in model.named_parameters()}
    trainer = train(model, digits, 5, accelerator)
    assert digits.batches == 5
    same = [key for key, value in model.named_parameters() if torch.equal(value.cpu(), before[key])]
    # a convolution's bias before batch normalisation has no effect
    assert all("generator" in key or "averaged" in key for key in same), same
    losses = {key: float(value) for key, value in trainer.callback_metrics.items()}
    assert losses
    assert all(key.startswith("train/") and math.isfinite(value) for key, value in losses.items())


@pytest.mark.parametrize("name", MODELS)
def test_bf16_mixed(name, digits, accelerator):
    trainer = train(MODELS[name](digits.image_shape, 10), digits, 20, accelerator, precision="bf16-mixed")
    assert all(torch.isfinite(value) for value in trainer.callback_metrics.values())


@pytest.mark.parametrize("name", MODELS)
def test_checkpoint_holds_plain_values(name, digits, tmp_path):
    model = MODELS[name](digits.image_shape, 10)
    train(model, digits, 2).save_checkpoint(tmp_path / "model.ckpt")
    again = MODELS[name].load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu", weights_only=True)
    torch.manual_seed(0)
    expected = model.cpu().sample(3)
    torch.manual_seed(0)
    assert torch.equal(again.sample(3), expected)


# a value other than the default for every option; the test below fails where one is missing
OTHER = {
    "ae": {"network": "mlp", "latent_dim": 3, "hidden": [7], "width": 8, "loss": "bce", "lr": 0.1},
    "gan": {
        "network": "mlp",
        "latent_dim": 3,
        "hidden": [7],
        "width": 8,
        "spectral_norm": True,
        "n_critic": 2,
        "lr": 0.1,
        "beta1": 0.9,
        "ema": 0.5,
        "gradient_clip": 0.01,
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_every_option_changes_the_training(name, digits):
    options = set(inspect.signature(MODELS[name].__init__).parameters) - {"self", "image_shape", "num_classes"}
    assert set(OTHER[name]) == options

    def trained(**options):
        digits.batches = 0
        torch.manual_seed(0)
        model = MODELS[name](digits.image_shape, 10, **options)
        train(model, digits, 3)
        return model.sample(4)

    reference = {network: trained(network=network) for network in ("mlp", "conv")}
    for option, value in OTHER[name].items():
        network = "mlp" if option == "hidden" else "conv"
        assert not torch.equal(trained(**{"network": network, option: value}), reference[network]), option


def test_ae_learns_to_reconstruct(digits):
    model = Autoencoder(digits.image_shape, 10)
    x, _ = digits.train
    x = x.float() / 127.5 - 1
    before = (model.reconstruct(x) - x).square().mean()
    train(model, digits, 150)
    assert (model.reconstruct(x) - x).square().mean() < 0.2 * before


def test_ae_learns_images_that_are_mostly_black():
    """A tanh before the loss would saturate, and the autoencoder draw black ever after."""

    class Squares(ImageDataModule):
        def load(self):
            images = torch.full((200, 3, 12, 12), 10, dtype=torch.uint8)
            for i, image in enumerate(images):
                image[i % 3, i % 4 : i % 4 + 6, i % 5 : i % 5 + 6] = 220
            return Images(images, torch.zeros(200).long()), Images(images[:50], torch.zeros(50).long()), 0

    squares = Squares()
    squares.setup()
    model = Autoencoder(squares.image_shape)
    train(model, squares, 300)
    x = squares.train.images.float() / 127.5 - 1
    assert (model.reconstruct(x) - x).square().mean() < 0.3 * (x - x.mean(0)).square().mean()


def test_ae_samples_have_the_moments_of_the_codes():
    model = Autoencoder((1, 8, 8), 10, latent_dim=3)
    codes = torch.randn(1024, 3) @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0, 0.1]]) + torch.tensor([1.0, 2, 3])
    model._keep(codes)
    drawn = []
    model.decode = lambda z: drawn.append(z) or z
    model.sample(20_000)
    assert torch.allclose(drawn[0].mean(0), codes.mean(0), atol=0.05)
    assert torch.allclose(torch.cov(drawn[0].T), torch.cov(codes.T), atol=0.15)


def test_gan_average_of_parameters_and_copy_of_buffers(digits):
    model = GAN(digits.image_shape, 10, ema=0.9)
    history, buffers = [], None

    class Watch(torch.nn.Module):
        pass

    from callbacks.ema import Ema

    original = Ema.on_train_batch_end

    def recorded(self, trainer, module, *args):
        history.append(module.generator[0].weight.detach().clone())
        original(self, trainer, module, *args)

    Ema.on_train_batch_end = recorded
    try:
        train(model, digits, 4)
    finally:
        Ema.on_train_batch_end = original
    expected = history[0]
    for weight in history[1:]:
        expected = 0.9 * expected + 0.1 * weight
    assert torch.allclose(model.averaged.module[0].weight, expected, atol=1e-6)
    buffers = dict(model.generator.named_buffers())
    assert any("running_mean" in key for key in buffers)
    for key, value in model.averaged.module.named_buffers():
        assert torch.equal(value, buffers[key])


def test_gan_steps_the_generator_every_n_critic_batches(digits):
    model = GAN(digits.image_shape, 10, n_critic=3)
    updates = {"critic": 0, "generator": 0}
    for player in updates:
        original = getattr(model, f"_step_{player}")

        def counted(*args, player=player, original=original):
            updates[player] += 1
            original(*args)

        setattr(model, f"_step_{player}", counted)
    train(model, digits, 7)  # an epoch has three batches, so the count goes on over epochs
    assert updates == {"critic": 7, "generator": 2}


def test_gan_clips_each_players_gradient(digits):
    model = GAN(digits.image_shape, 10, gradient_clip=1e-3)
    norms = []
    original = model.on_before_optimizer_step

    def watched(optimizer):
        original(optimizer)
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(torch.nn.utils.get_total_norm(gradients))

    model.on_before_optimizer_step = watched
    train(model, digits, 3)
    assert len(norms) == 6
    assert all(norm <= 1.001e-3 for norm in norms)


def test_an_option_without_effect_warns(caplog):
    Autoencoder((1, 8, 8), network="conv", hidden=[3])
    assert "--model.hidden has no effect" in caplog.text
    GAN((1, 8, 8), network="mlp", width=3)
    assert "--model.width has no effect" in caplog.text
