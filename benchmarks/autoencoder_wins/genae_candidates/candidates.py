"""The candidates: terms that are added to the losses of a GAN, each with its controls."""

import math
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genae_candidates.codes import Codes, fitted
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import to_float


class Round(NamedTuple):
    """What a critic's update saw.

    Attributes:
        x: real images (B, C, H, W) in [-1, 1], before augmentation.
        fake: generated images (B, C, H, W), before augmentation.
        features: of the critic, of the augmented real and then generated images, (2B, F).
        critic: itself.
        labels: classes (B,).
    """

    x: Tensor
    fake: Tensor
    features: Tensor
    critic: nn.Module
    labels: Tensor


class Candidate(nn.Module):
    """Terms of the losses of both players; its weights learn with the critic's.

    Args:
        image_shape: (C, H, W).
        num_features: length of the critic's features.
        num: of codes.
        permuted: control: codes of other images.
    """

    needs_codes: ClassVar[bool] = True
    codes: Codes

    def __init__(self, image_shape: tuple[int, int, int], num_features: int, num: int, permuted: bool):
        super().__init__()
        self.image_shape, self.num_features, self.num, self.permuted = image_shape, num_features, num, permuted

    def fit(self, codes: Codes | None, dataset: Dataset) -> None:
        """Gets the codes; `dataset.train` alone may be used."""
        self.__dict__["codes"] = codes  # frozen and made anew for every run: not among the weights

    def begin(self, generator: nn.Module, dataset: Dataset) -> None:
        """Changes the generator before its first batch."""

    def transform(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), all real or all generated, as they go to the critic's augmentation."""
        return images

    def critic_term(self, seen: Round) -> Tensor | None:
        """A scalar. None: nothing for this batch."""

    def generator_term(self, fake: Tensor) -> Tensor | None:
        """A scalar, of generated images (B, C, H, W). None: nothing for this batch."""


class Moments(Candidate):
    """Latent Frechet loss: mean and covariance of codes of generated images, over a queue, to those of real ones."""

    queue: Tensor
    filled: Tensor
    size = 1024

    def __init__(self, *args: object):
        super().__init__(*args)
        self.register_buffer("queue", torch.zeros(self.size, self.num))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def fit(self, codes: Codes, dataset: Dataset) -> None:
        super().fit(codes, dataset)
        self.__dict__["wanted"] = (codes.bank.mean(0), torch.cov(codes.bank.T))

    def generator_term(self, fake: Tensor) -> Tensor:
        u = self.codes(fake)
        known = int(self.filled)
        both = torch.cat([u, self.queue[: min(known, self.size - len(u))]])
        mean, covariance = self.wanted
        distance = (both.mean(0) - mean).square().sum() + (torch.cov(both.T) - covariance).square().sum()
        self.queue.copy_(torch.cat([u.detach(), self.queue])[: self.size])
        self.filled.copy_(torch.tensor(min(known + len(u), self.size)))
        # the gradient is that of this batch alone: as if the whole queue were of this generator
        return distance / self.num * (len(both) / len(u))


class Predict(Candidate):
    """The critic's features predict the codes of the clean image, real or generated, from its augmented view."""

    def __init__(self, *args: object):
        super().__init__(*args)
        self.head = nn.Linear(self.num_features, self.num)

    def critic_term(self, seen: Round) -> Tensor:
        with torch.no_grad():
            wanted = self.codes(torch.cat([seen.x, seen.fake]))
        if self.permuted:
            wanted = wanted[torch.randperm(len(wanted))]
        return F.mse_loss(self.head(seen.features).float(), wanted)


