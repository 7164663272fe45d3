"""The contract of models/__init__.py, for every model there is, and what is special to each."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from pytorch_lightning import Trainer

from datamodules import ImageDataModule
from lightning_genae import registry
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.image import Image
from lightning_genae.models._two_players import TwoPlayers
from lightning_genae.models.ae import Autoencoder
from lightning_genae.models.cogan import CoGAN, edges
from lightning_genae.models.gan import GAN, Loss
from lightning_genae.models.vae import VAE
from lightning_genae.models.vaegan import VAEGAN
from lightning_genae.nn import losses
from tests.test_options import options_of

PACKAGE = "lightning_genae.models"
MODELS = {name: registry.load(PACKAGE, name) for name in registry.names(PACKAGE)}


def train(model, datamodule, steps, accelerator="cpu", callbacks=(), ckpt_path=None, **options):
    """Trains for a number of batches."""
    from callbacks.budget import Budget
    from callbacks.ema import Ema

    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=-1,
        callbacks=[Ema(), *callbacks, Budget(steps)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **options,
    )
    trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path)
    return trainer


IMAGES = [name for name, model in MODELS.items() if modalities.supports(model, Image())]
SEQUENCES = [
    (name, modality, has_mask)
    for name, model in MODELS.items()
    for modality, has_mask in (("series", False), ("series", True), ("text", False))
    if modalities.supports(model, modalities.new(modality))
]


@pytest.fixture
def data_of(digits, waves):
    """Data that a model takes: digits if it takes images."""
    return lambda name: digits if name in IMAGES else waves()


def build(name: str, datamodule, **options):
    dataset = datamodule.dataset
    about = {"modality": dataset.modality.name, "has_mask": dataset.modality.has_mask}
    return MODELS[name](dataset.image_shape, dataset.num_classes, **about, **options)


def networks_of(name: str, networks: list[str]) -> list[dict]:
    """The option that chooses each of these networks; no option for a model that has no choice."""
    return [{"network": network} for network in networks] if "network" in options_of(MODELS[name]) else [{}]


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 32, 32)], ids=str)
@pytest.mark.parametrize("name", IMAGES)
def test_sample_and_reconstruct(name, image_shape):
    for network in networks_of(name, ["mlp", "conv", "resnet", "fastgan", "stylegan2"]):
        check_samples(MODELS[name](image_shape, 10, **network), image_shape)


@pytest.mark.parametrize("name, modality, has_mask", SEQUENCES)
def test_sequences(name, modality, has_mask, waves, accelerator):
    """What every model does with series, those with ends, and text, if it takes them: trained, in every network."""
    datamodule = waves(modality, has_mask)
    project = datamodule.dataset.modality.project
    x = project(torch.rand(4, *datamodule.dataset.image_shape) * 2 - 1)
    for network in networks_of(name, ["mlp", "conv", "resnet", "recurrent"]):
        model = build(name, datamodule, **network)
        precision = "bf16-mixed" if network == {"network": "recurrent"} else 32
        trainer = train(model, datamodule, 2, accelerator, precision=precision)
        assert all(value.isfinite() for value in trainer.callback_metrics.values())
        model = model.cpu()
        check_samples(model, datamodule.dataset.image_shape, x)
        samples = model.sample(5)
        if (has_mask or modality == "text") and modalities.supports(MODELS[name], modalities.new("text")):
            assert torch.equal(samples, project(samples))


def check_samples(model, image_shape, x=None):
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
        x = torch.rand(4, *image_shape) * 2 - 1 if x is None else x
        assert model.encode(x).shape == (4, model.hparams.latent_dim)
        assert model.decode(model.encode(x)).shape == x.shape
        assert torch.equal(model.reconstruct(x), model.decode(model.encode(x)))
        assert not model.reconstruct(x).requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_training_changes_every_parameter_and_logs_finite_losses(name, data_of, accelerator):
    torch.manual_seed(0)
    digits = data_of(name)
    model = build(name, digits)
    before = {key: value.clone() for key, value in model.named_parameters()}
    trainer = train(model, digits, 5, accelerator)
    assert digits.batches == 5
    same = [key for key, value in model.named_parameters() if torch.equal(value.cpu(), before[key])]
    # a convolution's bias before batch normalisation has no effect; nor has one that wgan's critic ends with
    assert all("generator" in key or "averaged" in key for key in same), same
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    assert logged
    assert all(key.startswith("train/") and math.isfinite(value) for key, value in logged.items())


@pytest.mark.parametrize("name", MODELS)
def test_bf16_mixed(name, data_of, accelerator):
    datamodule = data_of(name)
    # torch has no LSTM in bfloat16 on a CPU without the instructions for it
    small = {"width": 4} if name in IMAGES else {"cell": "gru"}
    size = {option: value for option, value in small.items() if option in options_of(MODELS[name])}
    trainer = train(build(name, datamodule, **size), datamodule, 4, accelerator, precision="bf16-mixed")
    assert all(torch.isfinite(value) for value in trainer.callback_metrics.values())


@pytest.mark.parametrize("name", MODELS)
def test_checkpoint_holds_plain_values(name, data_of, tmp_path):
    datamodule = data_of(name)
    model = build(name, datamodule)
    train(model, datamodule, 2).save_checkpoint(tmp_path / "model.ckpt")
    again = MODELS[name].load_from_checkpoint(tmp_path / "model.ckpt", map_location="cpu")
    torch.manual_seed(0)
    expected = model.cpu().sample(3)
    torch.manual_seed(0)
    assert torch.equal(again.sample(3), expected)


def test_every_choice_of_the_gan_has_finite_losses_in_bf16(digits):
    for options in [{"loss": loss} for loss in get_args(Loss)] + [
        {"conditional": conditional, "r1": 1.0} for conditional in ("projection", "concatenation")
    ]:
        model = GAN(digits.dataset.image_shape, 10, network="mlp", hidden=[8], **options)
        trainer = train(model, digits, digits.batches + 3, precision="bf16-mixed")
        assert all(torch.isfinite(value) for value in trainer.callback_metrics.values())


def test_ae_learns_to_reconstruct(digits):
    model = Autoencoder(digits.dataset.image_shape, 10, width=4, lr=5e-3)
    x, _ = digits.dataset.train
    x = x.float() / 127.5 - 1
    train(model, digits, 60)
    assert (model.reconstruct(x) - x).square().mean() < 0.6 * (x - x.mean(0)).square().mean()


@pytest.mark.slow
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
    model = Autoencoder(squares.dataset.image_shape)
    train(model, squares, 300)
    x = squares.dataset.train.images.float() / 127.5 - 1
    assert (model.reconstruct(x) - x).square().mean() < 0.3 * (x - x.mean(0)).square().mean()


def test_ae_samples_have_the_moments_of_the_latents():
    model = Autoencoder((1, 8, 8), 10, latent_dim=3)
    latents = torch.randn(1024, 3) @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0, 0.1]]) + torch.tensor([1.0, 2, 3])
    model.latents.keep(latents)
    drawn = []
    model.decode = lambda z: drawn.append(z) or z
    model.sample(20_000)
    assert torch.allclose(drawn[0].mean(0), latents.mean(0), atol=0.05)
    assert torch.allclose(torch.cov(drawn[0].T), torch.cov(latents.T), atol=0.15)


def test_gan_average_of_parameters_and_copy_of_buffers(digits):
    model = GAN(digits.dataset.image_shape, 10, ema=0.9)
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


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if issubclass(model, TwoPlayers)])
def test_the_second_player_steps_every_n_critic_batches(name, digits):
    model = MODELS[name](digits.dataset.image_shape, 10, n_critic=3, network="mlp", hidden=[8])
    updates = {"critic": 0, "generator": 0}
    for player in updates:
        original = getattr(model, f"loss_{player}")

        def counted(*batch, player=player, original=original):
            updates[player] += 1
            # a player's turn moves no weight of the other
            critics = {id(weight) for weight in model.critic.parameters()}
            own = [
                (id(weight) in critics) == (player == "critic") for weight in model.parameters() if weight.requires_grad
            ]
            assert own and all(own)
            return original(*batch)

        setattr(model, f"loss_{player}", counted)
    train(model, digits, 7)  # an epoch has three batches, so the count goes on over epochs
    assert updates == {"critic": 7, "generator": 2}


def test_gan_clips_each_players_gradient(digits):
    model = GAN(digits.dataset.image_shape, 10, gradient_clip=1e-3)
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
    GAN((1, 8, 8), clip=0.1)
    assert "--model.clip has no effect without --model.loss wgan" in caplog.text
    Autoencoder((1, 8, 8), noise_level=0.1)
    assert "--model.noise_level has no effect" in caplog.text
    VAE((1, 8, 8), likelihood="bernoulli", sigma=0.1)
    assert "--model.sigma has no effect" in caplog.text
    VAEGAN((1, 8, 8), sampler="mixture")
    assert "--model.sampler has no effect" in caplog.text


def test_a_conditional_model_wants_labels():
    with pytest.raises(ValueError, match=r"--model.conditional: expected data with labels"):
        GAN((1, 8, 8), 0, conditional="projection")


@pytest.mark.slow
def test_samples_follow_their_labels(digits):
    model = GAN(digits.dataset.image_shape, 10, conditional="projection", network="mlp", lr=2e-3)
    train(model, digits, 400)
    x, y = digits.dataset.train.images.float() / 127.5 - 1, digits.dataset.train.labels
    means = torch.stack([x[y == label].mean(0) for label in range(10)]).flatten(1)
    labels = torch.arange(10).repeat_interleave(50)
    samples = model.sample(500, labels).flatten(1)
    nearest = torch.cdist(samples, means).argmin(1)
    assert (nearest == labels).double().mean() > 0.6
    assert model.sample(5).shape == (5, 1, 8, 8)


@pytest.mark.parametrize("conditional", ["projection", "concatenation"])
def test_classes_of_samples_without_labels_are_as_frequent_as_in_training(conditional, digits, tmp_path):
    rare = digits.dataset.train.labels < 2  # two classes, 3 to 1, of ten
    images, labels = (part[rare] for part in digits.dataset.train)
    keep = (labels == 0) | (torch.cumsum(labels == 1, 0) <= (labels == 0).sum() // 3)
    digits.dataset = replace(digits.dataset, train=Images(images[keep], labels[keep]))
    digits.batch_size = 8
    model = GAN(digits.dataset.image_shape, 10, conditional=conditional, network="mlp", hidden=[4])

    def shares(model) -> list[float]:
        seen = []
        given = model._input
        model._input = lambda num, labels: seen.append(labels) or given(num, labels)
        model.sample(4000)
        return (torch.bincount(seen[0].cpu(), minlength=10) / 4000).tolist()

    assert shares(model) == pytest.approx([0.1] * 10, abs=0.03)  # nothing is known before training
    expected = (torch.bincount(digits.dataset.train.labels, minlength=10) / len(digits.dataset.train.labels)).tolist()
    assert expected[0] > 0.7 and expected[2:] == [0] * 8
    train(model, digits, 1).save_checkpoint(tmp_path / "gan.ckpt")
    assert shares(model.cpu()) == pytest.approx(expected, abs=0.03)
    again = GAN.load_from_checkpoint(tmp_path / "gan.ckpt", map_location="cpu")
    assert shares(again) == pytest.approx(expected, abs=0.03)
    # a checkpoint from before there were shares
    state = torch.load(tmp_path / "gan.ckpt", weights_only=True)
    del state["state_dict"]["class_fractions"]
    torch.save(state, tmp_path / "old.ckpt")
    old = GAN.load_from_checkpoint(tmp_path / "old.ckpt", map_location="cpu")
    assert shares(old) == pytest.approx([0.1] * 10, abs=0.03)


@pytest.mark.parametrize("arm", ["ada", "diffaug", "classic", "ae", "noise"])
def test_r1_passes_the_augmentation_twice(arm, digits):
    """Its gradient by the critic's weights, through each arm, is that of finite differences."""
    from lightning_genae.augment import Composition

    one = registry.load("lightning_genae.augment", arm)()
    augment = Composition({arm: one}, on="critic", fraction=0.7)
    if arm == "ae":
        encode = torch.nn.Linear(64, 64).requires_grad_(False)
        one.autoencoder = encode
        one.vary = lambda images, labels: encode(images.flatten(1)).tanh().reshape(images.shape)
    if arm == "noise":
        one.vary = lambda images, labels: images + 0.1 * torch.randn_like(images)
    model = GAN(digits.dataset.image_shape, 10, network="mlp", hidden=[4], r1=1.0, loss="wgan")
    model.critic_transform, model.log_part = augment.critic_transform, lambda *args, **options: None
    x = digits.dataset.train.images[:6].float() / 127.5 - 1

    def loss() -> torch.Tensor:
        torch.manual_seed(0)
        return model.loss_critic(x, torch.zeros(6).long())

    weight = model.critic.score.weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    change = torch.linspace(-1, 1, 4)[None]
    heights = []
    for step in (1e-2, -1e-2):
        weight.data += step * change
        heights.append(float(loss().detach()))
        weight.data -= step * change
    assert float((gradient * change).sum()) == pytest.approx((heights[0] - heights[1]) / 2e-2, rel=2e-3, abs=1e-5)
    assert all(weight.grad is None for weight in augment.parameters())


