"""A disk that fails: every operation of every call in turn, through a mount that hands on to a real folder.

* `faults`: what fails, how, and for how long.
* `filesystem`: the mount, in a process of its own.
* `mounted`: mounting it, arming a fault and asking what it saw.
* `trying`: one call of a spool's life with one fault, and what must hold after it.
* `run`: the command.
"""
