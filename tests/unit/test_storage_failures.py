"""Failures of storages, whichever package tells them, become ours."""

import errno

import aiohttp
import botocore.exceptions
import gcsfs.retry
import pytest

from bespoke_workers.errors import BespokeError, Misconfigured, Refused, Transient
from bespoke_workers.storage.failures import translated

URL = "s3://bucket/x"


@pytest.mark.parametrize(
    ("failure", "ours"),
    [
        (FileNotFoundError(URL), Refused),
        (IsADirectoryError(URL), Refused),
        (NotADirectoryError(URL), Refused),
        (FileExistsError(URL), Refused),
        (OSError(errno.ELOOP, "loop"), Refused),
        (OSError(errno.ENAMETOOLONG, "long"), Refused),
        (PermissionError(URL), Misconfigured),
        (OSError(errno.EINVAL, "The provided token is malformed"), Misconfigured),
        (OSError(getattr(errno, "EREMCHG", errno.EINVAL), "another region"), Misconfigured),
        (OSError("Forbidden: b/bucket/o"), Misconfigured),
        (ValueError("Bad Request: b/bucket/o\ninvalid"), Misconfigured),
        (gcsfs.retry.HttpError({"code": 401, "message": "secret"}), Misconfigured),
        (botocore.exceptions.NoCredentialsError(), Misconfigured),
        (botocore.exceptions.ProfileNotFound(profile="secret"), Misconfigured),
        (botocore.exceptions.ParamValidationError(report="secret"), Misconfigured),
        (OSError(errno.ENOSPC, "full"), Transient),
        (OSError(errno.EBUSY, "slow down"), Transient),
        (TimeoutError(), Transient),
        (ConnectionResetError(), Transient),
        (gcsfs.retry.HttpError({"code": 503, "message": "secret"}), Transient),
        (gcsfs.retry.ChecksumError("secret"), Transient),
        (aiohttp.ServerDisconnectedError("secret"), Transient),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://secret"), Transient),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://secret"), Transient),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else one.__name__,
)
def test_each_failure_has_its_kind(failure: Exception, ours: type[BespokeError]) -> None:
    with pytest.raises(BespokeError) as raised, translated(URL, "bundle"):
        raise failure

    assert type(raised.value) is ours
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_bug_stays_one() -> None:
    with pytest.raises(ValueError, match="ours"), translated(URL, "bundle"):
        raise ValueError("ours")
