"""Benchmarks: this library and its peers, through their public interfaces, against a floor.

Every figure is a ratio to a floor that was measured in the same run, in interleaved rounds: on a
shared machine absolute times say little. Start with harness.py; each scenario is one function.
"""
