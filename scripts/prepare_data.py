"""Build a training set from what is on the disk.

scripts/prepare_data.py PICTURES... --out runs/data
    takes every image below the folders (DIV2K, Flickr2K, your photographs), leaves out duplicates, blurred and
    upscaled images and the images of benchmarks, reduces JPEG damage by downscaling, adds MATLAB-equal bicubic LR.
scripts/prepare_data.py --debian --out runs/data
    takes Debian's packages of photographs instead (apt-get download; nothing is installed), or as well.
scripts/prepare_data.py PICTURES... --footage --out runs/footage
    makes clips of the images, which move, and codes them as video is coded: LR is then what a viewer gets.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from vs_smsr.errors import OptionError, SmsrError
from vs_smsr.options import SCALES
from vs_smsr.training.footage import Footage
from vs_smsr.training.prepare import Cleaner, benchmark_hashes, prepare

# Packages of photographs in Debian main; see each package's copyright file. The drawn ones are for drawn content.
PHOTOGRAPHS = (
    "gnome-backgrounds",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "ukui-wallpapers",
    "opencv-doc",
    "libjxl-testdata",
)
DRAWN = ("endless-sky-high-dpi", "supertuxkart-data", "stellarium-data", "wesnoth-1.16-data")
NOT_PICTURES = ("normal", "_nm.", "gloss", "lightmap", "segmentation", "screenshot", "icons")  # in folder or file name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="PICTURES")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the training set")
    parser.add_argument("--clean", action="append", default=[], type=Path, metavar="DIR",
                        help="more pictures, sharp and undamaged: they keep their size; repeatable")  # fmt: skip
    parser.add_argument("--exclude", action="append", default=[], type=Path, metavar="DIR",
                        help="benchmark images: nothing that looks like them is taken; repeatable")  # fmt: skip
    parser.add_argument("--debian", action="store_true", help="take Debian's packages of photographs")
    parser.add_argument("--drawn", action="store_true", help="with --debian: drawn and rendered pictures too")
    parser.add_argument("--footage", action="store_true", help="LR from coded clips instead of bicubic")
    parser.add_argument("--scale", type=int, choices=SCALES, default=2, help="with --footage: of HR over LR (2)")
    parser.add_argument("--seed", type=int, default=0, help="with --footage: equal seeds make equal sets (0)")
    parser.add_argument("--clips", type=float, default=4.0, metavar="N",
                        help="with --footage: clips for a megapixel of picture, four crops each (4)")  # fmt: skip
    parser.add_argument("--teacher", type=float, default=0.0, metavar="SHARE",
                        help="with --footage: share of realesr-animevideov3's result in HR, 0..1 (0)")  # fmt: skip
    parser.add_argument("--cache", type=Path, default=Path("runs/debian"), help="where packages are unpacked")
    parser.add_argument("-v", "--verbose", action="store_true", help="say of each image why it was left out")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING, format="%(message)s")
    if not 0 <= arguments.teacher <= 1:
        parser.error("--teacher must be from 0 to 1.")
    try:
        folders = list(arguments.folders)
        if arguments.debian:
            packages = PHOTOGRAPHS + (DRAWN if arguments.drawn else ())
            folders += [unpack(package, arguments.cache) for package in packages]
        if not folders + arguments.clean:
            raise OptionError("prepare: give folders of images, --clean or --debian.")
        cleaner = Cleaner(benchmark_hashes(arguments.exclude))
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
            task = bar.add_task("reading")
            footage = None
            if arguments.footage:
                footage = Footage(arguments.scale, arguments.seed, arguments.clips, arguments.teacher)
            report = prepare(folders, arguments.out, cleaner, arguments.clean, is_picture,
                             lambda path: bar.update(task, description=path.name), footage)  # fmt: skip
    except SmsrError as error:
        print(f"prepare_data: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.out}: {report}")
    return 0


def is_picture(path: Path) -> bool:
    """False for files that are images by format only: normal maps, light maps, icons."""
    name = "/".join(path.parts[-2:]).lower()
    return not any(part in name for part in NOT_PICTURES)


def unpack(package: str, cache: Path) -> Path:
    """Fetch a Debian package through apt and unpack it below `cache`, without installing it.

    Raises:
        OptionError: there is no apt-get here, or it has no such package.
    """
    target = cache / package
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", package], cwd=cache, check=True, capture_output=True, text=True)
        (archive,) = sorted(cache.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg", "-x", archive, target], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise OptionError(f"prepare: --debian needs Debian's {error.filename}, which is not here.") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise OptionError(f"prepare: {package} could not be fetched: {last}. Try apt-get update.") from error
    archive.unlink()
    return target


if __name__ == "__main__":
    sys.exit(main())
