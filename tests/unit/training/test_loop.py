"""The loop over epochs: the order of what happens, updates without batches, where it begins, how it ends."""

import pytest

import ecgfm
from ecgfm.training.callbacks import Callback, Place
from ecgfm.training.loop import Loop, fit

EVENTS = [name for name in vars(Callback) if not name.startswith("_")]


class Ranks:
    """This rank among others, which have done as much as is said."""

    size = 2

    def __init__(self, *others):
        self._others = list(others)

    def gather(self, value):
        return [value, *(self._others[:1] and [self._others.pop(0)])]


class Trainer:
    """Writes down what is asked of it."""

    def __init__(self, said, applied=True, communicator=None):
        self.said, self.applied, self.num_updates, self.epoch = said, applied, 0, None
        self.communicator = communicator or Ranks()

    def accumulate(self, batch):
        self.said.append(batch)

    def accumulate_nothing(self):
        self.said.append("nothing")

    def update(self):
        self.num_updates += self.applied
        self.said.append("update")
        return {"applied": self.applied, "loss": 1.0, "sample_size": 1, "gnorm": float("nan"), "lr": 1e-3}


class Feed:
    """Batches by epoch; None for one whose segments are damaged."""

    def __init__(self, *epochs):
        self._epochs = epochs

    def __len__(self):
        return len(self._epochs[0])

    def epoch(self, number, start=0):
        return (None if name is None else (name,) for name in self._epochs[number - 1][start:])


class Says(Callback):
    """Writes down each event; asks for what it was told to ask for."""

    def __init__(self, said, **asked):
        self.said, self.asked = said, asked

    def __getattribute__(self, event):
        if event not in EVENTS:
            return super().__getattribute__(event)

        def method(course):
            self.said.append(event)
            for switch in self.asked.get(event, ()):
                setattr(course.control, switch, True)

        return method


def run(*epochs, trainer=None, valid=None, loop=None, start=None, **asked):
    """What happened, and the course."""
    said = []
    trainer = trainer(said) if trainer else Trainer(said)
    loop = Loop(len(epochs)) if loop is None else loop
    course = fit(trainer, Feed(*epochs), valid or {}, loop, [Says(said, **asked)], start or Place())
    return said, course


def test_the_order_of_events():
    def score():
        return {"loss": 2.0}

    said, course = run(
        "ab", "cd", loop=Loop(2, (1, 2)), valid={"valid": score}, updated=["validate"], validated=["save"]
    )
    after = ["update", "updated", "validated"]
    assert said == [
        *("begun", "epoch_begun", "a", "accumulated", *after, "saved", "settled"),
        *("b", "accumulated", *after, "epoch_ended", "saved", "settled"),
        *("epoch_begun", "c", "accumulated", "d", "accumulated", *after, "epoch_ended", "saved", "settled", "ended"),
    ]
    assert course.scores == {"valid": {"loss": 2.0}} and course.place == Place(3, 0)


def test_batches_without_segments():
    """An update takes the batches that are there; where there are none nothing is updated, and it goes on."""
    said, course = run([None, "a", None, None, "b"], loop=Loop(1, (2,)))
    assert [word for word in said if word not in EVENTS] == [
        "nothing",
        "a",
        "update",
        "nothing",
        "nothing",
        "b",
        "update",
    ]
    assert said.count("updated") == 3
    said, course = run([None, None], loop=Loop(1, (2,)))
    assert "update" not in said and said.count("updated") == said.count("epoch_ended") == 1
    assert course.result is None and not course.trained


@pytest.mark.parametrize("others, updates", [((1, 0, 0), ["nothing", "update", "nothing", "nothing"]),
                                             ((0, 0, 2), ["nothing", "nothing", "nothing", "update"])])  # fmt: skip
def test_a_rank_without_segments_takes_part_where_another_has_some(others, updates):
    said, _ = run([None] * 3, trainer=lambda said: Trainer(said, communicator=Ranks(*others)))
    assert [word for word in said if word in ("nothing", "update")] == updates


def test_an_epoch_without_an_applied_update():
    said, course = run("ab", "cd", trainer=lambda said: Trainer(said, applied=False))
    assert said.count("epoch_ended") == 2 and not course.trained and course.trainer.num_updates == 0


@pytest.mark.parametrize("event", ["begun", "epoch_begun", "updated", "validated", "epoch_ended"])
def test_a_stop(event):
    said, course = run(
        "ab", "cd", valid={"valid": dict}, **{event: ["stop"], "updated": ["validate"]} | {event: ["stop"]}
    )
    if event in ("begun", "epoch_begun"):
        assert said == (["begun", "ended"] if event == "begun" else ["begun", "epoch_begun", "ended"])
    elif event == "epoch_ended":
        assert said[-4:] == ["epoch_ended", "saved", "settled", "ended"] and course.place == Place(2, 0)
    elif event == "updated":
        assert said[-4:] == ["updated", "saved", "settled", "ended"] and course.place == Place(1, 1)


def test_going_on_within_an_epoch():
    whole, _ = run("abc", "def", loop=Loop(2, (2,)))
    rest, course = run("abc", "def", loop=Loop(2, (2,)), start=Place(1, 2))
    assert rest[2:] == whole[whole.index("settled") + 1 :] and course.place == Place(3, 0)
    said, course = run("abc", "def", start=Place(1, 7))  # begun by fewer ranks, which had more batches each
    assert said[:4] == ["begun", "epoch_begun", "epoch_begun", "d"] and course.place == Place(3, 0)


def test_the_end_is_told_after_an_exception():
    said = []

    class Breaks(Says):
        def __getattribute__(self, event):
            if event == "updated":
                raise KeyboardInterrupt
            return super().__getattribute__(event)

    with pytest.raises(KeyboardInterrupt):
        fit(Trainer(said), Feed("ab"), {}, Loop(1), [Breaks(said)])
    assert said[-1] == "ended"


def test_no_batches():
    with pytest.raises(ecgfm.SignalError, match="no batches"):
        fit(Trainer([]), Feed(""), {}, Loop(1))
