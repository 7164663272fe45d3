"""Files that stay whole, and checkpoints that can be gone back to."""

import errno
import os
from pathlib import Path

import pytest
import torch

from lightning_genae import checkpoints
from lightning_genae.checkpoints import WholeCheckpoints, newest, not_finite, restored
from lightning_genae.files import replacing, write_text
from lightning_genae.models.ae import Autoencoder


def state(value: float) -> dict:
    return {"state_dict": {"weight": torch.full((3,), value)}, "hyper_parameters": {}}


def save(value: float) -> None:
    WholeCheckpoints().save_checkpoint(state(value), "checkpoints/last.ckpt")


def value_of(found: tuple[Path, dict]) -> tuple[str, float]:
    return found[0].name, float(found[1]["state_dict"]["weight"][0])


def test_what_fails_while_it_is_written_leaves_the_old_file():
    write_text("a.txt", "old")
    with pytest.raises(OSError, match="full"), replacing("a.txt") as unfinished:
        unfinished.write_text("ne")
        assert unfinished.parent == Path(".") and Path("a.txt").read_text() == "old"
        raise OSError(errno.ENOSPC, "full")
    assert [path.name for path in Path().iterdir() if path.name != "netrc"] == ["a.txt"]
    assert Path("a.txt").read_text() == "old"
    write_text("a.txt", "new")
    assert Path("a.txt").read_text() == "new"


def test_torch_that_meets_a_full_disk_is_understood():
    """It says something of positions in a file instead; seen on file systems that were full."""
    with pytest.raises(OSError, match=r"No space left on device: 'a.ckpt'"), replacing("a.ckpt"):
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 768 vs 662")
    with pytest.raises(RuntimeError, match="of its own"), replacing("a.ckpt"):
        raise RuntimeError("of its own")


def test_a_file_is_on_the_disk_before_it_takes_its_place_and_its_name_after(monkeypatch):
    """After a loss of power there is the old file or the new one, not an empty one."""
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("replace") or replace(a, b))
    write_text("a.txt", "new")
    here = os.getcwd()
    assert done == [f"{here}/a.txt.unfinished", "replace", here]


def test_the_checkpoint_before_is_kept(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nowhere")  # nothing is written there
    assert newest(Path("checkpoints")) is None
    for value in (1.0, 2.0, 3.0):
        save(value)
    assert value_of(newest(Path("checkpoints"))) == ("last.ckpt", 3)
    Path("checkpoints/last.ckpt").unlink()
    assert value_of(newest(Path("checkpoints"))) == ("before.ckpt", 2)


@pytest.mark.parametrize("num_moves", [0, 1])
def test_a_kill_while_a_checkpoint_is_replaced_leaves_one(monkeypatch, num_moves):
    save(1.0)
    save(2.0)
    moves, replace = [], os.replace

    def stop(a, b):
        if len(moves) == num_moves:
            raise KeyboardInterrupt  # as a kill, it lets nothing be tidied up
        moves.append(replace(a, b))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop)
        save(3.0)
    assert value_of(newest(Path("checkpoints"))) == (("last.ckpt", 2), ("before.ckpt", 2))[num_moves]
    save(4.0)
    assert value_of(newest(Path("checkpoints"))) == ("last.ckpt", 4)
    assert not list(Path().rglob("*.unfinished"))


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(caplog, length):
    save(1.0)
    save(2.0)
    last = Path("checkpoints/last.ckpt")
    content = last.read_bytes()
    last.write_bytes(content[:length])
    caplog.set_level("INFO")
    assert value_of(newest(Path("checkpoints"))) == ("before.ckpt", 1)
    assert "'checkpoints/last.ckpt' is damaged (" in caplog.text and "before.ckpt', is taken" in caplog.text
    Path("checkpoints/before.ckpt").write_text("junk")
    with pytest.raises(ValueError, match=r"before.ckpt' is damaged \(.*--overwrite, starts it anew"):
        newest(Path("checkpoints"))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_what_may_not_be_read_is_not_called_damaged(monkeypatch, error):
    save(1.0)

    def load(*args, **options):
        raise error

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(type(error), match=rf"last.ckpt' cannot be read \({error.strerror}\)"):
        newest(Path("checkpoints"))


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_full_gpu_damages_no_file(monkeypatch, error):
    save(1.0)
    monkeypatch.setattr(torch, "load", lambda *args, **options: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        newest(Path("checkpoints"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_saved(bad):
    save(1.0)
    with pytest.raises(FloatingPointError, match=r"state_dict.weight is not finite, and is not saved"):
        save(bad)
    optimizer = {"optimizer_states": [{"state": {0: {"exp_avg": torch.tensor([1.0, bad])}}}]}
    with pytest.raises(FloatingPointError, match=r"optimizer_states.0.state.0.exp_avg is not finite"):
        WholeCheckpoints().save_checkpoint(state(1.0) | optimizer, "checkpoints/last.ckpt")
    assert value_of(newest(Path("checkpoints"))) == ("last.ckpt", 1)
    assert not_finite({"a": [torch.ones(2), torch.arange(3)], "b": (bad, "words")}) is None


def test_a_checkpoint_of_other_code_is_not_called_damaged():
    model = Autoencoder((1, 8, 8), 10, latent_dim=3)
    whole = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    found = restored("--folder", "some.ckpt", Autoencoder, whole)
    assert torch.equal(next(found.parameters()), next(model.parameters())) and not found.training
    for changed in (
        {**whole, "hyper_parameters": {**model.hparams, "latent_dim": 4}},
        {**whole, "hyper_parameters": {**model.hparams, "an_old_option": 4}},
        {**whole, "state_dict": {}},
    ):
        with pytest.raises(ValueError, match=r"expected a checkpoint of Autoencoder as its code is now, got 'some"):
            restored("--folder", "some.ckpt", Autoencoder, changed)


def test_a_checkpoint_that_is_no_mapping_is_damaged():
    Path("checkpoints").mkdir()
    torch.save([1, 2], "checkpoints/last.ckpt")
    with pytest.raises(ValueError, match=r"is damaged \(it holds no weights of a model\)"):
        checkpoints.newest(Path("checkpoints"))
