"""Kernel: elementary functions that LLVM can vectorize: powers, and the divergence of two shares.

A call into the C library's ``pow`` or ``log`` keeps a loop scalar. What is here is straight code:
arithmetic, the bits of a float64, and selections instead of branches, so that four or eight values
are worked on at once. Nothing is looked up in tables, because gathers are slow.

Sources: the reduction and the coefficients of the logarithm are those of FreeBSD's ``e_log.c``
(fdlibm, Sun Microsystems 1993, http://www.netlib.org/fdlibm/e_log.c), those of the exponential
are the Taylor series.
"""

from __future__ import annotations

import numpy as np

from clustergrid.pipeline._jit import inline

__all__ = ["divergence", "power", "split_exponent"]

_EXPONENT_BITS = 52
_MANTISSA = 0x000FFFFFFFFFFFFF
_ONE = 0x3FF0000000000000
# The bits of sqrt(1/2), to begin every octave there.
_ROOT_HALF = 0x3FE6A09E667F3BCD
_SMALLEST_NORMAL = 2.2250738585072014e-308
_TWO_TO_54 = 18014398509481984.0
# Adding this to a small number rounds it to an integer, which its lowest bits then hold.
_ROUNDING = 6755399441055744.0
# An integer below 2**52 becomes a float64 with these bits above it, once the offset is taken off:
# a way that every instruction set has.
_AS_INTEGER = 0x4330000000000000
_INTEGER_OFFSET = 4503599627370496.0
_LN2 = 0.6931471805599453
_LOG2_E = 1.4426950408889634


@inline
def _log1p_octave(f: float) -> float:  # pragma: no cover - compiled
    """``log(1 + f)`` for ``sqrt(1/2) <= 1 + f <= sqrt(2)``, within one unit in the last place."""
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (0.3999999999940941908 + w * (0.2222219843214978396 + w * 0.1531383769920937332))
    odd = z * (
        0.6666666666666735130
        + w * (0.2857142874366239149 + w * (0.1818357216161805012 + w * 0.1479819860511658591))
    )
    half = 0.5 * f * f
    return f - (half - s * (half + (even + odd)))


@inline
def _exponential(y: float) -> float:  # pragma: no cover - compiled
    """``exp(y)`` for ``abs(y) <= log(2) / 2``: the Taylor series up to ``y ** 13``."""
    z = y * y
    even = 1 / 40320 + z * (1 / 3628800 + z * (1 / 479001600))
    even = 1 / 2 + z * (1 / 24 + z * (1 / 720 + z * even))
    odd = 1 / 362880 + z * (1 / 39916800 + z * (1 / 6227020800))
    odd = 1 / 6 + z * (1 / 120 + z * (1 / 5040 + z * odd))
    return 1.0 + (y + z * (even + y * odd))


@inline
def split_exponent(p: float) -> float:  # pragma: no cover - compiled
    """Keep the 26 leading bits of `p`: their product with the exponent of a float64 is exact."""
    large = p * 134217729.0
    return large - (large - p)


@inline
def power(x: float, p: float, p_leading: float) -> float:  # pragma: no cover - compiled
    """``x ** p`` for ``x >= 0`` and ``0 < p <= 1e6``.

    The relative error is below ``1e-15 + 1.5e-16 * p``, for all normal results and subnormal `x`;
    0, infinity and NaN are as IEEE 754 wants them.

    Parameters
    ----------
    x, p
        Base and exponent.
    p_leading
        ``split_exponent(p)``.
    """
    small = x < _SMALLEST_NORMAL
    scaled = x * _TWO_TO_54 if small else x
    bits = np.float64(scaled).view(np.int64)
    # 1023 more than the exponent of an octave that begins at sqrt(1/2).
    above = bits - _ROOT_HALF + _ONE
    biased = (above >> _EXPONENT_BITS) & 0x7FF
    mantissa = np.int64((above & _MANTISSA) + _ROOT_HALF).view(np.float64)
    exponent = np.int64(biased | _AS_INTEGER).view(np.float64) - (
        _INTEGER_OFFSET + 1077.0 if small else _INTEGER_OFFSET + 1023.0
    )
    logarithm: float = _log1p_octave(mantissa - 1.0) * _LOG2_E
    # p log2(x) = leading + rest: the leading part is exact, and would have lost the most.
    leading = p_leading * exponent
    rest = (p - p_leading) * exponent + p * logarithm
    shifted = min(max(leading + rest, -1200.0), 1100.0) + _ROUNDING
    rounded = shifted - _ROUNDING
    fraction = min(max((leading - rounded) + rest, -1.0), 1.0)
    series = _exponential(fraction * _LN2)
    # Two steps, because a power of two may be beyond the range where its product is not.
    integer = np.float64(shifted).view(np.int64) - 0x4338000000000000
    first = integer >> 1
    second = integer - first
    result: float = (
        series
        * np.int64((first + 1023) << _EXPONENT_BITS).view(np.float64)
        * np.int64((second + 1023) << _EXPONENT_BITS).view(np.float64)
    )
    result = x if x == 0.0 else result
    # Neither infinity nor NaN came through the bits.
    return result if x < np.inf else x


