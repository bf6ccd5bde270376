"""The command line: `vs-smsr upscale | preview | compare | ...`. Arguments become options; the work is done elsewhere.

Exit codes: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted.
"""

from vs_smsr.cli.app import main

__all__ = ["main"]
