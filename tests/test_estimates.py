"""What is said before something that takes long, by a clock that is set by hand."""

import pytest

from lightning_genae import estimates
from lightning_genae.estimates import Estimate, estimated


@pytest.fixture
def clock(monkeypatch):
    """Seconds; a test lets them pass."""

    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(estimates, "time", clock)
    return clock


@pytest.fixture
def said(caplog):
    """Returns the lines that were said, and when."""
    caplog.set_level("INFO", "lightning_genae")
    return lambda: caplog.messages


def work(clock, seconds, num, **options):
    """The seconds since the start after each of `num` parts, until something was said."""
    start, estimate = clock.now, Estimate("Something, of 7 things", num, **options)
    for part in range(num):
        clock.now += seconds(part)
        estimate.update()
        if estimate.said:
            return clock.now - start
    return None


@pytest.mark.parametrize("each", [0.001, 0.1, 0.6, 2.4, 4.9])
def test_long_work_is_announced_within_five_seconds(clock, said, each):
    num = round(60 / each)
    assert work(clock, lambda part: each, num) <= 5
    assert said() == ["Something, of 7 things; about 60 s"] or each > 2
    assert said()[0].startswith("Something, of 7 things; about ")


def test_the_first_part_warms_up_and_does_not_count(clock, said):
    work(clock, lambda part: 0.1 if part else 1.0, 200)
    assert said() == ["Something, of 7 things; about 21 s"]


def test_short_work_is_not_announced(clock, said):
    assert work(clock, lambda part: 0.01, 400) is None
    assert not said()


def test_short_work_that_is_always_named_has_no_time(clock, said):
    work(clock, lambda part: 0.01, 400, always=True)
    assert said() == ["Something, of 7 things"]
    Estimate("Nothing", 5, always=True).close()
    assert said()[-1] == "Nothing"


def test_work_that_slows_down_is_announced_after_all(clock, said):
    work(clock, lambda part: 0.1 if part < 20 else 1.0, 40)
    assert len(said()) == 1


def test_what_may_end_sooner_and_what_is_known_beforehand(clock, said):
    work(clock, lambda part: 1.0, 300, at_most=True)
    assert said() == ["Something, of 7 things; at most about 5 minutes"]
    Estimate("More", 3, seconds=7000)
    Estimate("Less", 3, seconds=4)
    assert said()[1:] == ["More; about 1.9 hours"]


def test_parts_pass_unchanged_and_the_bar_comes_with_what_is_long(clock, said, capsys):
    assert list(estimated(iter("abc"), "Letters", 3)) == ["a", "b", "c"]
    assert not said() and "Letters" not in capsys.readouterr().err


def test_long_work_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(estimates, "LONG", 0.0)
    for _ in estimated(range(3), "Letters, of a book", 3, unit="letter"):
        pass
    assert "Letters: 100%" in capsys.readouterr().err


def test_work_that_ends_early_is_closed(clock, said):
    for _ in estimated(range(1000), "Looking", 1000, always=True):
        break
    assert said() == ["Looking"]
