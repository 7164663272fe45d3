"""The quality of a model's latents, compared with as many principal components and with the pixels."""

import torch
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from lightning_genae.data.storage import as_input, blocks, num_at_once, to_float
from lightning_genae.evaluation.fidelity import fidelity
from lightning_genae.evaluation.models import Encoding

MAX_VALUES = 2**25  # of the images that PCA and the classifiers learn from: 256 MB in float64, and many copies
Images = tuple[Tensor, Tensor]  # stored images (N, C, H, W) and their labels (N,)


@torch.no_grad()
def encode(model: Encoding, images: Tensor) -> Tensor:
    """Latents (N, d) of stored images (N, C, H, W), on the CPU."""
    return torch.cat([model.encode(as_input(model, part)).float().cpu() for part in blocks(images, 500)])


def representation(model: Encoding, train: Images, heldout: Images, has_labels: bool, max_images: int = 5000) -> dict:
    """Measures of reconstructions of held-out images and of class information in their latents, by name.

    `mse` per pixel in [-1, 1]; `psnr` in dB; `ssim`; `bits_per_dimension`, log2(variance / mse) / 2, the rate at which
    a gaussian source of the images' variance can be coded with that error; the accuracies of `linear_probe` (logistic
    regression on standardised latents) and `knn` (5 nearest neighbours). Each for the model and, with the suffix
    `_pca`, for as many principal components; the accuracies also for the pixels, `_pixels`.

    Args:
        model: with `encode`, `decode` and `reconstruct`.
        train: training images of the model, to which PCA and the classifiers are fitted.
        heldout: images to measure.
        has_labels: whether the labels are classes.
        max_images: of each split, the first ones; fewer for images of more than 6,700 values.
    """
    num = num_at_once(train[0].shape[1:], max_images, MAX_VALUES)
    train, heldout = ((images[:num], labels[:num]) for images, labels in (train, heldout))
    x_train, x = (to_float(split[0]) for split in (train, heldout))
    x_hat = torch.cat([model.reconstruct(as_input(model, part)).float().cpu() for part in blocks(heldout[0], 500)])
    latents_train, latents = encode(model, train[0]), encode(model, heldout[0])
    pca = PCA(min(latents.shape[1], len(x_train) - 1, x[0].numel()), svd_solver="full").fit(x_train.flatten(1).numpy())
    components_train, components = (torch.from_numpy(pca.transform(part.flatten(1).numpy())) for part in (x_train, x))
    x_hat_pca = torch.from_numpy(pca.inverse_transform(components.numpy())).reshape(x.shape).clamp(-1, 1)
    values = {"num_components": pca.n_components_}
    values |= _fidelity(x, x_hat, "") | _fidelity(x, x_hat_pca, "_pca")
    if has_labels:
        values |= _accuracies(latents_train, train[1], latents, heldout[1], "")
        values |= _accuracies(components_train, train[1], components, heldout[1], "_pca")
        values |= _accuracies(x_train.flatten(1), train[1], x.flatten(1), heldout[1], "_pixels")
    return values


def plane(latents: Tensor) -> dict[str, Tensor]:
    """Latents (N, d) projected to the plane, (N, 2), by the title of the picture.

    Unchanged if d = 2, otherwise by PCA, and by UMAP (arXiv 1802.03426) if it is installed.
    """
    flat = latents.numpy() if latents.shape[1] > 1 else latents.expand(-1, 2).numpy()
    if flat.shape[1] == 2:
        return {"latents": torch.from_numpy(flat)}
    projections = {"PCA of the latents": torch.from_numpy(PCA(2).fit_transform(flat))}
    try:
        from umap import UMAP
    except ImportError:
        return projections
    num_threads = torch.get_num_threads()
    projections["UMAP of the latents"] = torch.from_numpy(UMAP(random_state=0, n_jobs=1).fit_transform(flat))
    torch.set_num_threads(num_threads)  # numba, which UMAP uses, takes all cores for the whole process
    return projections


def _fidelity(x: Tensor, x_hat: Tensor, suffix: str) -> dict[str, float]:
    values = fidelity(x, x_hat)
    values["bits_per_dimension"] = float((x - x.mean(0)).square().mean().div(values["mse"]).log2() / 2)
    return {f"{name}{suffix}": value for name, value in values.items()}


def _accuracies(
    train: Tensor, labels_train: Tensor, test: Tensor, labels_test: Tensor, suffix: str
) -> dict[str, float]:
    classifiers = {
        "linear_probe": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        "knn": KNeighborsClassifier(5),
    }
    with config_context(enable_cython_pairwise_dist=False):  # it takes gigabytes for neighbours of large images
        return {
            f"{name}{suffix}": float(
                classifier.fit(train.numpy(), labels_train.numpy()).score(test.numpy(), labels_test)
            )
            for name, classifier in classifiers.items()
        }
