"""Make the zoo: small media files of many containers, codecs, clocks, colours and streams, by the ffmpeg program.

    scripts/make_zoo.py DIR [--only GLOB]

A file that the ffmpeg at hand cannot make (an encoder is missing) is named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from media_zoo.making import make


def main(command: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="is made if it is not there; files of the same names are replaced")
    parser.add_argument("--only", default="*", help="names to make, like '*.mkv'; what they are made of comes along")
    arguments = parser.parse_args(command)
    made, refused = make(arguments.folder, lambda name: fnmatch.fnmatch(name, arguments.only))
    for name, said in refused.items():
        print(f"{name}: not made: {said}", file=sys.stderr)
    print(f"{len(made)} files in {arguments.folder}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
