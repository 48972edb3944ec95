"""The errors of the suite; each class has the exit code of a job (docs/architecture.md)."""

from collections.abc import Sequence

NAMES = 5  # how many names a message lists


def shorten_list(names: Sequence[str]) -> str:
    """Return names for a message: `a, b`, of more than five the first five and how many more there are."""
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more:,} more" if more > 0 else "")


class DogbreedError(Exception):
    """Base of all errors that a user can act on; the message tells what was found, where, and what to do."""

    exit_code = 70


class UsageError(DogbreedError):
    """An unknown option, name or value."""

    exit_code = 2


class DataError(DogbreedError):
    """The data contradict the options, or what is already committed; a retry does not help."""

    exit_code = 65


class ServiceUnavailable(DogbreedError):
    """A service cannot be reached."""

    exit_code = 69


class RetryableError(DogbreedError):
    """A connection was lost, or something does not exist yet: the same command may succeed later."""

    exit_code = 75


class WorkerLost(RetryableError):
    """Another worker of a distributed training has ended or cannot be reached."""


class LeaseLost(RetryableError):
    """Another process has taken over the lease of this one."""


class PermissionDenied(DogbreedError):
    """A service rejects the credentials, or none are configured."""

    exit_code = 77


class EnvironmentUnsupported(DogbreedError):
    """A valid request that this machine cannot fulfil: not writable, no GPU, too little memory."""

    exit_code = 78


class ShutdownRequested(BaseException):
    """SIGTERM, SIGHUP or Ctrl-C came. Like KeyboardInterrupt no Exception, so that libraries do not catch it."""

    def __init__(self, text: str = "stopped", exit_code: int = 143) -> None:
        super().__init__(text)
        self.exit_code = exit_code  # 128 and the number of SIGTERM or SIGINT


class NotFound(DataError):
    """An object or file that was named does not exist."""


class AlreadyExists(DataError):
    """A put with If-None-Match found an object of that key."""


class ManifestNotFound(RetryableError):
    """The prefix holds no manifest.json (yet)."""


class CorruptData(DataError):
    """Bytes that differ from what a manifest, checksum or format says."""
