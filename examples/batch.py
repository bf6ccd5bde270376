"""Upscale every video and image of a folder and say what became of each: python examples/batch.py FOLDER OUTPUT"""

import json
import subprocess
import sys
from pathlib import Path

folder, output = sys.argv[1:3]
report = Path(output) / "report.json"
report.parent.mkdir(parents=True, exist_ok=True)
command = [sys.executable, "-m", "vs_smsr", "upscale", folder, "-o", output, "--json", str(report), "--no-progress"]
ended = subprocess.run(command, check=False)
for entry in json.loads(report.read_text(encoding="utf-8")):
    print(entry["source"], "->", entry.get("error") or entry["output"])
sys.exit(ended.returncode)
