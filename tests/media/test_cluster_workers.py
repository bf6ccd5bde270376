"""Workers that hang, that a nanny starts again, and that are reached by TLS."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.media.cluster_site import ENGINE, LIMIT, Site, until
from vs_smsr.jobs import cluster, remote
from vs_smsr.jobs.cluster import LostError, connected
from vs_smsr.jobs.folder import JobFolder
from vs_smsr.options import JobOptions


@pytest.fixture(scope="module")
def address(site: Site) -> str:
    """Of a scheduler that stays."""
    return site.scheduler()[1]


def test_a_worker_that_hangs_is_taken_for_gone(
    site: Site, whole: bytes, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine still answers, so dask waits for five minutes. Whatever we do with it ends, and it may come back."""
    monkeypatch.setattr(cluster, "SILENT", 3.0)
    worker = site.worker(address, *ENGINE)
    with connected(JobOptions(cluster=address)) as found:
        (name,) = found.workers()
        assert found.call(name, remote.versions)
        worker.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(LostError):
            found.call(name, remote.versions)
        with pytest.raises(LostError):
            found.compute(name, remote.versions)
        assert time.monotonic() - began < 20
        assert found.workers() == set()
        worker.send_signal(signal.SIGCONT)
        until(found.workers, worker)
        assert found.compute(name, remote.versions) == remote.versions()
    worker.kill()
    worker.wait(LIMIT)


def test_a_nanny_starts_its_worker_again(site: Site, whole: bytes, address: str) -> None:
    """The only worker is killed in the middle of a chunk; the one that follows it goes on."""
    nanny = site.worker(address, *ENGINE, nanny=True)
    target, folder = site.path / "target.mkv", JobFolder(JobFolder.of(site.path / "target.mkv"))
    client = site.upscale("-o", target, "--cluster", address)
    until(lambda: len(list(folder.path.glob("chunk-*.json"))) >= 2, client)
    (first,) = [child for child in psutil.Process(nanny.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    first.kill()
    assert client.wait(LIMIT) == 0, site.said(client)
    assert target.read_bytes() == whole
    nanny.terminate()
    nanny.wait(LIMIT)


@pytest.fixture(scope="module")
def certificates(site: Site) -> Path:
    """A folder with dask's configuration: an authority and a certificate by it; in "other" the same of another one."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl (Debian: apt-get install openssl)")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    authority = ["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"]
    host = ["-subj", "/CN=host", "-keyout", "host.key", "-out", "host.pem", "-CA", "ca.pem", "-CAkey", "ca.key"]
    for folder in (site.path / "tls", site.path / "tls" / "other"):
        folder.mkdir()
        for options in (authority, host):
            subprocess.run(["openssl", "req", "-x509", *key, *options], cwd=folder, check=True, capture_output=True)
        own = f"{{cert: {folder}/host.pem, key: {folder}/host.key}}"
        (folder / "tls.yaml").write_text(
            f"distributed: {{comm: {{require-encryption: true, tls: {{ca-file: {folder}/ca.pem, "
            f"scheduler: {own}, worker: {own}, client: {own}}}}}}}\n"
        )
    return site.path / "tls"


def test_tls(site: Site, whole: bytes, certificates: Path) -> None:
    """Scheduler, worker and client with certificates of one authority; then clients without and of another one."""
    plain, site.environment = site.environment, site.environment | {"DASK_CONFIG": str(certificates / "tls.yaml")}
    try:
        _, address = site.scheduler("tls")
        assert address.startswith("tls://")
        site.worker(address, *ENGINE)
        client = site.upscale("-o", "tls.mkv", "--cluster", address)
        assert client.wait(LIMIT) == 0, site.said(client)
        assert (site.path / "tls.mkv").read_bytes() == whole
        site.environment = plain | {"DASK_CONFIG": str(certificates / "other" / "tls.yaml")}
        strange = site.upscale("-o", "strange.mkv", "--cluster", address)
        site.environment = plain
        bare = site.upscale("-o", "bare.mkv", "--cluster", address)
        unsafe = site.upscale("-o", "unsafe.mkv", "--cluster", address.replace("tls", "tcp"))
        said = [site.said(process) for process in (strange, bare, unsafe) if process.wait(LIMIT) == 1]
    finally:
        site.environment = plain
    told = "is not by the authority", "needs certificates", "no scheduler answers"
    assert [len(lines.splitlines()) for lines in said] == [1, 1, 1]
    assert [words in lines for words, lines in zip(told, said, strict=True)] == [True] * 3
    assert not [path for name in ("strange", "bare", "unsafe") for path in site.path.glob(f"{name}*")]
