"""Run one file of this folder: `python -m host.planted missing_wait.cu 0 1` prints what seed 1 gives without its bug.

For `checked.run`; the tests call `run` themselves where no sanitizer is needed.
"""

import sys

from host.planted import run

file, bug, seed = sys.argv[1:]
print("\nresult", run(file, bug=bool(int(bug)), seed=int(seed)).tobytes().hex())
