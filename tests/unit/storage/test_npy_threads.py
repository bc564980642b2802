"""Headers of .npy files are parsed one at a time: CPython 3.11 may refuse good ones that threads parse at once."""

import io
import os
import threading

import numpy as np

from ecgfm.storage import npy


def test_one_at_a_time(monkeypatch):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 4), np.float32))
    parse, inside, most, both = npy.npy_format.read_array_header_1_0, [], [], threading.Barrier(4)

    def slow(file, **more):
        inside.append(1)
        most.append(len(inside))
        found = parse(file, **more)
        os.sched_yield()
        inside.pop()
        return found

    def read():
        both.wait()
        for _ in range(50):
            assert npy.read_header(io.BytesIO(buffer.getvalue()), path="x", field=None)[0] == (3, 4)

    monkeypatch.setattr(npy.npy_format, "read_array_header_1_0", slow)
    threads = [threading.Thread(target=read) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(most) == 200 and max(most) == 1


def test_a_child_has_a_lock_of_its_own():
    taken, done = threading.Event(), threading.Event()

    def hold():
        with npy._parsing:
            taken.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if npy._parsing.acquire(blocking=False) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        done.set()
        holder.join()
