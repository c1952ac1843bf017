"""The oracle soak: real producers, worker, server and network faults, judged by bytes kept outside the spool.

``python tools/soak/run.py --minutes 5 --seed 1``. See `tools.soak.campaign` for what happens, `tools.soak.judge`
for what is held against what.
"""
