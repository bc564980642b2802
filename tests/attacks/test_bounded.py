"""The measuring itself: a process that takes too much, waits or dies is told from one that refuses."""

import pytest
from bounded import attack


def test_refusal(tmp_path):
    ended = attack("ecgfm.read('none.npy')", tmp_path)
    ended.refused("none.npy", "no such file")
    assert ended.path == "none.npy"


def test_command(tmp_path):
    attack("command('predict', 'none.pt', 'none.npy')", tmp_path).said_one_line(2)


def test_other_exceptions_are_no_refusal(tmp_path):
    ended = attack("1 / 0", tmp_path)
    with pytest.raises(AssertionError, match="not refused"):
        ended.refused()


def test_memory_is_measured(tmp_path):
    with pytest.raises(AssertionError, match="MB"):
        attack("a = np.ones(100_000_000, np.float64)", tmp_path).bounded()


def test_processor_time_is_bounded(tmp_path):
    with pytest.raises(AssertionError, match="signal"):
        attack("while True: pass", tmp_path, cpu_s=1).bounded()