def test_r1_is_the_slope_at_the_image_before_its_augmentation():
    """Of a linear critic behind an image halved: half the slope."""
    weight = torch.randn(2, 4)
    images = torch.randn(5, 1, 2, 2, requires_grad=True)
    r1 = losses.r1(lambda x: x.flatten(1) @ weight[0], images, seen=0.5 * images)
    assert r1.item() == pytest.approx(float(weight[0].square().sum()) * 0.25 / 2, rel=1e-5)


def test_r1_every_third_batch_weighs_three_times_as_much(digits, monkeypatch):
    model = GAN(digits.dataset.image_shape, 10, network="mlp", hidden=[4], r1=0.5, r1_every=3)
    model.log_part = lambda *args, **options: None
    monkeypatch.setattr(losses, "r1", lambda *args, **options: torch.tensor(2.0))
    x = torch.zeros(4, 1, 8, 8)

    def loss(batches):
        monkeypatch.setattr(GAN, "batches", batches)
        torch.manual_seed(0)
        return model.loss_critic(x, torch.zeros(4).long()).item()

    without = loss(1)
    assert [loss(batches) - without for batches in range(5)] == pytest.approx([3, 0, 0, 3, 0], abs=1e-5)


def test_lecam_compares_with_the_averages_of_earlier_outputs(digits):
    """Of few batches the average is their mean; it is kept in checkpoints, and the loss grows by its weight."""
    model = GAN(digits.dataset.image_shape, 10, network="mlp", hidden=[4], lecam=0.3)
    parts = {}
    model.log_part = lambda name, value, **options: parts.setdefault(name, []).append(value.item())
    x = torch.randn(6, 1, 8, 8)
    for _ in range(4):
        model.loss_critic(x, torch.zeros(6).long())
    expected = [sum(parts[name]) / 4 for name in ("output_real", "output_fake")]
    assert model.state_dict()["mean_outputs"].tolist() == pytest.approx([*expected, 4], rel=1e-4)
    output_real, output_fake = torch.tensor([0.5]), torch.tensor([-0.5])
    model.mean_outputs.copy_(torch.tensor([0.0, 0.0, 1e9]))
    expected = losses.lecam(output_real, output_fake, torch.tensor(0.005), torch.tensor(-0.005))
    assert model._lecam(output_real, output_fake) == pytest.approx(expected.item())
    torch.manual_seed(0)
    averages, whole = model.mean_outputs.clone(), model.loss_critic(x, torch.zeros(6).long()).item()
    model.mean_outputs.copy_(averages)
    model.hparams["lecam"] = 0.0
    torch.manual_seed(0)
    assert whole - model.loss_critic(x, torch.zeros(6).long()).item() == pytest.approx(
        0.3 * parts["lecam"][-1], rel=1e-4
    )


