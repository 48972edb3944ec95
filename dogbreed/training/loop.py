"""The steps of a training, from wherever a checkpoint left it.

Keras' own `fit` cannot begin inside an epoch; here each step ends with model and course in agreement, and between two
steps a snapshot is everything that the rest of the training depends on.
"""

import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from dogbreed.platform.errors import Stopped
from dogbreed.platform.stopping import held
from dogbreed.training import state
from dogbreed.training.checkpoint import Snapshot
from dogbreed.training.cost import Meter
from dogbreed.training.course import MONITOR, Course
from dogbreed.training.phase import Phase
from dogbreed.training.saver import Saver
from dogbreed.training.watcher import Watcher


class Loop:
    """Runs the phases of one training and keeps its best weights."""

    def __init__(self, model: keras.Model, watcher: Watcher, saver: Saver | None, saved: Snapshot | None) -> None:
        """model: the whole one, whose weights are kept. saved: what to go on with, None for a new training."""
        self.course = saved.course if saved else Course()
        self.best = state.listed(saved.arrays, "best") if saved else []
        self.meter = Meter(self.course.cost)
        self._model, self._watcher, self._saver, self._saved = model, watcher, saver, saved
        self._instead: Snapshot | None = None  # to save when stopped where the model is not as it was after a step
        self._torn = False  # inside a step that a signal may break off

    def run(self, phase: Phase) -> None:
        """Train to the phase's end; Stopped leaves a checkpoint of the last whole step."""
        learning, course = phase.learning, self.course
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
        course, learning = self.course, phase.learning
        learning.evaluate(phase.validation.take(1), verbose=0)  # makes the metrics' variables
        learning.reset_metrics()
        learning.make_train_function()
        for variable, value in zip(learning.metrics_variables, course.partial, strict=False):
            variable.assign(value)
        whole = course.batch == phase.steps  # stopped while it was validated
        batches = iter(self._watcher.clock.timed(phase.batches((course.epoch + whole, course.batch * (not whole)))))
        step = self._first_step
        while self._goes_on(phase):
            self._watcher.begin_epoch(course, phase.steps)
            while course.batch < phase.steps:
                step(phase, batches)
                step = self._step
                if self._saver and self._saver.is_due(course.step):
                    self._save(self._snapshot(phase))
            self._validate(phase)
            learning.reset_metrics()

    def _first_step(self, phase: Phase, batches: Iterator[Any]) -> None:
        """Take a step that may be broken off: it also traces the model, which takes long, and nothing is lost yet."""
        self._torn = True
        self._execute(phase, batches)
        self._torn = False

    def _step(self, phase: Phase, batches: Iterator[Any]) -> None:
        with held():
            self._execute(phase, batches)

    def _execute(self, phase: Phase, batches: Iterator[Any]) -> None:
        began = time.time()
        logs = {name: float(value) for name, value in phase.learning.train_function(batches).items()}
        waited = 0.0 if self._torn else max(0.0, self._watcher.clock.given - began)  # tracing is no waiting
        self._watcher.end_step(self.course, logs, phase.learning.steps_per_execution)
        self.course.seconds += time.time() - began
        self.course.waited += waited

    def _validate(self, phase: Phase) -> None:
        learning, course, began = phase.learning, self.course, time.time()
        self._instead = self._snapshot(phase)
        values = {name: float(value) for name, value in learning.get_metrics_result().items()}
        with state.averaged(learning, phase.ema):
            found = learning.evaluate(phase.validation, return_dict=True, verbose=0)
            values |= {f"val_{name}": float(value) for name, value in found.items()}
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
        course.partial = [float(np.array(variable)) for variable in phase.learning.metrics_variables]
        course.cost = self.meter.read()
        arrays = state.read(self._model, phase.learning) | state.named("best", self.best)
        return Snapshot(course.copy(), arrays, self._watcher.observer.state())

    def _save(self, snapshot: Snapshot) -> None:
        if self._saver:
            self._saver.save(snapshot)
