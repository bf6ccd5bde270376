#!/usr/bin/env bash
# All that a machine with a GPU can tell, in less than nine minutes and without a network: one page, one JSON.
#
#     scripts/gpu_check.sh --wheels WHEELS     beforehand, with a network: lay the packages beside the checkout (150 MB)
#     scripts/gpu_check.sh [OUT]               on the machine; OUT: gpu_check (gpu_check.md and gpu_check.json)
#
# The machine needs Python 3.12 or newer and an NVIDIA driver; PyTorch and TensorRT are timed where they are installed.
# PYTHON (default: python3), WHEELS (wheels), CUDA (12 or 13; default 12), DEVICE (cuda:0) and MINUTES (7: nothing is
# begun after them) may be set in the environment.
set -euo pipefail

say() { echo "gpu_check: $1" >&2; exit 2; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3} wheels=${WHEELS:-$root/wheels} cuda=${CUDA:-12} device=${DEVICE:-cuda:0} minutes=${MINUTES:-7}

if [ "${1:-}" = --wheels ]; then
    [ $# -eq 2 ] || say "--wheels must be given a folder. See the head of $0."
    exec "$python" -m pip wheel --wheel-dir "$2" "$root[cuda$cuda]"
fi
out=${1:-gpu_check}
[ $# -le 1 ] || say "must get one name at most, got $# arguments. See the head of $0."

if ! "$python" -c 'import av, cupy, numba, safetensors, typer' 2>/dev/null; then
    [ -d "$wheels" ] || say "$python lacks packages, and there is no folder $wheels. Make it with $0 --wheels WHEELS."
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    "$python" -m venv --system-site-packages "$place"
    python=$place/bin/python
    "$python" -m pip install --quiet --no-index --find-links "$wheels" "vs-smsr[cuda$cuda]"
fi
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" "$python" "$root/scripts/gpu_report.py" --device "$device" \
    --output "$out" --minutes "$minutes"
