"""Connections whose other end must prove who it is, with a certificate made for the test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fooocus_lite.download_file import Tries, fetch_file
from fooocus_lite.errors import DownloadFailed
from fooocus_lite.http_streams import Halt, Patience
from fooocus_lite.model_files import ModelFile
from fooocus_lite.settings import load_settings
from tests.fake_hub import FakeHub, Redirect, random_bytes

DATA = random_bytes(1_000_000)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    made = (str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-out", made[0], "-keyout", made[1]]
    subprocess.run(command, check=True, capture_output=True)
    return made


def test_nobody_is_believed_without_proof(
    certificate: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({"models_dir": str(tmp_path / "models")}, env={}, root=tmp_path)
    place = tmp_path / "models" / "x.bin"
    tries = Tries(Halt(), Patience(tries=2, first_wait_s=0.01), lambda _: None)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with FakeHub(certificate=certificate) as hub, FakeHub() as open_hub:
        file = ModelFile(str(place), url=hub.put_url("x.bin", DATA))
        with pytest.raises(DownloadFailed, match=r"cannot prove that it is 127\.0\.0\.1"):
            fetch_file(file, settings, tries)
        assert not hub.gets("x.bin")
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        hub.next("x.bin", Redirect(open_hub.put_url("x.bin", DATA)))
        with pytest.raises(DownloadFailed, match="not safe"):  # from https to http
            fetch_file(file, settings, tries)
        assert open_hub.seen == []
        fetch_file(file, settings, tries)
    assert place.read_bytes() == DATA
