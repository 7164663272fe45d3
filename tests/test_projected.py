"""A projected critic through the real command: where its frozen network comes from, and what then measures."""

import json
from pathlib import Path

import pytest
import timm
import torch

from lightning_genae.augment.ae import trained_encoder
from lightning_genae.models.gan import GAN
from lightning_genae.nn import networks

PROJECTED = ("--model", "gan", "--model.critic", "projected", "--model.width", "2", "--steps", "4", "--logger", "none")
PIXELS = ("--metrics.features", "pixels")
CLASSIFIER = ("--metrics.features", "classifier")


def run(cli, *words: str) -> str:
    status, out, error = cli(*PROJECTED, "--folder", "run", *words)
    assert status == 0, error
    return out


def frozen_weights(start: str = "critic.features.") -> dict[str, torch.Tensor]:
    state = torch.load(Path("run", "checkpoints", "last.ckpt"), weights_only=True)["state_dict"]
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_autoencoder_is_trained_on_the_training_images_alone(cli, digits):
    run(cli, *PIXELS, "--data.num_train", "100", "--seed", "3")
    found = frozen_weights()
    run(cli, *PIXELS, "--data.num_train", "100", "--seed", "4", "--overwrite")
    assert not same(found, frozen_weights())  # of other images
    run(cli, *PIXELS, "--data.num_train", "100", "--seed", "3", "--overwrite", "--model.lr", "1e-3")
    assert same(found, frozen_weights())
    run(cli, *PIXELS, "--data.num_train", "100", "--seed", "3", "--overwrite", "--model.features", "untrained")
    assert not same(found, frozen_weights())
    assert found["network.0.weight"].shape == frozen_weights()["network.0.weight"].shape
    assert cli("sample", "run")[0] == 0
    assert cli("evaluate", "run")[0] == 0


def test_the_encoder_is_that_of_the_generators_side(digits, tmp_path, cache):
    """One autoencoder in the cache for both uses; what it learned lowers its error."""
    from lightning_genae.augment import Composition
    from lightning_genae.augment.ae import AutoencoderAugment

    dataset = digits.dataset
    options = {"accelerator": "cpu", "enable_progress_bar": False}
    encoder = trained_encoder(dataset, 20, **options)
    matching = AutoencoderAugment(steps=20)
    composed = Composition({"ae": matching})
    composed.check(dataset, GAN(dataset.image_shape, 10))
    matching.fit(dataset, **options)
    assert same(encoder.state_dict(), matching.autoencoder.encoder.state_dict())


def test_efficientnet_judges_no_samples_of_a_critic_that_sees_by_it(cli):
    out = run(cli, "--model.features", "efficientnet", "--data.num_train", "100")
    content = json.loads(Path("run", "results.json").read_text())
    assert content["protocol"]["extractor"] == "classifier"  # the default of labelled data
    published = timm.create_model("tf_efficientnet_lite0", features_only=True).state_dict()
    assert {name.removeprefix("network.") for name in frozen_weights()} == set(published)
    status, _, error = cli("evaluate", "run", "--metrics.features", "efficientnet")
    assert status == 2
    assert "--metrics.features: expected another network than efficientnet, by which the critic sees images" in error
    assert "Samples are measured by" not in out


def test_a_reconstruction_is_compared_by_the_same_network(cli, digits):
    """That of the projected critic of the same images; by efficientnet samples are then not measured either."""
    images = ("--data.num_train", "100", "--seed", "3")
    run(cli, *PIXELS, *images)
    found = frozen_weights()
    learned = ("--model.critic", "learned", "--model.reconstruct", "1", "--overwrite", "--model.features")
    run(cli, *PIXELS, *images, *learned, "autoencoder")
    assert same(found, frozen_weights("critic.reconstruction.seen_by."))
    assert cli("sample", "run")[0] == 0
    run(cli, *images, *learned, "efficientnet")
    status, _, error = cli("evaluate", "run", "--metrics.features", "efficientnet")
    assert status == 2 and "expected another network than efficientnet" in error


def test_another_network_measures_where_the_default_is_the_critics(cli, tmp_path):
    from PIL import Image

    for number in range(30):
        Image.new("RGB", (8, 8), (number * 8, 100, 255 - number * 8)).save(tmp_path / f"{number}.png")
    words = ("--data", "folder", "--data.root", str(tmp_path), "--data.heldout", "0.5", "--data.batch_size", "4")
    assert "Samples are measured by pixels, because the critic sees images by efficientnet" in run(
        cli, *words, "--model.features", "efficientnet"
    )
    assert json.loads(Path("run", "results.json").read_text())["protocol"]["extractor"] == "pixels"


def test_weights_that_nothing_sees_by_are_no_secret(caplog):
    GAN((1, 8, 8), width=2, features="resnet18", weights="w.pth")
    said = "--model.weights has no effect without --model.features NAME, of a network of timm, for the critic or for "
    said += "--model.reconstruct"
    assert caplog.messages[-1] == said and "--model.features has no effect without" in caplog.messages[-2]


def test_weights_of_a_network_of_timm(cli, tmp_path):
    torch.manual_seed(0)
    state = timm.create_model("resnet18").state_dict()
    torch.save(state, tmp_path / "weights.pth")
    words = (*PIXELS, "--data.num_train", "100", "--model.features", "resnet18", "--model.weights")
    run(cli, *words, str(tmp_path / "weights.pth"))
    found = frozen_weights()
    assert torch.equal(found["network.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    (tmp_path / "weights.pth").unlink()  # the checkpoint has them
    assert cli("sample", "run")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model.features", "resnet18"), "--model.weights: expected the file of the weights of resnet18; got none"),
        (
            ("--model.features", "efficientnet", "--model.weights", "w.pth"),
            "--model.weights: expected none for --model.features efficientnet, which comes with its own; got 'w.pth'",
        ),
        (("--model.features", "resnet18", "--model.weights", "w.pth"), "expected a file of weights, got 'w.pth'"),
        (
            ("--model.features", "resnet18", "--model.weights", "other.pth"),
            "'other.pth' is not of --model.features resnet18: expected weights such as 'conv1.weight' of (64, 3, 7, 7)",
        ),
        (
            ("--model.reconstruct", "1"),
            "--model.reconstruct: expected --model.critic learned; got 1.0 with a projected",
        ),
        (("--model.conditional", "projection"), "--model.conditional: expected --model.critic learned"),
    ],
)
def test_what_cannot_be_is_one_line(cli, words, message):
    torch.save({"conv1.weight": torch.zeros(3)}, "other.pth")
    status, output, error = cli(*PROJECTED, *CLASSIFIER, "--folder", "run", *words)
    assert status == 2 and "classifier" not in output  # which takes longer than to look
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not Path("run").exists()


def test_a_projected_critic_learns_to_tell_images_apart():
    """From noise, by its heads alone: hinge loss goes far below 2, that of a critic which knows nothing."""
    torch.manual_seed(0)
    critic = networks.ProjectedCritic(networks.frozen("untrained", (1, 16, 16)), (1, 16, 16), 8)
    optimizer = torch.optim.Adam([weight for weight in critic.parameters() if weight.requires_grad], 2e-3)
    squares = torch.full((32, 1, 16, 16), -1.0)
    squares[:, :, 4:12, 4:12] = 1.0
    for _ in range(60):
        noise = torch.rand(32, 1, 16, 16) * 2 - 1
        real, fake = critic(torch.cat([squares, noise])).chunk(2)
        loss = (1 - real).relu().mean() + (1 + fake).relu().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5
