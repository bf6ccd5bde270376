"""A result file is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vs_smsr.errors import MediaError, OutputExistsError
from vs_smsr.media import durable

type Settle = Callable[[Path], None]


@contextmanager
def whole_or_nothing(target: Path, overwrite: bool, settle: Settle | None = None) -> Iterator[Path]:
    """Yield the path of an empty temporary file beside the target; rename it to the target at the end.

    If the block raises, the temporary file is removed and the target stays as it was.

    Args:
        settle: for a result that must survive a crash: called with the whole file before it is renamed. The temporary
            file then has a name that follows from the target's, so that a later run takes the place of one that died.
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
    token = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8] if settle else secrets.token_hex(4)
    temporary = target.with_name(f".{token}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.open("wb" if settle else "xb").close()
    except OSError as error:
        raise MediaError(f"{target}: cannot write here: {error.strerror or error}.") from error
    try:
        yield temporary
        if settle:
            settle(temporary)
            durable.settle(temporary, target)
        else:
            temporary.replace(target)
    except MediaError:
        raise
    except OSError as error:
        raise MediaError(f"{target}: cannot write: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