@inline
def divergence(x: float, y: float) -> float:  # pragma: no cover - compiled
    """``x log(x / m) + y log(y / m)`` with ``m = (x + y) / 2``, for ``0 <= x, y <= 1``.

    With ``t = |x - y| / (x + y)`` that is ``m g(t)``, ``g(t) = (1 + t) log(1 + t) +
    (1 - t) log(1 - t)``. The two logarithms cancel for small `t`, where `g` is therefore taken as
    an even polynomial; beyond, ``1 - t`` is computed as ``2 min(x, y) / (x + y)``, which loses
    nothing. The relative error is below 3e-15. The result is the same to the bit for ``y, x``,
    exactly 0 for equal values and for those whose sum is subnormal, and NaN where a value is
    negative or NaN.
    """
    total = x + y
    smaller = min(x, y)
    reciprocal = 1.0 / (total + (1.0 if total < _SMALLEST_NORMAL else 0.0))
    t = abs(x - y) * reciprocal
    u = t * t
    g = u * _near(u) if u < 0.125 else _far(2.0 * smaller * reciprocal)
    return 0.5 * total * g if smaller >= 0.0 else np.nan


@inline
def _near(u: float) -> float:  # pragma: no cover - compiled
    """``g(sqrt(u)) / u = sum(u ** (n - 1) / (n (2 n - 1)))`` for ``u <= 1 / 8``.

    The polynomial interpolates the series in the Chebyshev nodes; it is off by 3e-18.
    """
    w = u * u
    even = 0.01099043078085577 + w * (0.006739161231301047 + w * 0.007884632457386364)
    even = w * (0.06666666666679245 + w * (0.022222223714483003 + w * even))
    odd = 0.015151455940874504 + w * (0.008311926979910244 + w * 0.0040981986305930395)
    odd = 0.16666666666666652 + w * (0.03571428569362809 + w * odd)
    return 1.0 + (u * odd + even)


@inline
def _far(v: float) -> float:  # pragma: no cover - compiled
    """``g(1 - v) = (2 - v) log(2 - v) + v log(v)`` for ``0 <= v <= 0.65``.

    The first summand is a polynomial that interpolates in the Chebyshev nodes, off by 8e-17; of
    the second, nothing is left where `v` is so small that it has no full mantissa.
    """
    w = v * v
    even = 4.06421788374021e-05 + w * (3.499179978598714e-05 + w * 7.357721471708342e-06)
    even = 0.01041666739902762 + w * (0.001041763096385251 + w * (0.0001421998129794878 + w * even))
    odd = 4.578725347124424e-05 + w * (-2.0787320413138834e-05 + w * -1.8881017994096536e-05)
    odd = 0.041666666635806815 + w * (0.0031249895742359304 + w * (0.0003714156371419416 + w * odd))
    first = 1.3862943611198906 + (
        v * -1.6931471805599512 + w * (0.2500000000006791 + v * odd + w * even)
    )
    above = np.float64(v).view(np.int64) - _ROOT_HALF + _ONE
    biased = (above >> _EXPONENT_BITS) & 0x7FF
    mantissa = np.int64((above & _MANTISSA) + _ROOT_HALF).view(np.float64)
    exponent = np.int64(biased | _AS_INTEGER).view(np.float64) - (_INTEGER_OFFSET + 1023.0)
    return first + v * (exponent * _LN2 + _log1p_octave(mantissa - 1.0))
