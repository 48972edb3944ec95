"""One training on several devices and in several processes: strategy, sums over all of them, loss of a worker.

Every worker is a process with a replica of the model on each of its GPUs, or on its CPU. All take the same steps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import tensorflow as tf

from dogbreed.core import rendezvous, signals
from dogbreed.core.errors import DataError, UsageError, WorkerLost
from dogbreed.core.rendezvous import ClusterSpec
from dogbreed.data.batch_shard import BatchShard
from dogbreed.training.recipe import Recipe

JOIN_WITHIN = 1200.0  # seconds from the first worker's start to the last one's: twice the longest pause of Kubernetes
DELIVER_WITHIN = 3600.0  # seconds that a chief may take to hand over a finished training
ABORTED = "Collective ops is aborted"  # part of what TensorFlow says, under several classes, when a worker is lost
LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.FailedPreconditionError,
)

RING, NCCL = (
    tf.distribute.experimental.CommunicationOptions(implementation=implementation)
    for implementation in (
        tf.distribute.experimental.CommunicationImplementation.RING,
        tf.distribute.experimental.CommunicationImplementation.NCCL,
    )
)


class DistributedContext:
    """One device, all GPUs of this machine (mirrored), or several workers (multiworker)."""

    def __init__(self, name: str = "single", cluster: ClusterSpec | None = None, devices: Sequence[str] = ()) -> None:
        """devices: of this process, for mirrored; none: its GPUs."""
        self.name = name
        self.strategy: tf.distribute.Strategy = tf.distribute.get_strategy()  # one device, until it has joined
        self._cluster = cluster if cluster and name == "multiworker" else ClusterSpec(("localhost",), 0)
        self._devices = list(devices)
        self._sum = tf.function(self._sum_on_devices, autograph=False)

    @property
    def is_chief(self) -> bool:
        """Whether this is worker 0, the only one that writes."""
        return self._cluster.process_index == 0

    @property
    def num_processes(self) -> int:
        """The number of processes."""
        return len(self._cluster.addresses)

    @property
    def is_replicated(self) -> bool:
        """Whether there may be several replicas."""
        return self.name != "single"

    @property
    def num_replicas(self) -> int:
        """The number of replicas of all processes."""
        if self.name == "single":
            return 1
        return self.num_processes * max(1, len(self._devices or tf.config.list_physical_devices("GPU")))

    @property
    def batch_unit(self) -> int:
        """The number of images of which a batch must be a multiple."""
        return math.lcm(self.num_replicas, 2 * self.num_processes) if self.num_processes > 1 else self.num_replicas

    @property
    def gpus(self) -> list[str]:
        """The GPUs of this process that have a replica, for example GPU:0; known when it has joined."""
        if self.name == "single":
            return ["GPU:0"] if tf.config.list_physical_devices("GPU") else []
        devices = [name.rpartition("device:")[2] for name in self.strategy.extended.worker_devices]
        return [name for name in devices if name.startswith("GPU:")]

    @property
    def batch_shard(self) -> BatchShard:
        """The part of each training batch that this worker learns from."""
        return BatchShard(self._cluster.process_index, self.num_processes)

    def check(self, recipe: Recipe, one_seed: bool = True) -> None:
        """Raise UsageError for what several replicas cannot do: unequal parts of a batch, many seeds."""
        if self.name == "single":
            return
        if self.num_processes > 1 and not one_seed:
            raise UsageError("--seeds with several workers is not supported; start one job for each --seed")
        if self.num_processes > 1 and recipe.has_teacher:
            raise UsageError("a teacher with several workers is not supported; start one process, on all its GPUs")
        unit = self.batch_unit
        if recipe.batch_size % unit:
            raise UsageError(
                f"{self.num_processes} processes with {self.num_replicas} replicas cannot share {recipe.batch_size} "
                f"images equally; use --batch-size {max(1, round(recipe.batch_size / unit)) * unit}"
            )

    def join(self) -> None:
        """Make the strategy and wait for all workers; RetryableError when one does not come.

        For several workers this must come before any other use of TensorFlow's devices.
        """
        if self.strategy.num_replicas_in_sync > 1:
            return  # for the seed before
        if self.name == "mirrored":
            self.strategy = tf.distribute.MirroredStrategy(self._devices or None)
        elif self.name == "multiworker":
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": self._cluster.addresses}),
                task_type="worker",
                task_id=self._cluster.process_index,
                num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
                rpc_layer="grpc",
            )
            rendezvous.join(self._cluster, JOIN_WITHIN)
            with self.translating_worker_loss():
                self.strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver, choose_communication())
            signals.reinstall_handlers()

    def scope(self) -> AbstractContextManager[Any]:
        """Return the scope in which models, optimizers and their variables must be made."""
        return self.strategy.scope()  # type: ignore[no-any-return]

    def compile_step(self, step: Callable[[Any], None], jit_compile: bool) -> Any:
        """Return the tf.function that runs `step` on a batch, or on each replica's part of it.

        jit_compile: use XLA, on one device only: with replicas it hangs (tensorflow#61314).
        """
        if self.name == "single":
            return tf.function(step, autograph=False, jit_compile=jit_compile)
        return tf.function(lambda batch: self.strategy.run(step, args=(batch,)), autograph=False)

    def iterate(self, batches: tf.data.Dataset, size: int) -> Any:
        """Return an iterator over this worker's part of batches of `size` examples, split over its replicas."""
        local = 1 if self.name == "single" else len(self.strategy.extended.worker_devices)
        if local == 1:
            return iter(self.prefetch(batches))
        parts = batches.rebatch(size // self.num_processes // local)
        return iter(self.strategy.distribute_datasets_from_function(lambda _: parts))

    def prefetch(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return the batches, of which the next two are copied to the first GPU ahead of time, if there is one."""
        devices = self._devices or self.gpus
        return batches.apply(tf.data.experimental.prefetch_to_device(devices[0], 2)) if devices else batches

    def shard(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return every n-th batch, this worker's of n workers."""
        return batches.shard(self.num_processes, self._cluster.process_index)

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all workers, as float64: the same on each, bit for bit."""
        if self.num_processes == 1:
            return list(values)
        return [float(value) for value in self._sum(tf.constant(values, tf.float64)).numpy()]

    def _sum_on_devices(self, values: tf.Tensor) -> tf.Tensor:
        local = len(self.strategy.extended.worker_devices)

        def one(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % local == 0
            own = tf.where(first, values, tf.zeros_like(values))
            # not NCCL, in which a GPU would be busy with waiting for a worker that comes late
            return context.all_reduce("SUM", own, RING)

        return self.strategy.experimental_local_results(self.strategy.run(one, args=(values,)))[0]

    def broadcast(self, numbers: Sequence[int] = (), count: int = 0) -> list[int]:
        """Return the chief's numbers, below 2**53, on every worker: the sum of the chief's and zeros of the others.

        count: how many, for workers that do not know the numbers.
        """
        own = list(numbers) if self.is_chief else [0] * (count or len(numbers))
        return [int(value) for value in self.all_reduce_sum(own)]

    def broadcast_bytes(self, data: bytes, seconds: float) -> bytes:
        """Return the chief's bytes on every worker; RetryableError when it takes longer than so many seconds."""

        def broadcast() -> bytes:
            [size] = self.broadcast([len(data)])
            return bytes(self.broadcast(data, size))

        late = f"worker 0 was not ready within {seconds / 3600:.0f} hours; run the same again"
        received: bytes = signals.run_interruptible(broadcast, seconds, late)
        return received

    def assert_same(self, fingerprint: str) -> None:
        """Raise DataError where this worker would train something else than the chief.

        fingerprint: hash of all that determines the training, 16 hexadecimal digits.
        """
        halves = [int(fingerprint[:8], 16), int(fingerprint[8:], 16)]
        if self.broadcast(halves) != halves:
            raise DataError(
                f"worker {self._cluster.process_index} would train something else than worker 0; "
                "give all the same options and data"
            )

    def barrier(self) -> None:
        """Wait until all workers have come to this call; RetryableError when one is lost meanwhile."""
        if self.num_processes > 1:
            late = f"another worker was not ready within {DELIVER_WITHIN:.0f} s; run the same again"
            signals.run_interruptible(lambda: self.broadcast([0]), DELIVER_WITHIN, late)

    @contextmanager
    def translating_worker_loss(self) -> Iterator[None]:
        """Raise WorkerLost for an error of TensorFlow that means that another worker was lost."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.num_processes == 1 or not (isinstance(error, LOST) or ABORTED in str(error)):
                raise
            signals.raise_if_requested()  # all were stopped: this one, too, ends with 143
            reason = next((line for line in str(error).splitlines() if ABORTED in line), type(error).__name__)
            raise WorkerLost(
                f"worker {self._cluster.process_index} of {self.num_processes} lost another one; when all are started "
                f"again, they go on from the last checkpoint ({reason})"
            ) from error


def choose_communication() -> tf.distribute.experimental.CommunicationOptions:
    """Return how workers reduce: by NCCL between GPUs, which TensorFlow does not choose itself, else in a ring."""
    return NCCL if tf.config.list_physical_devices("GPU") else RING
