"""Explain: why an application waits, for how long, and which changes would let it start now.

Everything here reads. A change is tried on a copy of the free room (`QueuePass.suppose`), so that an answer
to a person changes no decision.
"""
