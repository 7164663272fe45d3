"""Games that are lost are reported by name."""

from types import SimpleNamespace

import pytest
import torch

from callbacks import health
from callbacks.health import Health, diversity
from lightning_genae import registry
from lightning_genae.models._two_players import TwoPlayers
from tests.data import dataset_of


class Model(torch.nn.Module):
    """Samples that differ by `spread`, and a critic that is right as often as `critic_accuracy` says."""

    device = torch.device("cpu")

    def __init__(self, spread: float, accuracy: float):
        super().__init__()
        self.spread = spread
        self.critic_accuracy = torch.tensor(accuracy)

    def sample(self, num, labels=None):
        return (self.spread * torch.randn(num, 1, 4, 4)).clamp(-1, 1)


def watch(watched: Health, model: Model, batches: range) -> None:
    real = 0.5 * torch.randn(1000, 1, 4, 4)
    datamodule = SimpleNamespace(batches=0, dataset=dataset_of(torch.zeros(2, 1, 4, 4)))
    datamodule.examples = lambda part, num: (real[:num].clamp(-1, 1), None)
    trainer = SimpleNamespace(datamodule=datamodule, is_global_zero=True)
    watched.on_train_start(trainer, model)
    for datamodule.batches in batches:
        watched.on_train_batch_end(trainer, model)


@pytest.mark.parametrize(
    "spread, accuracy, said",
    [(0.4, 0.9, []), (0.03, 0.9, ["the generator has collapsed"]), (0.4, 0.999, ["the critic has won"])],
)
def test_what_is_wrong_is_said_once(caplog, spread, accuracy, said):
    caplog.set_level("INFO")
    watched = Health(2000)
    watch(watched, Model(spread, accuracy), range(1, 2001))
    assert [one["what"].partition(":")[0] for one in watched.warnings] == said
    assert [one["batch"] for one in watched.warnings] == [400] * len(said)
    assert caplog.text.count("WARNING") == len(said)
    if spread == 0.03:
        assert "samples differ by 6" in caplog.text  # 0.03 / 0.5, which clamping makes a little less


def test_of_large_images_fewer_are_looked_at(monkeypatch):
    asked = []
    monkeypatch.setattr(health, "draw", lambda model, num, seed: asked.append(num) or torch.rand(num, 1, 4, 4))
    datamodule = SimpleNamespace(dataset=dataset_of(torch.zeros(1, 1, 1, 1).expand(2, 3, 512, 512)), batches=400)
    datamodule.examples = lambda split, num: asked.append(num) or (torch.rand(num, 1, 4, 4), None)
    trainer = SimpleNamespace(datamodule=datamodule, is_global_zero=True)
    watched = Health(2000)
    watched.on_train_start(trainer, Model(0.4, 0.9))
    watched.on_train_batch_end(trainer, Model(0.4, 0.9))
    assert asked == [2**25 // (3 * 512 * 512)] * 2


def test_nothing_is_said_of_a_game_that_has_hardly_begun():
    watched = Health(100)
    watch(watched, Model(0.0, 1.0), range(1, 101))
    assert watched.warnings == []


def test_what_is_over_is_said_too_and_a_resumed_run_does_not_repeat_itself(caplog):
    caplog.set_level("INFO")
    watched = Health(2000)
    watch(watched, Model(0.0, 0.9), range(1, 500))
    resumed = Health(2000)
    resumed.load_state_dict(watched.state_dict())
    watch(resumed, Model(0.0, 0.9), range(500, 700))
    assert len(resumed.warnings) == 1
    watch(resumed, Model(0.4, 0.9), range(700, 900))
    assert "After 700 batches this is over: collapsed" in caplog.text


def test_diversity_is_the_root_of_the_mean_variance():
    images = torch.tensor([[0.0, 1.0], [0.0, 3.0], [0.0, 5.0]]).reshape(3, 1, 1, 2)
    assert diversity(images) == pytest.approx((4 / 2) ** 0.5)


@pytest.mark.parametrize("name", registry.names("lightning_genae.models"))
def test_critics_that_tell_real_from_generated_are_scored(digits, name):
    model_class = registry.load("lightning_genae.models", name)
    if not issubclass(model_class, TwoPlayers) or name in ("began", "ebgan"):  # whose critics are autoencoders
        return
    model = model_class(digits.dataset.image_shape, 10)
    model.log_part = lambda *args, **options: None
    x, labels = digits.dataset.train.images[:8].float() / 127.5 - 1, digits.dataset.train.labels[:8]
    model.loss_critic(x, labels)
    assert 0 <= float(model.critic_accuracy) <= 1


def test_accuracy_is_the_share_that_is_right():
    model = SimpleNamespace()
    TwoPlayers.score(model, torch.tensor([0.6, 0.4, 0.9, 0.8]), torch.tensor([0.1, 0.7]), decision_threshold=0.5)
    assert float(model.critic_accuracy) == pytest.approx((3 / 4 + 1 / 2) / 2)
