"""The pure core: limits, their algorithms and the decision. No I/O, no clock reads, no framework.

Time is a whole number of microseconds everywhere below the public API. It enters as an
argument and is turned into seconds in one place, `decision.py`.
"""
