"""A gain taken apart: how much of it is the verifier, and what cannot be told.

`pair` is for two releases: both outputs under both verifiers. `design` is for a set of
runs that varies several factors. `factors` reads from cards what else differs and which
run would settle it. These are rules on numbers and cards; `cells` reads the scores from
work files of audits, `words` and `page` say what came out.
"""
