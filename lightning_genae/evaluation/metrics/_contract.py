"""Checks of a metric that is new: what its class says of its values, and what these are."""

from collections.abc import Mapping, Sequence
from numbers import Real

from lightning_genae import registry
from lightning_genae.data import modalities
from lightning_genae.errors import UserError
from lightning_genae.evaluation.metrics._metric import SampleMetric, Value


def check_class(metric: type) -> None:
    """Checks that a class describes its values for tables.

    Raises:
        UserError: it is no SampleMetric, or a description is no `Value` with a format of numbers.
    """
    about = registry.described(metric)
    if not issubclass(metric, SampleMetric):
        raise UserError(f"{about}: expected a subclass of lightning_genae.evaluation.metrics.SampleMetric")
    modalities.check_declared(metric)
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
    return {name: float(value) for name, value in values.items()}


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


def _owner(metric: SampleMetric) -> str:
    package = registry.origin(type(metric))
    return registry.described(type(metric)) + (f" of {package}" if package else "")


def _is_format(form: str) -> bool:
    try:
        format(0.5, form)
    except (TypeError, ValueError):
        return False
    return True
