"""Lets the tests here import the emulator as the package `host`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
