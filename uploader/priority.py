"""A worker process stands back: where processors are scarce, the camera's frames come first.

Compressing a chunk takes every core for a moment. A worker that sends at full speed meanwhile would make each push
take longer; it loses nothing by waiting, and gets whatever the others leave.
"""

import contextlib
import os
import sys

NICE = 10
"""A ninth of the share of an ordinary process, where both want the same processor."""


def stand_back() -> None:
    """Give this process and its threads a lower priority, as far as the system allows; it cannot be taken back."""
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - Windows only

        below_normal = 0x4000
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.GetCurrentProcess.restype = ctypes.c_void_p
        kernel32.SetPriorityClass.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
        kernel32.SetPriorityClass(kernel32.GetCurrentProcess(), below_normal)
    else:
        with contextlib.suppress(OSError):
            os.nice(NICE)