class Reconstruct(Candidate):
    """The critic's features are decoded to the clean image in half size, from its augmented view; real images alone."""

    needs_codes = False

    def __init__(self, *args: object):
        super().__init__(*args)
        self.head = nn.Linear(self.num_features, math.prod(self.image_shape) // 4)

    def critic_term(self, seen: Round) -> Tensor:
        wanted = F.avg_pool2d(seen.x, 2).flatten(1)
        if self.permuted:
            wanted = wanted[torch.randperm(len(wanted))]
        return F.mse_loss(self.head(seen.features[: len(wanted)]).float(), wanted)


class Mix(Candidate):
    """Feature statistics mixed with those of the nearest other image by codes (FSMR, Kim et al. 2022, arXiv
    2112.01101, which draws partners at random), and a penalty on the change of the critic's output."""

    def critic_term(self, seen: Round) -> Tensor:
        terms = [self._change(seen.critic, images) for images in (seen.x, seen.fake)]
        return torch.stack(terms).mean()

    def _change(self, critic: nn.Module, images: Tensor) -> Tensor:
        partner = torch.randperm(len(images))
        if not self.permuted:
            distances = torch.cdist(*[self.codes(images)] * 2)
            partner = distances.fill_diagonal_(torch.inf).argmin(1)
        plain = mixed = images
        for layer in critic.features:
            plain, mixed = layer(plain), layer(mixed)
            if isinstance(layer, nn.LeakyReLU) and mixed.dim() == 4:
                mixed = _restyled(mixed, partner)
        outputs = [critic.score(features).squeeze(1) for features in (plain, mixed)]
        return (outputs[0] - outputs[1]).float().square().mean()


class Consistency(Candidate):
    """The critic gives an image and its variation the same output (bCR, Zhao et al. 2020, arXiv 2002.04724), for half a
    batch. Variations are dec(z') - dec(z) of codes with noise, of ae or pca; permuted: translations."""

    def fit(self, codes: Codes, dataset: Dataset) -> None:
        super().fit(codes, dataset)
        name = "diffaug" if self.permuted else codes.encoder
        options = {"colour": False, "cutout": 0.0} if self.permuted else {"strength": 0.5}
        self.__dict__["vary"] = fitted(name, options, dataset).vary

    def critic_term(self, seen: Round) -> Tensor:
        half = len(seen.x) // 2
        images = torch.cat([seen.x[:half], seen.fake[:half]])
        with torch.no_grad():
            varied = self.vary(images.float(), None)
        first, second = seen.critic(torch.cat([images, varied]), seen.labels[:half].repeat(4)).chunk(2)
        return (first - second).float().square().mean()


class Swap(Candidate):
    """Half of the images exchange what the autoencoder cannot express: dec(enc(x_i)) + x_j - dec(enc(x_j)). Permuted:
    what a blur takes away instead."""

    fraction = 0.5

    def transform(self, images: Tensor) -> Tensor:
        coarse = self._blurred(images) if self.permuted else self.codes.reconstruct(images)
        order = torch.randperm(len(images), device=images.device)
        chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < self.fraction
        return torch.where(chosen, coarse + (images - coarse)[order], images)

    @staticmethod
    def _blurred(images: Tensor) -> Tensor:
        return F.interpolate(F.avg_pool2d(images, 2), size=images.shape[2:], mode="bilinear")


class Warm(Candidate):
    """The generator begins as the decoder of the codes: for 1,000 batches it learns to make training images of theirs,
    which are white like its noise. Permuted: of codes of other images."""

    steps, batch_size, lr, noise = 1000, 32, 1e-3, 0.3

    def begin(self, generator: nn.Module, dataset: Dataset) -> None:
        codes, images = self.codes.bank, dataset.train.images
        codes = codes[torch.randperm(len(codes))] if self.permuted else codes
        optimizer = torch.optim.Adam(generator.parameters(), self.lr, betas=(0.5, 0.999), fused=True)
        for _ in range(self.steps):
            chosen = torch.randint(len(codes), (self.batch_size,))
            z = codes[chosen] + self.noise * torch.randn(self.batch_size, codes.shape[1])
            loss = F.mse_loss(generator(z).tanh(), to_float(images[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _restyled(maps: Tensor, partner: Tensor) -> Tensor:
    """Feature maps (B, C, H, W) whose means and deviations are, to a random part, those of the partners (B,)."""
    mean, std = maps.mean((2, 3), keepdim=True), maps.std((2, 3), keepdim=True) + 1e-3
    styled = (maps - mean) / std * std[partner] + mean[partner]
    return maps.lerp(styled, torch.rand(len(maps), 1, 1, 1, device=maps.device, dtype=maps.dtype))
