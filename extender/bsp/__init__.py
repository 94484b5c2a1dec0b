"""Bulk-synchronous gangs: a superstep lasts as long as its slowest member.

`core` decides how much CPU each member gets and for how long a configuration stays; everything else here
reads, measures, runs and reports. The package needs SciPy: the extra `bsp`.
"""
