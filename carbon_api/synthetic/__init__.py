"""Synthetic grids: seeded intensities with the shape of real ones, which the product may ship."""

from carbon_api.synthetic.generator import generate
from carbon_api.synthetic.grids import GRIDS, Grid, UnknownGrid

__all__ = ["GRIDS", "Grid", "UnknownGrid", "generate"]
