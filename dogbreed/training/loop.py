"""The steps of a training, from wherever a checkpoint left it.

Keras' own `fit` cannot begin inside an epoch; here each step ends with model and course in agreement, and between two
steps a snapshot is everything that the rest of the training depends on.
"""

import time
from collections.abc import Iterator
from typing import Any

import keras

from dogbreed.platform.errors import Stopped
from dogbreed.platform.stopping import held
from dogbreed.training import state
from dogbreed.training.checkpoint import Snapshot
from dogbreed.training.cost import Meter
from dogbreed.training.course import MONITOR, Course
from dogbreed.training.distribution import Distribution
from dogbreed.training.learner import Learner, learner
from dogbreed.training.phase import Phase
from dogbreed.training.saver import Saver
from dogbreed.training.watcher import Watcher


class Loop:
    """Runs the phases of one training and keeps its best weights."""

    def __init__(
        self,
        model: keras.Model,
        watcher: Watcher,
        saver: Saver | None,
        saved: Snapshot | None,
        distribution: Distribution | None = None,
    ) -> None:
        """model: the whole one, whose weights are kept. saved: what to go on with, None for a new training."""
        self.course = saved.course if saved else Course()
        self.best = state.listed(saved.arrays, "best") if saved else []
        self.meter = Meter(self.course.cost)
        self._model, self._watcher, self._saver, self._saved = model, watcher, saver, saved
        self._distribution = distribution or Distribution()
        self._learner: Learner | None = None  # of the present phase
        self._instead: Snapshot | None = None  # to save when stopped where the model is not as it was after a step
        self._torn = False  # inside a step that a signal may break off

    def run(self, phase: Phase) -> None:
        """Train to the phase's end; Stopped leaves a checkpoint of the last whole step."""
        learning, course, self._learner = phase.learning, self.course, None
        with self._distribution.scope():
            learning.optimizer.build(learning.trainable_variables)
        if self._saved:
            state.write(self._saved.arrays, self._model, learning)
            self._saved = None
        try:
            if self._goes_on(phase):
                self._train(phase)
            self._save(self._snapshot(phase))
        except Stopped:
            if course.step and not self._torn:
                self._save(self._instead or self._snapshot(phase))
            raise

    def _goes_on(self, phase: Phase) -> bool:
        return self.course.epoch < phase.epochs and self.course.stale < phase.patience

    def _train(self, phase: Phase) -> None:
        course = self.course
        self._learner = learning = learner(phase, course.partial, self._distribution)
        whole = course.batch == phase.steps  # stopped while it was validated
        coming = phase.batches((course.epoch + whole, course.batch * (not whole)))
        batches = learning.batches(self._watcher.clock.timed(coming))
        step = self._first_step
        while self._goes_on(phase):
            self._watcher.begin_epoch(course, phase.steps)
            while course.batch < phase.steps:
                step(learning, phase, batches)
                step = self._step
                if self._saver and self._saver.is_due(course.step):
                    self._save(self._snapshot(phase))
            self._validate(learning, phase)
            learning.reset()

    def _first_step(self, learning: Learner, phase: Phase, batches: Iterator[Any]) -> None:
        """Take a step that may be broken off: it also traces the model, which takes long, and nothing is lost yet."""
        self._torn = True
        self._execute(learning, phase, batches)
        self._torn = False

    def _step(self, learning: Learner, phase: Phase, batches: Iterator[Any]) -> None:
        with held():
            self._execute(learning, phase, batches)

    def _execute(self, learning: Learner, phase: Phase, batches: Iterator[Any]) -> None:
        began = time.time()
        logs = learning.step(batches)
        waited = 0.0 if self._torn else max(0.0, self._watcher.clock.given - began)  # tracing is no waiting
        self._watcher.end_step(self.course, logs, phase.learning.steps_per_execution)
        self.course.seconds += time.time() - began
        self.course.waited += waited

    def _validate(self, learning: Learner, phase: Phase) -> None:
        course, began = self.course, time.time()
        self._instead = self._snapshot(phase)
        values = learning.results()
        with state.averaged(phase.learning, phase.ema):
            found = learning.evaluate(phase.validation)
            values |= {f"val_{name}": value for name, value in found.items()}
            weights = self._model.get_weights()
        with held():
            if values[MONITOR] > course.best:
                self.best = weights
            course.seconds += time.time() - began
            self._watcher.end_epoch(course, values, phase)
            self._instead = None

    def _snapshot(self, phase: Phase) -> Snapshot:
        """Return copies of all that the rest of the training depends on."""
        course = self.course
        if self._instead:
            return self._instead
        if self._learner:
            course.partial = self._learner.sums()
        course.cost = self.meter.read()
        arrays = state.read(self._model, phase.learning) | state.named("best", self.best)
        return Snapshot(course.copy(), arrays, self._watcher.observer.state())

    def _save(self, snapshot: Snapshot) -> None:
        if self._saver:
            self._saver.save(snapshot)
