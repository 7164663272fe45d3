"""The results of a run in words."""

from lightning_genae.run_folder import RunFolder


def gate(quality: dict) -> list[str]:
    """The quality gate of an augmentation in words."""
    if not quality:
        return []
    q = quality
    return [
        f"Quality gate: reconstruction error on held-out images {q['mse_heldout']:.4f}, "
        f"PCA with {q['num_components']} components {q['mse_pca']:.4f} (squared, per pixel)",
        f"  Frechet distance to held-out images: originals {q['fd_originals']:.3g}, decoded {q['fd_decoded']:.3g}, "
        f"variations {q['fd_variations']:.3g}",
        f"  a variation is {q['distance_to_original']:.3f} from its original and "
        f"{q['distance_to_nearest_other']:.3f} from the nearest other image (root mean square, per pixel)",
    ]


def table(metrics: dict, protocol: dict) -> list[str]:
    """Metrics as text."""
    rows = [
        ("", "Frechet distance", "KID"),
        (f"to {protocol['n_heldout']:,} held-out images", f"{metrics['fd']:.3f}", f"{metrics['kid']:.5f}"),
        (f"to {protocol['n_train']:,} training images", f"{metrics['fd_train']:.3f}", f"{metrics['kid_train']:.5f}"),
        ("real training images to held-out", f"{protocol['fd_of_real_training_images']:.3f}", ""),
    ]
    lines = [f"  {name:34}{distance:>18}{kernel:>12}" for name, distance, kernel in rows]
    if "mse" in metrics:
        lines.append(f"  reconstruction error of held-out images {metrics['mse']:.4f} (squared, per pixel)")
    features = f"{protocol['extractor']} {protocol['weights']}"
    return [f"{protocol['n_fake']:,} samples ({protocol['generator']} weights), in the features of {features}:", *lines]


def report(folder: RunFolder) -> str:
    """The end of a run: its results, its pictures, what to do next."""
    results, config = folder.results, folder.config
    timing = results["timing"]
    model, augment, data = (config[key]["name"] for key in ("model", "augment", "data"))
    lines = [
        "",
        f"{model} on {data}, augmentation {augment}, seed {config['seed']}: {timing['images']:,} images in "
        f"{timing['seconds']:.0f} s, {timing['images_per_second']:,.0f} images/s",
        *table(results["metrics"], results["protocol"]),
        *gate(results["augment"]),
        "",
        "Pictures:",
    ]
    for name in ("samples", "reconstructions", "augmented"):
        lines += [f"  {path}" for path in sorted((folder.path / name).glob("*.png"))[-1:]]
    other = "none" if augment != "none" else "ae"
    elsewhere = f" --folder {folder.path}-{other}" if config["folder"] else ""
    lines += ["", "Next, the arm to compare with, and more samples:"]
    lines.append(f"  python run.py --config {folder.path / 'config.yaml'} --augment {other}{elsewhere}")
    lines.append(f"  python run.py sample {folder.path} --num 256")
    return "\n".join(lines)
