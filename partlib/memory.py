"""Memory that has been freed, returned to the system."""

import ctypes
import gc
from contextlib import suppress


def return_freed() -> None:
    """Give freed memory back to the system, where its C library keeps it.

    GNU's keeps small blocks for later use: after a training that is hundreds of megabytes, which large arrays made next
    would come on top of. Elsewhere this only collects garbage.
    """
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # another C library than GNU's; Windows
        ctypes.CDLL(None).malloc_trim(0)
