"""The storage of Optuna's studies: a SQLite file, a journal file or PostgreSQL, any of which may be unavailable."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna.storages.journal
import sqlalchemy.exc
import tenacity
from optuna.exceptions import StorageInternalError

from dogbreed.core.errors import EnvironmentUnsupported, ServiceUnavailable, UsageError

JOURNAL = ".journal"  # suffix of a file that NFS holds better than SQLite
RETRY_SECONDS = 600.0  # for which a result is sent to a storage that is unavailable
UNAVAILABLE = (StorageInternalError, sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
T = TypeVar("T")

log = logging.getLogger(__name__)


def open_storage(text: str) -> optuna.storages.BaseStorage:
    """Return the storage of studies.

    Args:
        text: a database's URL, a file ending in .journal, or any other file for SQLite.

    Raises:
        UsageError: it is no such URL.
        ServiceUnavailable: the database does not respond.
        EnvironmentUnsupported: the file cannot be written.
    """
    shown = text
    if "://" not in text:
        path = Path(text).absolute()
        _make_folder(path)
        if path.suffix == JOURNAL:
            backend = optuna.storages.journal.JournalFileBackend(str(path))
            return optuna.storages.JournalStorage(backend)
        text = f"sqlite:///{path}"
    try:
        url = sqlalchemy.make_url(text)
        shown, is_file = describe_storage(shown), url.get_backend_name() == "sqlite"
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        options: dict[str, Any] = {"connect_args": {"timeout": 60}} if is_file else {"pool_pre_ping": True}
        return _make_tables(url.render_as_string(hide_password=False), options)
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ImportError) as error:
        raise UsageError(f"--storage: {error}; give a file, or postgresql://user:password@host/database") from error
    except UNAVAILABLE as error:
        kind = EnvironmentUnsupported if is_file else ServiceUnavailable
        raise kind(f"--storage {shown} cannot be opened: {first_line(error)}; choose another one") from error


def describe_storage(text: str) -> str:
    """Return where a storage is, without the password."""
    if "://" not in text:
        return str(Path(text).absolute())
    return sqlalchemy.make_url(text).render_as_string(hide_password=True)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentUnsupported(f"--storage {path}: {error}; choose another folder") from error


@tenacity.retry(
    retry=tenacity.retry_if_exception_type((sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError)),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random(0.2, 1),
    reraise=True,
)
def _make_tables(url: str, options: dict[str, Any]) -> optuna.storages.BaseStorage:
    """Open a database; again where the process of another study made the tables at the same moment."""
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def retry_storage(call: Callable[[], T], seconds: float = RETRY_SECONDS) -> T:
    """Return what a call to the storage returns; repeat it while the storage is unavailable.

    Raises:
        ServiceUnavailable: it stayed unavailable.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(UNAVAILABLE),
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_exponential(multiplier=0.2, max=10),
        before_sleep=lambda state: log.warning("the storage of studies is unavailable; trying again"),
        reraise=True,
    )
    try:
        return retrying(call)
    except UNAVAILABLE as error:
        raise ServiceUnavailable(
            f"the storage of studies is unavailable: {first_line(error)}; run the same again"
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error, or of its cause."""
    return str(error.__cause__ or error).splitlines()[0]