def test_wgan_keeps_its_critics_weights_within_the_clip(digits):
    model = GAN(digits.dataset.image_shape, 10, loss="wgan", clip=0.02)
    train(model, digits, 3)
    assert max(weight.detach().abs().max() for weight in model.critic.parameters()) == pytest.approx(0.02)


def test_aegan_starts_from_an_autoencoder(digits, tmp_path):
    start = Autoencoder(digits.dataset.image_shape, 10)
    train(start, digits, 5).save_checkpoint(tmp_path / "ae.ckpt")
    model = VAEGAN(digits.dataset.image_shape, 10, variational=False, start=str(tmp_path / "ae.ckpt"))
    for network, original in ((model.generator, start.decoder), (model.encoder, start.encoder)):
        assert all(torch.equal(a, b.cpu()) for a, b in zip(network.parameters(), original.parameters()))
    train(model, digits, 2).save_checkpoint(tmp_path / "vaegan.ckpt")
    (tmp_path / "ae.ckpt").unlink()  # a trained model needs it no more
    again = VAEGAN.load_from_checkpoint(tmp_path / "vaegan.ckpt", map_location="cpu")
    assert torch.equal(again.generator[0].weight, model.generator[0].weight.cpu())
    train(VAE(digits.dataset.image_shape, 10), digits, 1).save_checkpoint(tmp_path / "vae.ckpt")
    for other in ({"start": "vae.ckpt"}, {"start": "vaegan.ckpt"}, {"start": "vaegan.ckpt", "variational": False}):
        with pytest.raises(ValueError, match=r"--model.start: expected an `ae` of the same images"):
            VAEGAN(digits.dataset.image_shape, 10, **other | {"start": str(tmp_path / other["start"])})
    with pytest.raises(ValueError, match=r"--model.start: expected an `ae` of the same images"):
        VAEGAN(digits.dataset.image_shape, 10, latent_dim=5, start=str(tmp_path / "vaegan.ckpt"))
    with pytest.raises(FileNotFoundError, match=r"--model.start: expected a checkpoint"):
        VAEGAN(digits.dataset.image_shape, 10, start=str(tmp_path / "ae.ckpt"))


