"""What latents are worth, against closed forms and scikit-learn."""

import math
import sys
import types

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from lightning_genae.evaluation.fidelity import fidelity
from lightning_genae.evaluation.representation import plane, representation


class Linear(nn.Module):
    """PCA as a model."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, x, num_components):
        super().__init__()
        self.pca = PCA(num_components, svd_solver="full").fit(x.flatten(1).numpy())
        self.shape = x.shape[1:]

    def encode(self, x):
        return torch.from_numpy(self.pca.transform(x.flatten(1).numpy())).float()

    def reconstruct(self, x):
        flat = self.pca.inverse_transform(self.encode(x).numpy())
        return torch.from_numpy(flat).float().reshape(-1, *self.shape).clamp(-1, 1)


@pytest.fixture
def values(digits):
    x = digits.dataset.train.images.float() / 127.5 - 1
    return representation(Linear(x, 10), digits.dataset.train, digits.dataset.heldout, has_labels=True)


def test_pca_is_as_good_as_pca(values):
    assert values["num_components"] == 10
    for name in ("mse", "psnr", "ssim", "bits_per_dimension", "linear_probe", "knn"):
        assert values[name] == pytest.approx(values[f"{name}_pca"], abs=1e-3), name


def test_figures(values, digits):
    assert values["psnr"] == pytest.approx(10 * math.log10(4 / values["mse"]), abs=1e-3)
    assert 0.5 < values["ssim"] < 1
    x = digits.dataset.heldout.images.float() / 127.5 - 1
    variance = (x - x.mean(0)).square().mean().item()
    assert values["bits_per_dimension"] == pytest.approx(math.log2(variance / values["mse"]) / 2, abs=1e-4)
    flat = [split.images.flatten(1).numpy() for split in (digits.dataset.train, digits.dataset.heldout)]
    knn = (
        KNeighborsClassifier(5).fit(flat[0], digits.dataset.train.labels).score(flat[1], digits.dataset.heldout.labels)
    )
    assert values["knn_pixels"] == pytest.approx(knn, abs=5e-3)
    scale = StandardScaler().fit(flat[0])
    probe = LogisticRegression(max_iter=300).fit(scale.transform(flat[0]), digits.dataset.train.labels)
    expected = probe.score(scale.transform(flat[1]), digits.dataset.heldout.labels)
    assert values["linear_probe_pixels"] == pytest.approx(expected, abs=5e-3) and expected > 0.85


def test_fidelity_of_flat_images():
    """Of 0.5 and 0.1: squared error 0.16; PSNR of a range of 2, 10 log10(4 / 0.16); SSIM without any variance, which is
    (2 a b + c) / (a^2 + b^2 + c) with c = (0.01 * 2)^2."""
    values = fidelity(torch.full((2, 1, 12, 12), 0.5), torch.full((2, 1, 12, 12), 0.1))
    assert values["mse"] == pytest.approx(0.16)
    assert values["psnr"] == pytest.approx(10 * math.log10(4 / 0.16), rel=1e-5)
    assert values["ssim"] == pytest.approx((0.1 + 4e-4) / (0.26 + 4e-4), rel=1e-3)


def test_without_labels_there_are_no_accuracies(digits):
    x = digits.dataset.train.images.float() / 127.5 - 1
    values = representation(Linear(x, 3), digits.dataset.train, digits.dataset.heldout, has_labels=False)
    assert not any("probe" in name or "knn" in name for name in values)


def test_plane(monkeypatch):
    latents = torch.randn(50, 4) * torch.tensor([5.0, 3, 0.1, 0.1])
    monkeypatch.setitem(sys.modules, "umap", None)  # as if it were not installed
    places = plane(latents)
    assert set(places) == {"PCA of the latents"}
    assert places["PCA of the latents"].var(0).tolist() == pytest.approx(latents.var(0)[:2].tolist(), rel=0.1)
    assert plane(latents[:, :1])["latents"].shape == (50, 2)
    assert torch.equal(plane(latents[:, :2])["latents"], latents[:, :2])

    class UMAP:
        def __init__(self, **options):
            pass

        def fit_transform(self, flat):
            return np.zeros((len(flat), 2))

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    assert set(plane(latents)) == {"PCA of the latents", "UMAP of the latents"}
