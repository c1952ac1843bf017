"""One module an area of input. Each has ``NAME`` and ``inputs(seed, count, folder)``.

``inputs`` tries ``count`` inputs in ``folder``, and yields once for each: ``None`` when framespool answered as it
must (a clear error or a repair), or a `tools.fuzz.finding.Finding`.
"""
