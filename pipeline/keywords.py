"""Plan: the keywords of metrics, as SciPy and pandas call them, checked once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from clustergrid.storage.errors import DataTypeError, DataValueError

__all__ = ["MetricKeywords"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricKeywords:
    """Keywords of a metric; None where they were not given.

    Two of them are equal when they hold the same numbers.

    Attributes
    ----------
    p
        Of minkowski: the power, above 0.
    w
        ``(k,)`` float64 weights of the features, not negative.
    V
        Of seuclidean: ``(k,)`` float64 variances of the features.
    VI
        Of mahalanobis: ``(k, k)`` float64 inverse of the covariance matrix.
    min_periods
        Least number of features that two rows with missing values must share, as in
        `pandas.DataFrame.corr`.

    Examples
    --------
    >>> MetricKeywords.from_mapping({"p": 3, "w": [1, 2]}).given
    {'p': 3.0, 'w': array([1., 2.])}
    """

    p: float | None = None
    w: np.ndarray | None = None
    V: np.ndarray | None = None
    VI: np.ndarray | None = None
    min_periods: int | None = None

    @classmethod
    def from_mapping(cls, keywords: Mapping[str, Any] | MetricKeywords | None) -> MetricKeywords:
        """Check keywords as a user gave them; None is the same as not given.

        Raises
        ------
        DataTypeError
            A TypeError: there is no such keyword, or it is not made of numbers.
        DataValueError
            A ValueError: its shape or its value makes no sense.
        """
        if isinstance(keywords, MetricKeywords):
            return keywords
        if keywords is None:
            return cls()
        if not isinstance(keywords, Mapping):
            raise DataTypeError(
                f"keywords of a metric are a mapping, as {{'p': 3}}, got {keywords!r}"
            )
        given = {name: value for name, value in keywords.items() if value is not None}
        unknown = [name for name in given if name not in _NAMES]
        if unknown:
            raise DataTypeError(
                f"no metric takes {', '.join(map(repr, unknown))}: there are {', '.join(_NAMES)}"
            )
        checked: dict[str, Any] = {
            name: _CHECKS[name](name, value) for name, value in given.items()
        }
        return cls(**checked)

    @property
    def given(self) -> dict[str, Any]:
        """Those that were given, by name."""
        return {name: value for name in _NAMES if (value := getattr(self, name)) is not None}

    def check_features(self, n_features: int, observations: str = "rows") -> None:
        """Refuse arrays that are not of so many features.

        Raises
        ------
        DataValueError
            A ValueError, with both numbers.
        """
        for name in ("w", "V", "VI"):
            value = getattr(self, name)
            if value is not None and len(value) != n_features:
                raise DataValueError(
                    f"{name} is for {len(value):,} features, and the {observations} have "
                    f"{n_features:,}"
                )

    def to_json(self) -> dict[str, Any]:
        """Return what identifies them: numbers as they are, of arrays a digest."""
        return {name: _identity(value) for name, value in self.given.items()}

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same."""
        return isinstance(other, MetricKeywords) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        """Hash of the numbers."""
        return hash(tuple(self.to_json().items()))


def _identity(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    # JSON has no infinity, which is a power of minkowski.
    return "inf" if value == np.inf else value


def _power(name: str, value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise DataTypeError(f"{name} must be a number, got {value!r}")
    if not float(value) > 0:
        raise DataValueError(f"{name} must be greater than 0, got {value!r}")
    return float(value)


def _least(name: str, value: Any) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise DataTypeError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise DataValueError(f"{name} must be at least 1, got {value!r}")
    return int(value)


def _numbers(name: str, value: Any, n_dimensions: int) -> np.ndarray:
    try:
        if np.asarray(value).dtype.kind == "c":  # NumPy would drop the imaginary parts
            raise TypeError
        array = np.array(value, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        raise DataTypeError(f"{name} must hold real numbers, got {value!r}") from None
    if array.ndim != n_dimensions:
        raise DataValueError(f"{name} must have {n_dimensions} dimensions, has {array.shape}")
    if not np.isfinite(array).all():
        raise DataValueError(f"{name} must hold finite numbers")
    array.flags.writeable = False
    return array


def _weights(name: str, value: Any) -> np.ndarray:
    weights = _numbers(name, value, 1)
    if (weights < 0).any():
        raise DataValueError("Input weights should be all non-negative")
    if not weights.any():
        raise DataValueError(f"{name} is zero for every feature: nothing is left to compare")
    return weights


def _variances(name: str, value: Any) -> np.ndarray:
    variances = _numbers(name, value, 1)
    if (variances <= 0).any():
        raise DataValueError(
            f"{name} is {variances.min()} for feature {int(variances.argmin())}: seuclidean "
            "divides by it"
        )
    return variances


def _inverse_covariance(name: str, value: Any) -> np.ndarray:
    matrix = _numbers(name, value, 2)
    if matrix.shape[0] != matrix.shape[1]:
        raise DataValueError(f"{name} must be square, is {matrix.shape[0]} x {matrix.shape[1]}")
    return matrix


_CHECKS = {
    "p": _power,
    "w": _weights,
    "V": _variances,
    "VI": _inverse_covariance,
    "min_periods": _least,
}
_NAMES = tuple(field.name for field in fields(MetricKeywords))