def test_cogan_shares_layers_and_knows_no_pairs(digits):
    for num_shared in (0, 2):
        model = CoGAN(digits.dataset.image_shape, num_shared=num_shared)
        first, second = model.generator.first, model.generator.second
        assert sum(a is b for a, b in zip(first, second) if hasattr(a, "weight") and a.weight.dim() > 1) == num_shared
        assert (model.critic.first[-1] is model.critic.second[-1]) == (num_shared > 0)
        assert model.critic.first[0] is not model.critic.second[0]
    with pytest.raises(ValueError, match=r"--model.num_shared: expected at most 3, the layers there are; got 9"):
        CoGAN(digits.dataset.image_shape, num_shared=9)


def test_the_command_of_wgan_gps_paper():
    """lr 1e-4, decays 0 and 0.9, five updates of the critic, weight 10 (arXiv 1704.00028, algorithm 1)."""
    import run
    from lightning_genae.commands.parse import parse_run

    words = "--model gan --model.loss wgan-gp --model.n_critic 5 --model.lr 1e-4 --model.beta1 0 --model.beta2 0.9"
    docstring = " ".join(GAN.__doc__.split())
    assert words.removeprefix("--model gan ") in docstring
    config = parse_run(run.COMMAND_LINE, words.split())["model"]
    model = GAN((1, 8, 8), **{key: value for key, value in config.items() if key != "name"})
    assert model.penalty == 10 and model.game == "wgan" and model.clip is None and model.hparams.n_critic == 5
    for optimizer in model.configure_optimizers():
        assert optimizer.defaults["lr"] == 1e-4 and optimizer.defaults["betas"] == (0.0, 0.9)


