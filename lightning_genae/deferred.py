"""Packages and modules that Lightning and torchvision import and a run does not need before it trains, if at all:
together they take over twice as long as torch. `defer` postpones them.

- torchmetrics imports torchvision, SciPy and others for its metrics; Lightning needs two base classes of it.
- torchmetrics.utilities.plot imports Matplotlib for its plots; the base classes need names for annotations.
- torch._dynamo is the compiler behind torch.compile; Lightning needs a class of it for `isinstance`.
- torch._dynamo.utils imports it too; torchvision takes a function from it for regions of interest.
- torch.utils.flop_counter imports Triton; Lightning's summary of a model needs a class of it when it is called.

They are `from` imports at the top of files of both, which no option and no environment variable prevents.
`importlib.util.LazyLoader`, Python's own means, loads a package at the first such import. This module extends it: a
deferred package has its real path and gives a few names without its `__init__`. Whatever else is asked of it, an
attribute or a submodule, first runs the real `__init__`, in the same module object. So nothing can differ but the
moment; if a release needs more than these names, it loads what it did before. Nothing of the packages is changed.
"""

import functools
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any


def defer() -> None:
    """Postpones the import of the packages that are not imported yet. For programs: it holds for the whole process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def without_collection() -> Iterator[None]:
    """A context, for imports, in which Python does not look for garbage: what they make stays, and to look through it
    again and again takes a quarter of their time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _IfLoaded(type):
    """The type of a class that stands for torch's OptimizedModule in `isinstance`: there are none before it exists."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls._real())

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls._real())

    def _real(cls) -> type | tuple[()]:
        return vars(sys.modules["torch._dynamo"]).get("OptimizedModule", ())


class OptimizedModule(metaclass=_IfLoaded):
    """Stands for `torch._dynamo.OptimizedModule`, what torch.compile makes of a module."""


def disable(fn: Any = None, *args: Any, **options: Any) -> Any:
    """`torch._dynamo.disable`, which keeps a function from being compiled: with no compiler loaded, it is called."""
    compiler = sys.modules["torch._dynamo"]
    if not isinstance(fn, FunctionType):  # a class, a decorator with options: torch's own
        _load(compiler)
        return compiler.disable(fn, *args, **options)
    disabled: Callable | None = None

    @functools.wraps(fn)
    def called(*values: Any, **named: Any) -> Any:
        nonlocal disabled
        if disabled is None and type(compiler) is not _Deferred:
            disabled = compiler.disable(fn, *args, **options)
        return (disabled or fn)(*values, **named)

    return called


def graph_break(*args: Any, **options: Any) -> None:
    """`torch._dynamo.graph_break`, which marks a place for the compiler and does nothing else."""


def is_compile_supported(device_type: Any) -> Any:
    """Calls `torch._dynamo.utils.is_compile_supported`, which says whether torch can compile for a device."""
    return _load(sys.modules["torch._dynamo.utils"]).is_compile_supported(device_type)


class FlopCounterMode:
    """Stands for `torch.utils.flop_counter.FlopCounterMode`, which it makes when it is called."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return _load(sys.modules["torch.utils.flop_counter"]).FlopCounterMode(*args, **options)


def plot_single_or_multi_val(*args: Any, **options: Any) -> Any:
    """Calls `torchmetrics.utilities.plot.plot_single_or_multi_val`, which draws values of a metric."""
    return _load(sys.modules["torchmetrics.utilities.plot"]).plot_single_or_multi_val(*args, **options)


def _of_torchmetrics(module: str, name: str) -> Callable[[], Any]:
    def get() -> Any:
        import_module("torchmetrics.utilities")  # in the order of its __init__: they import each other
        return getattr(import_module(f"torchmetrics.{module}"), name)

    return get


# by package or module, the names that it gives without its __init__ or its file
NAMES: dict[str, Mapping[str, Callable[[], Any]]] = {
    "torchmetrics": {
        "Metric": _of_torchmetrics("metric", "Metric"),
        "MetricCollection": _of_torchmetrics("collections", "MetricCollection"),
        "_logger": lambda: logging.getLogger("torchmetrics"),  # which the two files above use
        "__version__": lambda: import_module("torchmetrics.__about__").__version__,
    },
    "torchmetrics.utilities.plot": {
        "_AX_TYPE": lambda: object,  # as without Matplotlib: they are for annotations
        "_PLOT_OUT_TYPE": lambda: tuple[object, object],
        "plot_single_or_multi_val": lambda: plot_single_or_multi_val,
    },
    "torch.utils.flop_counter": {"FlopCounterMode": lambda: FlopCounterMode},
    "torch._dynamo": {
        "OptimizedModule": lambda: OptimizedModule,
        "disable": lambda: disable,
        "graph_break": lambda: graph_break,
    },
    "torch._dynamo.utils": {"is_compile_supported": lambda: is_compile_supported},
}
# by package or module: a common one could wait for a thread that waits for it
_locks = {name: threading.RLock() for name in NAMES}
_getting: list[str] = []  # packages of which a name is being imported


class _Deferred(ModuleType):
    """A package whose __init__ has not run."""

    def __getattr__(self, name: str) -> Any:
        package = self.__name__
        if name == "__path__":  # Python asks whether it is a package, which would have one by now
            raise AttributeError(name)
        with _locks[package]:
            if type(self) is _Deferred and name in NAMES[package]:
                _getting.append(package)
                try:
                    return NAMES[package][name]()
                except (ImportError, AttributeError):  # of another release: as without this file
                    pass
                finally:
                    _getting.remove(package)
        _load(self)
        return getattr(self, name)


def _load(module: ModuleType) -> ModuleType:
    """The module itself, after a deferred package's __init__ or a deferred module's file has run.

    Its package's goes first, as in any import of a module.
    """
    package = sys.modules.get(module.__name__.rpartition(".")[0])
    if type(package) is _Deferred:
        _load(package)
    with _locks[module.__name__]:
        if type(module) is _Deferred:
            module.__class__ = ModuleType  # type: ignore[assignment]  # from here on an ordinary module
            assert module.__spec__ is not None and module.__spec__.loader is not None  # see _Finder
            module.__spec__.loader.exec_module(module)
    return module


class _Later(Loader):
    """Makes a package without running its __init__."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None  # Python sets it
        module.__spec__.loader = module.__loader__ = self.loader
        module.__class__ = _Deferred


class _AfterPackage(Loader):
    """Runs a deferred package's __init__ before it imports a module of the package."""

    def __init__(self, loader: Loader, package: str):
        self.loader = loader
        self.package = package

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        _load(sys.modules[self.package])
        self.is_there = spec.name in sys.modules  # as the package's __init__ has imported it
        return sys.modules[spec.name] if self.is_there else self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None  # Python sets it
        module.__spec__.loader = module.__loader__ = self.loader
        if not self.is_there:
            self.loader.exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a package to be deferred, or of a module of such a package.

        It imports nothing: Python calls it under a lock that the imports of all threads need.
        """
        package = next((name for name in NAMES if fullname.startswith(f"{name}.")), "")
        is_deferred = type(sys.modules.get(package)) is _Deferred and package not in _getting
        if fullname not in NAMES and not is_deferred:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader) if fullname in NAMES else _AfterPackage(spec.loader, package)
        return spec
