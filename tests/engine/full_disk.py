"""A disk that gets full."""

import resource
from contextlib import contextmanager


@contextmanager
def no_space_beyond_4_kb():
    """Makes the system refuse writes beyond 4 KB, with a real OSError as of a full disk.

    Around the write alone: the limit is the whole process's, and pytest's own output may be a longer file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