@pytest.mark.parametrize("name", [name for name in MODELS if "arXiv" in registry.summary(PACKAGE, name)])
def test_help_says_where_a_model_deviates_from_its_papers(name, capsys):
    """Of every model whose file names its papers."""
    import run

    assert run.main(["--model", name, "--data", "digits" if name in IMAGES else "timeseries", "--help"]) == 0
    assert "Deviations:" in capsys.readouterr().out


def test_edges():
    x = torch.full((1, 1, 6, 6), -1.0)
    x[..., 3:] = 1  # a step over the whole range
    assert torch.equal(edges(x)[0, 0, 2], torch.tensor([-1.0, -1, 1, 1, -1, -1]))


def test_aae_refuses_a_line_for_a_roll():
    with pytest.raises(ValueError, match=r"--model.latent_dim: expected at least 2 for --model.prior swiss-roll"):
        MODELS["aae"]((1, 8, 8), latent_dim=1, prior="swiss-roll")


def test_the_kl_weight_rises_to_beta(digits):
    model = VAE(digits.dataset.image_shape, beta=8.0, warmup=4)
    weights = []
    original = model._kl_weight
    model._kl_weight = lambda: weights.append(original()) or weights[-1]
    train(model, digits, 6)
    assert weights == [2, 4, 6, 8, 8, 8]
