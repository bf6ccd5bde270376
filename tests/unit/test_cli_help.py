"""What the program says of itself: help, version, devices, doctor, models, completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file

from vs_smsr.cli.app import app
from vs_smsr.weights import shipped
from vs_smsr.weights.catalogue import models

from .test_cli import ROOT


def test_help_fits_a_terminal(program, monkeypatch):
    """Nothing sticks out of 80 columns, is cut off with dots, or is a word in two lines."""
    monkeypatch.setenv("COLUMNS", "80")
    commands = typer.main.get_command(app).commands
    for command in ("", *commands):
        ended = program(*command.split(), "--help")
        assert ended.code == 0
        assert max(map(len, ended.out.splitlines())) <= 80
        assert "…" not in ended.out
        for parameter in commands[command].params if command else ():
            texts = (parameter.metavar or "", getattr(parameter, "help", None) or "")
            words = [*(name for name in parameter.opts if name.startswith("-")), *re.split(r"[\s|]", " ".join(texts))]
            assert [word for word in words if word not in ended.out] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell):
    """The script that a shell sources, and what it asks the program for."""
    environment = {**os.environ, "_VS_SMSR_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-c", "from vs_smsr.cli import main; main()"]
    script = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    assert "_VS_SMSR_COMPLETE" in script
    if shell == "bash":
        asking = {"_VS_SMSR_COMPLETE": "complete_bash", "COMP_WORDS": "vs-smsr upscale --prec", "COMP_CWORD": "2"}
        said = subprocess.run(command, env={**os.environ, **asking}, capture_output=True, text=True, check=False).stdout
        assert said.split() == ["--precision"]


def test_help_version_and_devices(program):
    for arguments in (["--help"], ["upscale", "-h"], ["evaluate", "--help"]):
        ended = program(*arguments)
        assert ended.code == 0
        assert "Usage:" in ended.out
    from vs_smsr import __version__

    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    said = f"vs-smsr {__version__} ({head[:12]})" if head else f"vs-smsr {__version__}"
    assert program("--version") == (0, f"{said}\n", "")
    devices = program("upscale", "--list-devices")
    assert devices.code == 0
    assert re.search(r"^cpu +ok +\S", devices.out, re.MULTILINE)
    assert re.search(r"^cuda +(ok|no) +\S", devices.out, re.MULTILINE)


def test_doctor(program):
    ended = program("doctor")
    assert ended.code == 0
    assert re.search(r"cpu +works: ", ended.out)
    assert "smsr_x2" in ended.out
    assert re.search(r"numpy +\d", ended.out)


def test_models(program):
    """Every shipped file has a line, with the figures of the table beside the files."""
    ended = program("models")
    assert ended.code == 0
    folder = shipped(2).parent
    rows = re.findall(
        r"^\| `(\w+)_x(\d)\.safetensors` \| \d \| ([\d.]+ dB) \(([\d.]+)\)", (folder / "README.md").read_text(), re.M
    )
    assert {f"{name}_x{scale}" for name, scale, _, _ in rows} == {path.stem for path in folder.glob("*.safetensors")}
    for name, scale, psnr, sparsity in rows:
        size = (folder / f"{name}_x{scale}.safetensors").stat().st_size / 1e6
        line = rf"{name} +x{scale} +{size:.1f} MB +{psnr} +{100 * float(sparsity):.0f}% +MIT +\w"
        assert re.search(line, ended.out), (line, ended.out)


def test_a_model_whose_file_tells_nothing(tmp_path):
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "my_own_x3.safetensors")
    (model,) = models(tmp_path)
    assert (model.name, model.scale, model.psnr, model.sparsity, model.purpose) == ("my_own", 3, None, None, "")


@pytest.mark.parametrize("vendor", ["0x10de", "0x8086", None])
def test_who_has_no_nvidia_gpu_is_not_told_of_drivers(program, monkeypatch, tmp_path, vendor):
    from vs_smsr.cli import doctor

    if vendor:
        device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
    present = doctor.may_have_nvidia_gpu("Linux", tmp_path)
    assert present == (vendor == "0x10de")
    assert not doctor.may_have_nvidia_gpu("Darwin", tmp_path)
    assert doctor.may_have_nvidia_gpu("Windows", tmp_path)
    monkeypatch.setattr(doctor, "may_have_nvidia_gpu", lambda: present)
    monkeypatch.setattr("vs_smsr.engine.cuda.diagnosis._driver", lambda: 0)
    for arguments in (["doctor"], ["upscale", "--list-devices"]):
        ended = program(*arguments)
        assert ("NVIDIA" in ended.out) == present
        assert "NVIDIA" not in ended.err
