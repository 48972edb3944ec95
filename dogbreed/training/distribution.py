"""How a training is spread over devices and workers, what makes workers agree, and what a lost one means.

Every worker is a process with a replica of the model on each of its GPUs, or on its CPU. All take the same steps.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import keras
import tensorflow as tf

from dogbreed.data.pipeline import Share
from dogbreed.platform import meeting, stopping
from dogbreed.platform.errors import DataContradiction, ImpossibleHere, TryAgain, UnknownName
from dogbreed.platform.machine import Cluster
from dogbreed.training.recipe import Recipe
from dogbreed.training.zoo.ends import leaves

STRATEGIES = ("auto", "single", "mirrored", "multiworker")
JOIN_WITHIN = 600.0  # seconds from the first worker's start to the last one's: a machine may have to be started
DELIVER_WITHIN = 3600.0  # seconds that a chief may take to hand over a finished training
LOOK_EVERY = 0.2  # seconds between two looks for a signal
ABORTED = "Collective ops is aborted"  # part of what TensorFlow says, under several classes, when a worker is lost
LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.FailedPreconditionError,
)

T = TypeVar("T")


class Distribution:
    """One device, all GPUs of this machine (mirrored), or several workers (multiworker)."""

    def __init__(self, name: str = "single", cluster: Cluster | None = None, devices: Sequence[str] = ()) -> None:
        """devices: of this process, for mirrored; none: its GPUs."""
        self.name = name
        self.strategy: tf.distribute.Strategy = tf.distribute.get_strategy()  # one device, until it has joined
        self._cluster = cluster if cluster and name == "multiworker" else Cluster(("localhost",), 0)
        self._devices = list(devices)
        self._sum = tf.function(self._summed)

    @property
    def chief(self) -> bool:
        """Whether this is the worker that writes."""
        return self._cluster.index == 0

    @property
    def workers(self) -> int:
        """The number of processes."""
        return len(self._cluster.hosts)

    @property
    def share(self) -> Share:
        """This worker's part of each training batch."""
        return Share(self._cluster.index, self.workers)

    def check(self, recipe: Recipe, one_seed: bool = True) -> None:
        """Raise UnknownName for what several replicas cannot do: unequal parts of a batch, fine-tuning, many seeds."""
        if self.name == "single":
            return
        if recipe.weights != "none":
            raise UnknownName(
                f"--weights with --strategy {self.name} is not supported; start one process with --strategy single"
            )
        if self.workers > 1 and not one_seed:
            raise UnknownName("--seeds with several workers is not supported; start one job for each --seed")
        gpus = len(self._devices or tf.config.list_physical_devices("GPU"))
        replicas = self.workers * max(1, gpus)
        wanted = math.lcm(replicas, 2 * self.workers) if self.workers > 1 else replicas
        if recipe.batch_size % wanted:
            raise UnknownName(
                f"{self.workers} processes with {replicas} replicas cannot share {recipe.batch_size} photos equally; "
                f"use --batch-size {max(1, round(recipe.batch_size / wanted)) * wanted}"
            )

    def join(self) -> None:
        """Make the strategy and wait for all workers; TryAgain when one does not come.

        For several workers this must come before any other use of TensorFlow's devices.
        """
        if self.name == "mirrored":
            self.strategy = tf.distribute.MirroredStrategy(self._devices or None)
        elif self.name == "multiworker":
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": self._cluster.hosts}),
                task_type="worker",
                task_id=self._cluster.index,
                num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
                rpc_layer="grpc",
            )
            meeting.meet(self._cluster, JOIN_WITHIN)
            with self.watched():
                self.strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
            stopping.listen_again()

    def scope(self) -> AbstractContextManager[Any]:
        """Return where models, optimizers and their variables must be made."""
        return self.strategy.scope()  # type: ignore[no-any-return]

    def spread(self, batches: tf.data.Dataset, size: int) -> Iterator[Any]:
        """Return an iterator over this worker's batches of `size` photos in the form that all its replicas take."""
        local = len(self.strategy.extended.worker_devices)
        if local == 1:
            return iter(batches)
        parts = batches.rebatch(size // local)
        return iter(self.strategy.distribute_datasets_from_function(lambda _: parts))

    def own(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return the batches that are this worker's when each does some of them."""
        return batches.shard(self.workers, self._cluster.index)

    def summed(self, values: Sequence[float]) -> list[float]:
        """Return the sum over all workers, as float64: the same on each, bit for bit."""
        if self.workers == 1:
            return list(values)
        return [float(value) for value in self._sum(tf.constant(values, tf.float64)).numpy()]

    def _summed(self, values: tf.Tensor) -> tf.Tensor:
        local = len(self.strategy.extended.worker_devices)

        def one(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % local == 0
            return context.all_reduce("SUM", tf.where(first, values, tf.zeros_like(values)))

        return self.strategy.experimental_local_results(self.strategy.run(one, args=(values,)))[0]

    def told(self, numbers: Sequence[int] = (), count: int = 0) -> list[int]:
        """Return the chief's numbers, which are below 2**53, on every worker.

        count: of numbers, for those who do not know them.
        """
        own = list(numbers) if self.chief else [0] * (count or len(numbers))
        return [int(value) for value in self.summed(own)]

    def agree(self, content: str) -> None:
        """Raise DataContradiction when this worker would train something else than the chief.

        content: hash of all that determines the training, 16 hexadecimal digits.
        """
        halves = [int(content[:8], 16), int(content[8:], 16)]
        if self.told(halves) != halves:
            raise DataContradiction(
                f"worker {self._cluster.index} would train something else than worker 0; "
                "give all the same options and data"
            )

    def meet(self) -> None:
        """Wait until all workers are here; TryAgain when one is lost meanwhile."""
        if self.workers > 1:
            late = f"another worker was not ready within {DELIVER_WITHIN:.0f} s; run the same again"
            patiently(lambda: self.told([0]), DELIVER_WITHIN, late)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise TryAgain when what is inside fails because another worker was lost."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.workers == 1 or not (isinstance(error, LOST) or ABORTED in str(error)):
                raise
            stopping.check()  # all were stopped: this one, too, ends with 143
            reason = next((line for line in str(error).splitlines() if ABORTED in line), type(error).__name__)
            raise TryAgain(
                f"worker {self._cluster.index} of {self.workers} lost another one; when all are started again, "
                f"they go on from the last checkpoint ({reason})"
            ) from error


def chosen(strategy: str, cluster: Cluster, recipe: Recipe) -> Distribution:
    """Return what `--strategy` stands for here; UnknownName or ImpossibleHere when it makes no sense.

    auto takes one of several GPUs for fine-tuning.
    """
    if strategy not in STRATEGIES:
        raise UnknownName(f"unknown strategy {strategy!r}; known are {', '.join(STRATEGIES)}")
    several, gpus = len(cluster.hosts) > 1, len(tf.config.list_physical_devices("GPU"))
    if strategy == "auto":
        all_gpus = gpus > 1 and recipe.weights == "none"
        strategy = "multiworker" if several else "mirrored" if all_gpus else "single"
    if several and strategy != "multiworker":
        raise UnknownName(
            f"--strategy {strategy}, but the environment names {len(cluster.hosts)} workers, which would all do the "
            "same; use multiworker, or start one process without TF_CONFIG and DOGBREED_WORKERS"
        )
    if strategy == "multiworker" and not several:
        raise UnknownName(
            "--strategy multiworker, but the environment names one worker; set TF_CONFIG or DOGBREED_WORKERS"
        )
    if strategy == "mirrored" and gpus < 2:
        raise ImpossibleHere(f"--strategy mirrored needs two GPUs, TensorFlow sees {gpus}; use --strategy single")
    return Distribution(strategy, cluster)


def synchronize(model: keras.Model) -> None:
    """Let BatchNormalization count the whole batch, not one replica's part of it."""
    for layer in leaves(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True  # read when the layer is called


def patiently(call: Callable[[], T], seconds: float, late: str) -> T:
    """Return what `call` gives; meanwhile signals are heard, which TensorFlow, waiting for others, would not do.

    TryAgain(late) when it takes longer than so many seconds.
    """
    found: futures.Future[T] = futures.Future()

    def run() -> None:
        try:
            found.set_result(call())
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=run, daemon=True, name="waiting").start()
    until = time.monotonic() + seconds
    while not futures.wait([found], LOOK_EVERY).done:
        stopping.check()
        if time.monotonic() > until:
            raise TryAgain(late)
    return found.result()
