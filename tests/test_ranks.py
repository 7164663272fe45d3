"""Several processes: what the first one gets, and that nobody's work is ended because the others wait for it."""

import json
import subprocess
import sys

import pytest
import torch

from lightning_genae import ranks
from tests import ranks_job


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs torch.distributed with gloo")
def test_the_first_gets_all_parts_and_is_waited_for_beyond_the_limit_of_collectives(tmp_path):
    subprocess.run([sys.executable, ranks_job.__file__, tmp_path], check=True, timeout=100, capture_output=True)
    first, *others = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(len(ranks_job.SIZES)))
    of_all = [rank + 3 * i for rank, size in enumerate(ranks_job.SIZES) for i in range(size)]
    assert first["together"] == of_all and not any(other["together"] for other in others)
    assert all(4.5 < one["waited"] < 9 for one in (first, *others))
    assert all(other["barrier"] == "timed out" for other in others)  # as a barrier would have been


def test_one_process_waits_for_nobody():
    ranks.wait_for_first()
