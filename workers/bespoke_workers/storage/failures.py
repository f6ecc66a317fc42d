"""The storage's failures as ours, whichever file system they come from.

The packages behind S3 and GCS are optional, so their errors are told by name.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from bespoke_workers.errors import BespokeError, Misconfigured, Refused, Transient

_STORES = ("aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "requests", "s3fs")
"""Top packages whose errors come from an object store or the way to it."""
_WRONG_SETTINGS = frozenset(
    {
        "ConfigNotFound", "DefaultCredentialsError", "InvalidRegionError", "NoCredentialsError",
        "NoRegionError", "ParamValidationError", "PartialCredentialsError", "ProfileNotFound",
        "UnauthorizedSSOTokenError",
    }
)  # fmt: skip
_FORBIDDEN = frozenset({400, 401, 403})  # of HTTP, by which gcsfs tells them
_NO_FILE = frozenset({errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
_NEVER = frozenset({errno.EINVAL, errno.EPERM, errno.ENOSYS, getattr(errno, "EREMCHG", -1)})
"""What s3fs makes of answers like "another region" or "malformed token"."""


@contextmanager
def translated(url: str, noun: str) -> Iterator[None]:
    """Raise the storage's failures as ours, before they look like the database's.

    ``url`` is the file's, without a password; ``noun`` what it is called, such as "bundle".
    """
    try:
        yield
    except BespokeError:
        raise
    except FileNotFoundError:
        raise Refused(f"no {noun} at {url!r}; export one, or correct the name") from None
    except (IsADirectoryError, NotADirectoryError, FileExistsError):
        raise Refused(f"{url!r} is no file; give the name of one") from None
    except PermissionError:
        raise _forbidden(url) from None
    except OSError as error:
        raise _of_os(error, url) from error
    except Exception as error:
        ours = _of_store(error, url)
        if ours is None:
            raise
        raise ours from None


def _of_os(error: OSError, url: str) -> BespokeError:
    # gcsfs has no type of its own for a 403.
    if error.errno in _NEVER or str(error).startswith("Forbidden: "):
        return _forbidden(url)
    if error.errno in _NO_FILE:
        return Refused(f"{url!r} is no file; give the name of one")
    return Transient(f"the storage failed: {type(error).__name__}")


def _of_store(error: Exception, url: str) -> BespokeError | None:
    kinds = type(error).__mro__
    # gcsfs has no type of its own for most of 400 either.
    if isinstance(error, ValueError) and str(error).startswith("Bad Request: "):
        return _forbidden(url)
    if not any(kind.__module__.partition(".")[0] in _STORES for kind in kinds):
        return None
    names = {kind.__name__ for kind in kinds}
    if names & _WRONG_SETTINGS or getattr(error, "code", None) in _FORBIDDEN:
        return _forbidden(url)
    return Transient(f"the storage failed: {type(error).__name__}")


def _forbidden(url: str) -> Misconfigured:
    return Misconfigured(
        f"BESPOKE_STORAGE_URL: the storage forbids the access to {url!r}; "
        "correct the rights, the credentials or the bucket"
    )
