"""One of Swift's servers, run by the system's Python: ``python3 serve.py KIND FOLDER``.

Swift reads its ``swift.conf`` in ``/etc/swift``, which is root's; this makes it the one in the folder. Nothing of
this house is imported: the system's Python does not know it.
"""

import sys

from swift.common import utils  # type: ignore[import-not-found] # Debian's package

KIND, FOLDER = sys.argv[1:]
utils.set_swift_dir(FOLDER)

# Only now: they read it when they are imported.
from swift.common.wsgi import run_wsgi  # type: ignore[import-not-found] # noqa: E402
from swift.obj.server import global_conf_callback  # type: ignore[import-not-found] # noqa: E402

more = {"global_conf_callback": global_conf_callback} if KIND == "object" else {}
sys.exit(run_wsgi(f"{FOLDER}/{KIND}.conf", f"{KIND}-server", verbose=True, **more))
