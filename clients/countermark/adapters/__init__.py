"""Countermark in a trainer's own words: one module per framework, each needing that framework and httpx only.

Nothing is imported here, so that an adapter brings no other framework with it. What they share is in
`_scoring` (which verifier judges, what a failed verdict becomes), `_channel` (the one client of a process,
which gathers single calls into requests) and `_plain` (values of datasets as JSON).
"""
