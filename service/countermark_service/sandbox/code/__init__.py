"""The code sandbox: untrusted candidate programs, contained, from a warm start.

It runs programs and function calls and says how they ended. It knows nothing of
bundles, verdicts or expected outputs: those stay with its callers, out of every
candidate's reach.
"""
