"""The worker process of the soak: ``framespool worker``, with shorter patience when asked for.

With ``--impatient`` as first argument every timeout and wait is shorter, of the same shape, so that a soak of
seconds sees what otherwise takes minutes.
"""

import sys

from uploader import retry, worker
from uploader.api import AtomscaleApi
from uploader.cli import main
from uploader.destinations import atomscale

IMPATIENT_STALL_S = 2.0


def be_impatient() -> None:
    """Shorten the waits of this process."""
    retry.CAP_S = 2.0
    atomscale.STALL_S = IMPATIENT_STALL_S
    atomscale.KEY_PROBE_S = 0.5
    worker.KEY_PAUSE_S = 0.5
    worker._REST_AFTER_BUG_S = 2.0  # noqa: SLF001 - nothing else shortens it
    defaults = AtomscaleApi.__init__.__kwdefaults__
    assert defaults is not None
    defaults["timeout_s"] = IMPATIENT_STALL_S


if __name__ == "__main__":
    if sys.argv[1:2] == ["--impatient"]:
        del sys.argv[1]
        be_impatient()
    main()
