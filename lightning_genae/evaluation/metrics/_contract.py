"""Checks of a metric that is new: what its class says of its values, and what these are."""

import inspect
import math
from collections.abc import Mapping, Sequence
from numbers import Real

from torch import Tensor

from lightning_genae import registry
from lightning_genae.data import modalities
from lightning_genae.errors import UserError
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value


def check_class(metric: type) -> None:
    """Checks that a class describes its values for tables.

    Raises:
        UserError: it is no SampleMetric, or a description is no `Value` with a format of numbers.
    """
    about = registry.described(metric)
    if not issubclass(metric, SampleMetric):
        raise UserError(f"{about}: expected a subclass of lightning_genae.evaluation.metrics.SampleMetric")
    modalities.check_declared(metric)
    if not isinstance(metric.order, int):
        raise UserError(f"{about}: expected order = a whole number; got {metric.order!r}")
    if metric.measure is SampleMetric.measure:
        raise UserError(f"{about}: expected a method measure(self, samples); got none")
    registry.check_call(metric, "measure", "measure(self, samples)", None, None)
    registry.check_call(metric, "", "__init__(self, real, dataset), without options", None, None)
    if len(inspect.signature(metric).parameters) > 2:
        raise UserError(f"{about}: expected __init__(self, real, dataset), without options; got more of them")
    if not isinstance(metric.values, Mapping) or not all(isinstance(value, Value) for value in metric.values.values()):
        raise UserError(
            f"{about}: expected values = a Value(label, format, higher_is_better) by name; got {metric.values}"
        )
    for name, value in metric.values.items():
        if not _is_format(value.form) or value.higher_is_better not in (True, False, None):
            raise UserError(
                f"{about}: expected '{name}' as Value(label, format, True, False or None), a format such as '.3f'; "
                f"got {value}"
            )


def values_of(metric: SampleMetric, method: str, argument: object) -> object:
    """What a method of a metric returns, which is not checked.

    Raises:
        UserError: it changed the features or images of samples or of real data, which other metrics get, too.
    """
    samples = argument if isinstance(argument, Samples) else Samples()
    tensors = [part for part in (*metric.real, *samples) if isinstance(part, Tensor)]
    versions = [tensor._version for tensor in tensors]  # torch counts the changes in place
    values = getattr(metric, method)(argument)
    if versions != [tensor._version for tensor in tensors]:
        raise UserError(
            f"{registry.described(type(metric))}: expected {method} to leave samples and real data as they are; got "
            "changes in place: change a copy, `images.clone()`"
        )
    return values


def check_values(metric: SampleMetric, values: object) -> dict[str, float]:
    """The values that a metric returned, as floats; those of intervals, NAME_low and NAME_high, need no description.

    Raises:
        UserError: they are not in a dict, not numbers, or not described, so that tables could not rank them.
    """
    about = registry.described(type(metric))
    if not isinstance(values, dict):
        raise UserError(f"{about}: expected values by name, in a dict; got {type(values).__name__}")
    for name, value in values.items():
        if name.removesuffix("_low").removesuffix("_high") not in metric.values:
            raise UserError(
                f"{about}: expected a label, a format and a direction of '{name}', in `values` of the class; got none"
            )
        if not isinstance(value, Real) and getattr(value, "ndim", None) != 0:
            raise UserError(f"{about}: expected a number as '{name}'; got {type(value).__name__}")
    numbers = {name: float(value) for name, value in values.items()}
    for name in metric.values:
        if numbers.get(f"{name}_low", -math.inf) > numbers.get(f"{name}_high", math.inf):
            raise UserError(f"{about}: expected '{name}_low' at most '{name}_high'; got {numbers}")
    return numbers


def merged(parts: Sequence[tuple[SampleMetric, object]]) -> dict[str, float]:
    """The values of several metrics.

    Raises:
        UserError: two metrics use the same name for a value, or what `check_values` finds.
    """
    values: dict[str, float] = {}
    givers: dict[str, SampleMetric] = {}
    for metric, part in parts:
        new = check_values(metric, part)
        for name in new.keys() & values.keys():
            raise UserError(
                f"metrics: expected '{name}' from one metric; got it from {_owner(givers[name])} and from "
                f"{_owner(metric)}; rename it in one of them"
            )
        values |= new
        givers |= dict.fromkeys(new, metric)
    return values


def floor(parts: Sequence[tuple[SampleMetric, object]]) -> dict[str, float]:
    """The values of several metrics for real images.

    Raises:
        UserError: one is NaN, or what `merged` finds.
    """
    values = merged(parts)
    for metric, _ in parts:
        for name in metric.values:
            if math.isnan(values.get(name, 0)):
                about = registry.described(type(metric))
                raise UserError(f"{about}: expected a number as '{name}' of real images; got nan")
    return values


def _owner(metric: SampleMetric) -> str:
    package = registry.origin(type(metric))
    return registry.described(type(metric)) + (f" of {package}" if package else "")


def _is_format(form: str) -> bool:
    try:
        format(0.5, form)
    except (TypeError, ValueError):
        return False
    return True
