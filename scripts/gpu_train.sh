#!/usr/bin/env bash
# Train on a rented GPU in slices of ten minutes: the same command again goes on where the last slice stopped.
#
#     scripts/gpu_train.sh DATA STATE [options of scripts/train.py]
#
# DATA: a set of scripts/prepare_data.py, at most 45 MB, so that it travels with the checkout. STATE: the folder of the
# checkpoint, the log and the weights (about 20 MB): bring it back after each slice, and give it to the next.
# Without options: `video` x2 from the committed state. PYTHON (default: python3), DEVICE (cuda), MINUTES (9: what is
# left of ten is for starting and saving), MOST_MB (45), COMPILE (inductor; empty: never) and TRIAL (100) may be set in the
# environment. The first slice times TRIAL steps with torch.compile and without; STATE/compile holds what all slices then use.
set -euo pipefail

say() { echo "gpu_train: $1" >&2; exit 2; }

[ $# -ge 2 ] || say "must get DATA and STATE, got $# arguments. See the head of $0."
data=$1 state=$2
shift 2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3} device=${DEVICE:-cuda} minutes=${MINUTES:-9} most=${MOST_MB:-45} backend=${COMPILE-inductor} count=${TRIAL:-100}

[ -f "$data/index.json" ] || say "DATA must be a set made by scripts/prepare_data.py, got $data."
size=$(du -sm --apparent-size "$data" | cut -f1)
[ "$size" -le "$most" ] || say "DATA must be at most $most MB, got $size MB. Take fewer --clips or pictures."

if [ $# -eq 0 ]; then
    set -- --start "$root/scripts/state/x2/dense.safetensors" --loss luma --patch 48 --batch 32 --lr 4e-4 \
        --steps 20000 --cooldown 0.25 --ema 0.998 --dense-steps 14000 --reset-masks \
        --mask-shares 0.58 0.25 0.12 0.21 0.25 --mask-lr 4
fi
mkdir -p "$state"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
train=("$python" "$root/scripts/train.py" --data "$data" --device "$device" --precision bf16)

# Seconds of $count steps after as many that warm up; nothing where they cannot be made.
seconds() {
    local trial
    trial=$(mktemp -d)
    "${train[@]}" "${@:2}" --out "$trial" --steps $((2 * count)) --log-every "$count" --minutes 1 --compile "$1" >"$trial/said" 2>&1 || true
    awk -F, 'NR == 2 { start = $2 } NR == 3 { print ($2 - start) * 3600 }' "$trial"/log_x*.csv 2>/dev/null || true
    rm -r "$trial"
}

if [ ! -f "$state/compile" ]; then
    chosen=
    if [ -n "$backend" ]; then
        plain=$(seconds "" "$@") compiled=$(seconds "$backend" "$@")
        echo "gpu_train: $count steps take ${plain:-?} s, by torch.compile ${compiled:-?} s" >&2
        [ -z "$compiled" ] || awk "BEGIN { exit !($compiled < ${plain:-1e9}) }" && chosen=${compiled:+$backend}
    fi
    echo "$chosen" >"$state/compile"
fi
left=$(awk "BEGIN { left = $minutes - $SECONDS / 60; print (left > 0) ? left : 1e-5 }")  # the trial is part of the slice
exec "${train[@]}" --out "$state" --minutes "$left" --compile "$(cat "$state/compile")" "$@"
