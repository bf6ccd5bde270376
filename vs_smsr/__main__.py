"""`python -m vs_smsr` is `vs-smsr`."""

from vs_smsr.cli import main

main()
