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


class MonotoneSurface:
    """More CPU is never slower and more work never faster; between the measured points, linear in logarithms.

    Its two bounds are the tightest monotone surfaces below and above every measured point (or two standard
    deviations away, where runs were repeated). The estimate is their geometric mean, which is monotone too.
    """

    def __init__(self, profile: Profile) -> None:
        """From the measured points."""
        self.members = profile.members
        self._sizes, self._cpu = profile.sizes, np.log(profile.millicores)
        spread = 0.0 if profile.spreads_s is None else 2 * profile.spreads_s
        low = np.log(np.maximum(profile.durations_s - spread, profile.durations_s * 1e-3))
        high = np.log(profile.durations_s + spread)
        # The least of all that should not be faster, the greatest of all that should not be slower.
        low = np.minimum.accumulate(np.minimum.accumulate(low[:, ::-1], axis=1)[:, ::-1], axis=2)
        high = np.maximum.accumulate(np.maximum.accumulate(high, axis=1)[:, :, ::-1], axis=2)[:, :, ::-1]
        self._low, self._high, self._middle = low, high, (low + high) / 2

    def grid(self, sizes: Floats, millicores: Floats) -> Floats:
        """Seconds for sizes `[..., member]` on every amount of CPU: `[..., member, cpu]`."""
        shape = (*sizes.shape, len(millicores))
        return self._at(self._middle, np.broadcast_to(sizes[..., None], shape), millicores, member_axis=-2)

    def points(self, sizes: Floats, millicores: Floats) -> Floats:
        """Seconds for sizes `[..., member]` on CPU of the same shape."""
        return self._at(self._middle, sizes, millicores, member_axis=-1)

    def interval(self, sizes: Floats, millicores: Floats) -> tuple[Floats, Floats]:
        """Bounds in seconds of what `points` estimates."""
        low, high = (self._at(each, sizes, millicores, member_axis=-1) for each in (self._low, self._high))
        return low, high

    def _at(self, values: Floats, sizes: Floats, millicores: Floats, member_axis: int) -> Floats:
        shape = np.broadcast_shapes(sizes.shape, millicores.shape)
        member_shape = [1] * len(shape)
        member_shape[member_axis] = len(self.members)
        member = np.arange(len(self.members)).reshape(member_shape)
        s, size_part = _between(self._sizes, sizes)
        c, cpu_part = _between(self._cpu, np.log(millicores))
        near = values[member, s, c] * (1 - cpu_part) + values[member, s, c + 1] * cpu_part
        far = values[member, s + 1, c] * (1 - cpu_part) + values[member, s + 1, c + 1] * cpu_part
        return np.exp(near * (1 - size_part) + far * size_part)


def _between(knots: Floats, values: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The knot below each value, and how far the value is on the way to the next; the border's outside."""
    if len(knots) < 2:
        raise ProfileUnusable("a surface needs at least two sizes and two amounts of CPU")
    inside = np.clip(values, knots[0], knots[-1])
    below = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
    return below, (inside - knots[below]) / (knots[below + 1] - knots[below])
