"""A result file is there whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vs_smsr.errors import MediaError, OutputExistsError


@contextmanager
def whole_or_nothing(target: Path, overwrite: bool) -> Iterator[Path]:
    """Yield the path of an empty temporary file beside the target; rename it to the target at the end.

    If the block raises, the temporary file is removed and the target stays as it was.

    Raises:
        OutputExistsError: the target exists and overwrite is False.
        MediaError: the folder cannot be made or written, the disk is full, or the target is a folder.
    """
    try:
        is_folder, exists = target.is_dir(), target.exists()
    except OSError as error:  # such as a name that is too long
        raise MediaError(f"{target}: cannot write here: {error.strerror or error}.") from error
    if is_folder:
        raise MediaError(f"{target}: is a folder, not a file to write.")
    if exists and not overwrite:
        raise OutputExistsError(f"{target}: exists already. Allow to replace it with --overwrite (overwrite=True).")
    # The ending stays last, as encoders choose the format by it. The name is short: it fits where the target's does.
    temporary = target.with_name(f".{secrets.token_hex(4)}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.open("xb").close()
    except OSError as error:
        raise MediaError(f"{target}: cannot write here: {error.strerror or error}.") from error
    try:
        yield temporary
        temporary.replace(target)
    except MediaError:
        raise
    except OSError as error:
        raise MediaError(f"{target}: cannot write: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
