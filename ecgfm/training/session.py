"""A run of training: epochs, validation, checkpoints, stopping, going on."""

import math
import os
import signal
import threading
import time
from contextlib import contextmanager

from ..errors import CheckpointError, ConfigError
from ..kernels import set_num_threads
from ..ranks import Alone
from .logs import CsvLog, Log
from .meters import MeterSet
from .restoring import restore
from .run_folder import copy_label_names, make_folder, writing
from .saving import Keeper, content
from .scoring import validate
from .setting_up import (
    check_data,
    check_metric,
    load_dataset,
    load_loader,
    make_objective,
    make_trainer,
)

__all__ = ["Session", "train"]

DONE, INTERRUPTED, TERMINATED = 0, 130, 143


def train(settings, ranks=None, *, started=None):
    """Train as settings say.

    Parameters
    ----------
    settings : RunSettings
    ranks : Alone or Ranks, optional
    started : callable, optional
        Called by the first rank with (folder, kind, architecture) when the run is ready to begin: writes what describes
        it.

    Returns
    -------
    int
        Exit status: 0, or 130 and 143 after Ctrl-C and SIGTERM, when the run was saved and can be gone on with.

    Raises
    ------
    Error
        Before the first update, if something of the configuration or the data does not fit.
    """
    session = Session(settings, Alone() if ranks is None else ranks, started)
    try:
        return session.train()
    finally:
        session.log.close()


