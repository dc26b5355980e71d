"""What runs inside the sandbox: standard library only, one package, no import from outside it.

`boot.py` is started by its path and makes this folder a package of its own, so
that nothing else of the service is loaded, or even visible, where a candidate
program runs. Only `plain` and `kernel` are also used by the service itself.
"""
