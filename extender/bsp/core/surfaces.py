"""Response surfaces: how long a member takes for a size of work on an amount of CPU."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from extender.bsp.core.profile import Profile, ProfileUnusable

Floats = NDArray[np.float64]

_DEGREE: Final = 3


class Surface(Protocol):
    """Duration of a superstep's part for each member."""

    @property
    def members(self) -> tuple[str, ...]:
        """Names, in the order in which arrays have them."""
        ...

    def grid(self, sizes: Floats, millicores: Floats) -> Floats:
        """Seconds for sizes `[..., member]` on every amount of CPU: `[..., member, cpu]`."""
        ...

    def points(self, sizes: Floats, millicores: Floats) -> Floats:
        """Seconds for sizes `[..., member]` on CPU of the same shape."""
        ...


class SplineSurface:
    """An interpolating bicubic spline through the measured points; outside the grid, the border's value.

    It keeps every irregularity of the measurements, so more CPU may be slower. This is the original's model,
    and the one that published figures were simulated with.
    """

    def __init__(self, profile: Profile) -> None:
        """One spline a member. Raises `ProfileUnusable` for fewer than four sizes or amounts of CPU."""
        if min(len(profile.sizes), len(profile.millicores)) <= _DEGREE:
            raise ProfileUnusable("a bicubic spline needs at least four sizes and four amounts of CPU")
        self.members = profile.members
        self._sizes, self._cpu = profile.sizes[[0, -1]], profile.millicores[[0, -1]]
        self._splines = [
            RectBivariateSpline(profile.sizes, profile.millicores, durations, kx=_DEGREE, ky=_DEGREE, s=0)
            for durations in profile.durations_s
        ]

    def grid(self, sizes: Floats, millicores: Floats) -> Floats:
        """Seconds for sizes `[..., member]` on every amount of CPU (ascending): `[..., member, cpu]`."""
        columns: list[Floats] = []
        for member, spline in enumerate(self._splines):
            distinct, where = np.unique(np.clip(sizes[..., member], *self._sizes), return_inverse=True)
            values = spline(distinct, np.clip(millicores, *self._cpu))
            columns.append(values[where.reshape(sizes.shape[:-1])])
        return np.stack(columns, axis=-2)

    def points(self, sizes: Floats, millicores: Floats) -> Floats:
        """Seconds for sizes `[..., member]` on CPU of the same shape."""
        sizes, millicores = np.clip(sizes, *self._sizes), np.clip(millicores, *self._cpu)
        return np.stack(
            [
                spline.ev(sizes[..., member], millicores[..., member])
                for member, spline in enumerate(self._splines)
            ],
            axis=-1,
        )