class Session:
    """One run: made ready by the constructor, which finds all that does not fit, and trained by `train`.

    Parameters
    ----------
    settings : RunSettings
    ranks : Alone or Ranks
    started : callable, optional
    """

    def __init__(self, settings, ranks, started=None):
        self.settings, self.ranks, feeding = settings, ranks, settings.feeding
        self.first = ranks.rank == 0
        self.keeper = Keeper(settings.keep)
        if settings.threads is not None:
            set_num_threads(settings.threads)
        if self.first:
            make_folder(self.keeper.folder)
        ranks.barrier()
        self.log = Log(settings.report, self.keeper.folder, quiet=not self.first)
        for notice in settings.notices:
            self.log.say(notice)
        self.objective = make_objective(settings)
        check_metric(settings.keep.best_checkpoint_metric, self.objective)
        self.subsets = feeding.valid_subsets
        self.data = load_dataset(feeding, feeding.train_subset, training=True)
        self.valid = {name: load_dataset(feeding, name, training=False) for name in self.subsets}
        self.trainer = make_trainer(settings, self.data, ranks, self.log.say)
        for each in (self.data, *self.valid.values()):
            check_data(each, self.trainer)
        self.loader = load_loader(feeding, self.data, ranks, report=self._damaged)
        self.valid_loaders = {name: load_loader(feeding, each, ranks, valid=True) for name, each in self.valid.items()}
        if self.first:
            with writing(self.keeper.folder):
                if started is not None:
                    kind = "classifier" if settings.classifies else "pretraining"
                    started(self.keeper.folder, kind, self.trainer.config)
                copy_label_names(feeding, self.keeper.folder)
        self.meters = MeterSet()
        self.epoch, self.batches = 1, 0
        self.best = {}  # subset -> its best score so far
        self.patience = [None, 0]  # best score, validations since
        self.due = None  # {"end": of an epoch, "save": afterwards} if a signal put the last update's validation off
        self._resume()
        self._stop_signal = None
        self._waiting = 0  # batches since the last update
        self._counted = []  # sums of the batches since the last update, where the kernel's are not those to report

    # ---- before the first update --------------------------------------------------------------------

    def _resume(self):
        keep = self.settings.keep
        resets, name = keep.resets, keep.restore_file
        own = name == "checkpoint_last.pt"
        path = self.keeper.path(f"checkpoint_last{keep.checkpoint_suffix}.pt") if own else name
        there = os.path.exists(path)
        if not own and not there:
            raise CheckpointError("there is no such file", path=path, field="checkpoint.restore_file")
        if keep.finetune_from_model:
            if resets:
                raise ConfigError(
                    "does not go together with " + ", ".join(resets), field="checkpoint.finetune_from_model"
                )
            if not there:
                restore(keep.finetune_from_model, self.trainer, self.objective.criterion, optimizer=False)
                self.log.say(f"weights from {keep.finetune_from_model}")
        step = 0
        if there:
            saved = restore(path, self.trainer, self.objective.criterion, optimizer=not keep.reset_optimizer)
            self._take(saved, path)
            if saved.due is not None and not resets and self.subsets:
                self.due = saved.due
            step = self.trainer.num_updates
        if self.first:
            again = () if self.due is None else [f"{name}{end}" for name in self.subsets for end in ("", "_labels")]
            CsvLog(self.keeper.folder).forget_after(step, again)

    def _take(self, saved, path):
        keep = self.settings.keep
        if not keep.reset_dataloader:
            self.epoch, self.batches = max(saved.epoch, 1), self._batches(saved, path)
        if not keep.reset_meters:
            self.meters.load(saved.metrics)
            if saved.best is not None and self.subsets:
                self.best[self.subsets[0]] = saved.best
            self.best |= {name: value for name, value in saved.bests.items() if name in self.subsets}
            self.patience = saved.patience
        self.meters.previous_time = saved.seconds
        self.log.say(
            f"going on from {path}: epoch {self.epoch}, {self.batches} batches of it done, "
            f"{self.trainer.num_updates} updates"
        )

    def _batches(self, saved, path):
        """Batches of the epoch that each rank has done."""
        if saved.batches == 0:
            return 0
        items = saved.ours.get("items")
        if items is not None and items != len(self.data):
            raise CheckpointError(
                f"it stopped within an epoch of {items} items, the data set has {len(self.data)} now",
                path=path,
                field="train_iterator",
                remedy="Say checkpoint.reset_dataloader=true to begin the data anew",
            )
        before = saved.ours.get("ranks")
        before = before if isinstance(before, int) and before > 0 else self.ranks.size
        return min(saved.batches * before // self.ranks.size, len(self.loader))

    def _damaged(self, name, error):
        self.log.say(f"damaged segment skipped: {name}: {error}")

    # ---- the loop -----------------------------------------------------------------------------------

    def train(self):
        """Train to the end; returns the exit status."""
        settings, trainer = self.settings, self.trainer
        loop, limits = settings.loop, settings.limits
        trained = sum(values.size for values in trainer.state()["exp_avg"].values())
        whole = sum(values.size for values in trainer.state_dict().values())
        self.log.say(
            f"{whole:,} parameters, {trained:,} of them trained; {len(self.data):,} items in {settings.feeding.data}"
        )
        begun = time.perf_counter()
        self._lr = float(trainer.schedule(max(trainer.num_updates - 1, 0), self.epoch))  # until the first update
        with self._signals():
            stop = self._make_up() if self.due is not None else False
            while not stop:
                trainer.epoch = self.epoch
                if 0 < loop.epochs < self.epoch:
                    break
                if 0 < limits.max_update <= trainer.num_updates:
                    break
                if trainer.schedule(trainer.num_updates, self.epoch) <= limits.stop_min_lr:
                    self.log.say("stopping: the learning rate has fallen to optimization.stop_min_lr")
                    break
                stop = self._train_epoch()
        self.log.say(f"{'stopped' if self._stop_signal else 'done'} after {time.perf_counter() - begun:.1f} seconds")
        return {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}.get(self._stop_signal, DONE)

    @contextmanager
    def _signals(self):
        """Ctrl-C and SIGTERM end the run after the update at hand; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number, frame):
            if self._stop_signal is not None:
                raise KeyboardInterrupt
            self._stop_signal = number

        old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _train_epoch(self):
        """One epoch, or what is left of it; whether to stop."""
        freq = self.settings.loop.batches_of_update(self.epoch)
        steps, done, stop = len(self.loader), self.batches, False
        if done == 0:
            self.meters.begin_epoch()
        if done >= steps:  # another number of ranks: this rank's part of the epoch is over
            self.epoch, self.batches = self.epoch + 1, 0
            return False
        begun = time.perf_counter()
        for batch in self.loader.epoch(self.epoch, start=done):
            self._accumulate(batch)
            done += 1
            if done % freq and done < steps:
                continue
            trained = self._update(begun)
            self.batches = done
            stop = self._after_update(done, steps, trained)
            if stop:
                break
            begun = time.perf_counter()
        return stop

    def _accumulate(self, batch):
        if not len(batch):
            self.trainer.accumulate_nothing()
            return
        self._waiting += 1
        if self.settings.classifies:
            self.trainer.accumulate(batch.x, batch.y, batch.padding_mask)
            if self.objective.needs_logits:
                self._counted.append(self.objective.sums(self.trainer.last_logits, batch.y))
        else:
            self.trainer.accumulate(batch.x, None if batch.segment is None else batch.idx, batch.padding_mask)

    def _update(self, begun):
        """One update; whether it was applied."""
        waiting, self._waiting = self._waiting, 0
        if not any(self.ranks.gather(waiting)):
            self.log.say("update skipped: all of its segments are damaged")
            return False
        with _named("update"):
            result = self.trainer.update()
        if not result["applied"]:
            self._counted = []
            self.log.say(f"update skipped: the norm of the gradients is {result['gnorm']}")
            return False
        log = self.meters.log
        self.objective.log(log, self._sums(result))
        log("gnorm", result["gnorm"], 1, 3)
        clip = self.settings.optimizer.clip_norm
        if clip > 0:
            log("clip", 100.0 if result["gnorm"] > clip else 0.0, 1, 1)
        self._lr = result["lr"]
        self.meters.update_done(time.perf_counter() - begun)
        return True

    def _sums(self, result):
        """What the objective counts of an update."""
        if not self.settings.classifies:
            return result
        sums = self.trainer.last_sums
        if self.objective.needs_logits:
            parts = [part for each in self.ranks.gather(self._counted) for part in each]
            sums = {name: sum(part[name] for part in parts) for name in parts[0]} | {"loss": sums["loss"]}
            self._counted = []
        return sums

    def _stats(self, tag):
        meters = self.meters.by_name[tag]
        stats = self.objective.shown(meters)
        clocks = self.meters.clocks(tag)
        means = {name: math.nan if meters.mean(name) is None else meters.mean(name) for name in ("gnorm", "clip")}
        stats |= {
            "ups": clocks["ups"],
            "num_updates": self.trainer.num_updates,
            "lr": self._lr,
            "gnorm": means["gnorm"],
        }
        if self.settings.optimizer.clip_norm > 0:
            stats["clip"] = means["clip"]
        return stats | {"train_wall": clocks["train_wall"], "wall": clocks["wall"]}

    def _after_update(self, done, steps, trained):
        """Log, validate, save, after an update that was applied or not; whether to stop."""
        updates = self.trainer.num_updates
        if trained and self.meters.since_inner and updates % self.settings.report.log_interval == 0:
            self.log.inner(self._stats("train_inner"), self.epoch, done, steps)
            self.meters.begin_inner()
        end = done >= steps
        stop = self._reached()
        save, validate = self._what_is_due(end, stop, trained)
        interrupted = self._interrupted()
        self.due = {"end": end, "save": bool(save)} if validate and interrupted else None  # for the run that goes on
        score = self._validate(self.epoch) if validate and not interrupted else None
        if score is not None and self._impatient(score):
            stop = True
        if end:
            self.log.total("train", self._stats("train"), self.epoch)
            self.epoch, self.batches = self.epoch + 1, 0
        if save or stop or interrupted:
            self._save(end, score)
        return bool(stop or interrupted)

    def _what_is_due(self, end, stop, trained):
        """Whether to save and whether to validate after an update."""
        keep, due, updates = self.settings.keep, self.settings.every, self.trainer.num_updates
        ready = updates >= due.validate_after_updates

        def every(updates_between):
            return trained and updates_between > 0 and updates % updates_between == 0

        save = (end and self.epoch % keep.save_interval == 0) or stop
        save = save or (every(keep.save_interval_updates) and ready)
        validate = (
            (not end and save)
            or (end and self.epoch % due.validate_interval == 0)
            or stop
            or every(due.validate_interval_updates)
        )
        return save, bool(validate and ready and self.valid)

    def _make_up(self):
        """The validation that a signal put off, and what is saved after it; whether to stop."""
        end, save, self.due = self.due["end"], self.due["save"], None
        epoch = self.epoch - 1 if end else self.epoch
        self.trainer.epoch = epoch
        self.log.say(f"making up for the validation after {self.trainer.num_updates} updates")
        stop = self._reached()
        score = self._validate(epoch)
        stop = self._impatient(score) or stop
        if save or stop:
            self._save(end, score)
        return stop

    def _reached(self):
        limits = self.settings.limits
        if 0 < limits.max_update <= self.trainer.num_updates:
            self.log.say("stopping: optimization.max_update is reached")
            return True
        hours = self.meters.seconds() / 3600
        if 0 < limits.stop_time_hours < self.ranks.broadcast(hours):
            self.log.say("stopping: optimization.stop_time_hours are over")
            return True
        return False

    def _interrupted(self):
        """Whether any rank was asked to stop."""
        if self.ranks.size > 1:
            asked = [number for number in self.ranks.gather(self._stop_signal) if number is not None]
            self._stop_signal = asked[0] if asked else None
        return self._stop_signal is not None

    def _impatient(self, score):
        keep, patience = self.settings.keep, self.settings.limits.patience
        if patience <= 0 or score is None:
            return False
        best, runs = self.patience
        better = best is None or (score > best if keep.maximize_best_checkpoint_metric else score < best)
        self.patience = [score, 0] if better else [best, runs + 1]
        if self.patience[1] < patience:
            return False
        self.log.say(f"stopping: {patience} validations without a better {keep.best_checkpoint_metric}")
        return True

    def _save(self, end, score):
        if self.first:
            first = self.subsets[0] if self.subsets else None
            best = self.best.get(first)
            trainer = self.trainer

            def make():
                ours = {
                    "best": self.best,
                    "patience": list(self.patience),
                    "skipped": trainer.skipped,
                    "items": len(self.data),
                    "ranks": self.ranks.size,
                } | ({} if self.due is None else {"due": self.due})
                return content(
                    self.settings,
                    trainer,
                    self.objective.criterion,
                    (self.epoch, self.batches),
                    self.meters,
                    (score, best),
                    ours,
                )

            epoch = self.epoch - 1 if end else self.epoch
            begun = time.perf_counter()
            written = self.keeper.save(make, epoch, trainer.num_updates, end_of_epoch=end, score=score, best=best)
            if written:
                names = ", ".join(os.path.basename(path) for path in written)
                self.log.say(
                    f"saved {names} (epoch {epoch}, {trainer.num_updates} updates, score {score}) in "
                    f"{time.perf_counter() - begun:.2f} s"
                )
        self.ranks.barrier()

    # ---- validation ---------------------------------------------------------------------------------

    def _validate(self, epoch):
        """Validate on every subset, after an update of an epoch; the score of the first."""
        metric, scores = self.settings.keep.best_checkpoint_metric, []
        for name, loader in self.valid_loaders.items():
            stats, rows = validate(
                self.trainer, self.objective, loader, self.ranks, limit=self.settings.feeding.max_valid_steps
            )
            if metric not in stats:
                raise ConfigError(
                    f"{metric!r} is not among what validation gives: {', '.join(stats)}",
                    field="checkpoint.best_checkpoint_metric",
                )
            score = stats[metric]
            best = self.best.get(name)
            if best is None or best != best or (score == score and self.keeper.better(score, best)):
                self.best[name] = best = score
            stats |= {"num_updates": self.trainer.num_updates, f"best_{metric}": best}
            self.log.total(name, stats, epoch)
            self.log.labels(name, self.trainer.num_updates, rows)
            scores.append(score)
        return scores[0]


@contextmanager
def _named(what):
    try:
        yield
    except FloatingPointError as error:
        raise ConfigError(str(error), field=what) from None
