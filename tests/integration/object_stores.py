"""Object stores on this machine, out of packages: S3 by moto, GCS by its emulator."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from socketserver import BaseServer
from urllib.request import urlopen

import pytest

BUCKET = "bespoke-tests"
SHUTDOWN_SECONDS = 0.02  # how late a server sees that it is to end; by default half a second


@contextmanager
def s3_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run an S3 server with one bucket, to which the environment leads; yield its address."""
    from moto.server import ThreadedMotoServer
    from werkzeug.serving import BaseWSGIServer

    monkeypatch.setattr(BaseWSGIServer.serve_forever, "__defaults__", (SHUTDOWN_SECONDS,))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        address = f"http://127.0.0.1:{port}"
        # What it holds belongs to the process, not to the server.
        urlopen(f"{address}/moto-api/reset", data=b"").close()
        point_to_s3(monkeypatch, address)
        import boto3

        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield address
    finally:
        server.stop()


def point_to_s3(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Have every S3 client lead to a server of this machine, and to no credentials but these."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    forget_file_systems()


@contextmanager
def checking_keys() -> Iterator[None]:
    """Have the S3 server refuse who is unknown to it, which is everybody."""
    from moto import settings

    before = settings.INITIAL_NO_AUTH_ACTION_COUNT
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    try:
        yield
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = before


@contextmanager
def gcs_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a GCS server with one bucket, to which the environment leads; yield its address."""
    from gcp_storage_emulator.server import create_server

    # Its own serves one connection at a time: a second one waits for the first to be closed.
    monkeypatch.setattr("http.server.HTTPServer", ThreadingHTTPServer)
    monkeypatch.setattr(BaseServer.serve_forever, "__defaults__", (SHUTDOWN_SECONDS,))
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    try:
        _, port = server._api._httpd.server_address
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")
        monkeypatch.setenv("FSSPEC_GS_PROJECT", "bespoke")
        forget_file_systems()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def forget_file_systems() -> None:
    """Have fsspec make file systems anew, with the environment as it is now."""
    import fsspec
    from fsspec.config import conf, set_conf_env

    for protocol in ("s3", "gs"):
        fsspec.get_filesystem_class(protocol).clear_instance_cache()
    conf.clear()
    set_conf_env(conf)
