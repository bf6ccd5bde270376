"""A job on a cluster of three workers goes on after the worker, the scheduler or the client is killed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.media.cluster_site import CHUNK, ENGINE, FRAMES, LIMIT, Site, until, with_group
from vs_smsr.errors import JobError, OptionError
from vs_smsr.jobs.cluster import connected
from vs_smsr.jobs.crew import Crew
from vs_smsr.jobs.folder import JobFolder
from vs_smsr.options import EngineOptions, JobOptions, TilingOptions
from vs_smsr.weights import shipped


def test_killed_one_after_the_other(site: Site, whole: bytes) -> None:
    """First a worker in the middle of a chunk, then the client, then the scheduler; then the same command again."""
    scheduler, address = site.scheduler()
    workers = [site.worker(address, *ENGINE) for _ in range(3)]
    target, folder = site.path / "target.mkv", JobFolder(JobFolder.of(site.path / "target.mkv"))
    site.computed.unlink()

    def done() -> int:
        return len(list(folder.path.glob("chunk-*.json")))

    client = site.upscale("-o", target, "--cluster", address)
    until(lambda: done() >= 2, client)
    workers[0].kill()
    before = done()
    until(lambda: done() > before, client)
    with_group(client, signal.SIGKILL)
    client.wait(LIMIT)
    assert not target.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.path.glob("chunk-*.json")}

    client = site.upscale("-o", target, "--cluster", address)
    until(lambda: done() > len(kept), client)
    with_group(scheduler, signal.SIGKILL)
    assert client.wait(LIMIT) == 1
    (said,) = site.said(client).splitlines()
    assert re.search(r"--cluster: the scheduler at \S+ is gone", said)
    assert not target.exists()

    _, address = site.scheduler()
    for _ in range(2):
        site.worker(address, *ENGINE)
    client = site.upscale("-o", target, "--cluster", address)
    until(lambda: done() > len(kept) or client.poll() is not None, client)
    found = {path.name: path.stat().st_mtime_ns for path in folder.path.glob("chunk-*.json")}
    assert client.wait(LIMIT) == 0, site.said(client)
    assert found.items() >= kept.items() or not found
    assert target.read_bytes() == whole
    assert not folder.path.exists()
    # Each of the three blows loses what was under way: a chunk and the frames around it for each worker that it hits.
    assert len(site.computed.read_text()) <= FRAMES + (1 + 3 + 2) * (CHUNK + 2)


@pytest.fixture(scope="module")
def address(site: Site) -> str:
    """Of a scheduler that stays."""
    return site.scheduler()[1]


def test_who_does_not_fit_is_named(site: Site, whole: bytes, address: str) -> None:
    """A worker without an engine, then one with another PyAV: an error after the stated wait."""
    job = JobOptions(cluster=address, cluster_wait=2)
    paths = site.path / "source.mkv", site.path / "refused.mkv"
    with connected(job) as cluster:
        idle = site.worker(address)
        with pytest.raises(JobError, match=rf"for 2 s no worker .* dask worker {address} --resources ENGINE=1"):
            Crew(cluster, *paths, EngineOptions(), TilingOptions(), job).made_with()
        other = site.worker(address, *ENGINE, preload="other")
        with pytest.raises(JobError, match=r"for 2 s no worker .* version av is 1\.0 there, but "):
            Crew(cluster, *paths, EngineOptions(), TilingOptions(), job).made_with()
    for worker in (idle, other):
        worker.kill()


def test_files_that_a_worker_does_not_see_are_sent(site: Site, whole: bytes, address: str) -> None:
    """Source and weights lie in the client's folder, by a name that means another folder to the worker.

    The client is interrupted once, and goes on.
    """
    shutil.copy(shipped(2), site.path / "weights.safetensors")
    worker, folder = site.worker(address, *ENGINE), site.path / "sent.mkv.vs-smsr"
    here = "/proc/self/cwd"
    command = "-o", "sent.mkv", "--cluster", address, "--weights", f"{here}/weights.safetensors"
    client = site.upscale(*command, source=f"{here}/source.mkv")
    until(lambda: list(folder.glob("chunk-*.json")), client)
    client.send_signal(signal.SIGINT)
    assert client.wait(LIMIT) == 130
    assert "the same command goes on with it" in site.said(client)
    sent = list((site.path / "workers").rglob("vs-smsr-*/*"))
    assert sorted(path.suffix for path in sent if path.is_file()) == [".mkv", ".safetensors"]
    client = site.upscale(*command, source=f"{here}/source.mkv")
    assert client.wait(LIMIT) == 0, site.said(client)
    assert (site.path / "sent.mkv").read_bytes() == whole
    until(lambda: not list((site.path / "workers").rglob("vs-smsr-*")), worker)
    assert site.said(worker).count("'store'") == 2
    worker.kill()


def test_a_chunk_that_kills_its_workers(site: Site, whole: bytes, address: str) -> None:
    """It is tried three times, by whoever is there."""
    deadly = site.path / "computed.deadly"
    deadly.touch()
    client = site.upscale("-o", "deadly.mkv", "--cluster", address)
    for _ in range(3):
        assert site.worker(address, *ENGINE).wait(LIMIT) == 1
    assert client.wait(LIMIT) == 1
    deadly.unlink()
    assert "workers lost chunk 0 3 times, the last one tcp://" in site.said(client).splitlines()[-1]


def test_a_local_cluster(site: Site, whole: bytes) -> None:
    client = site.upscale("-o", "local.mkv", "--cluster", "local:2")
    assert client.wait(LIMIT) == 0, site.said(client)
    assert (site.path / "local.mkv").read_bytes() == whole


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tls://10.0.0.7:8786", "local:3"])
def test_addresses_that_are_safe(address: str) -> None:
    assert JobOptions(cluster=address).cluster == address


def test_other_machines_need_tls_or_leave() -> None:
    with pytest.raises(OptionError, match="--insecure"):
        JobOptions(cluster="tcp://render.example:8786")
    assert JobOptions(cluster="tcp://render.example:8786", insecure=True)


@pytest.mark.parametrize(
    "wrong", ["render", "http://localhost:1", "tcp://localhost", "local:0", "local:", "tls://:8786"]
)
def test_what_is_no_address(wrong: str) -> None:
    with pytest.raises(OptionError, match="cluster must be tcp://host:port, tls://host:port or local:N"):
        JobOptions(cluster=wrong)


def test_other_ways_are_not_mixed_with_a_cluster() -> None:
    for options in ({"devices": ("cpu", "cpu")}, {"prepare": True}):
        with pytest.raises(OptionError, match="without several devices"):
            JobOptions(cluster="local:2", **options)


def test_dask_is_loaded_only_where_it_is_used() -> None:
    code = "import sys, vs_smsr.jobs.long, vs_smsr.cli.upscale; print(*{'dask', 'distributed'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(OptionError, match=r"pip install 'vs-smsr\[cluster\]'"),
        connected(JobOptions(cluster="local:2")),
    ):
        pass


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port at which nobody answers; and TLS without certificates."""
    monkeypatch.setattr("vs_smsr.jobs.cluster.CONNECT", 0.5)
    with pytest.raises(JobError, match="no scheduler answers"), connected(JobOptions(cluster="tcp://127.0.0.1:9")):
        pass
    with pytest.raises(OptionError, match="ca-file"), connected(JobOptions(cluster="tls://127.0.0.1:9")):
        pass
