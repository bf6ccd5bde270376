"""The errors that vs-smsr raises; each is also the builtin that a caller would expect."""

import re


class SmsrError(Exception):
    """Base of all errors raised on purpose; the message is one line: what was expected, what came, what to do."""


class OptionError(SmsrError, ValueError):
    """An argument has a value that is not allowed."""


class WeightsError(SmsrError, ValueError):
    """A weights file is missing, damaged, or is not SMSR."""


class EngineError(SmsrError, RuntimeError):
    """An engine or a device does not work here, or failed while running."""


class MemoryBudgetError(SmsrError, MemoryError):
    """The memory budget is too small for the job, or an allocation failed at the smallest tile."""


class MediaError(SmsrError, OSError):
    """A file cannot be read, decoded, encoded or written."""


class JobError(SmsrError, RuntimeError):
    """A long job on disk is not what was asked for, damaged, or somebody else is working on it."""


class OutputExistsError(MediaError, FileExistsError):
    """The target exists and overwriting was not asked for."""


def plain(error: BaseException) -> str:
    """The message in one line, without the name of the options record: users of the CLI and the filter never saw it."""
    return re.sub(r"^\w+Options: ", "", " ".join(str(error).split()))
