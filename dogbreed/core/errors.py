"""The tree of errors; each class carries the exit code that a job ends with (docs/architecture.md)."""


class DogbreedError(Exception):
    """Base of every error that a person can do something about; its text says what, where and what to do."""

    exit_code = 70


class UsageError(DogbreedError):
    """An option, a name or a value that the suite does not know."""

    exit_code = 2


class DataError(DogbreedError):
    """The data contradict what was asked or what is already committed; trying again will not help."""

    exit_code = 65


class ServiceUnavailable(DogbreedError):
    """A service was never reached."""

    exit_code = 69


class RetryableError(DogbreedError):
    """A service was reached and then lost, or something is not there yet: the same command may succeed later."""

    exit_code = 75


class LeaseLost(RetryableError):
    """Another process goes on with the work of this one."""


class PermissionDenied(DogbreedError):
    """The service answered and refused the credentials, or none were given."""

    exit_code = 77


class EnvironmentUnsupported(DogbreedError):
    """A valid request that this machine cannot serve: not writable, no GPU, too little memory."""

    exit_code = 78


class ShutdownRequested(BaseException):
    """SIGTERM or Ctrl-C arrived; what was done is kept. Like KeyboardInterrupt, no library takes it for its own."""

    def __init__(self, text: str = "stopped", exit_code: int = 143) -> None:
        super().__init__(text)
        self.exit_code = exit_code  # 128 and the signal's number


class NotFound(DataError):
    """An object or file that was named does not exist."""


class AlreadyExists(DataError):
    """A put with If-None-Match found an object of that key."""


class ManifestNotFound(RetryableError):
    """The prefix holds no manifest.json (yet)."""


class CorruptData(DataError):
    """Bytes that differ from what a manifest, checksum or format says."""
