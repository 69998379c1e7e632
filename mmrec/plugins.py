"""Finding plug-ins: classes in this project by existing, classes elsewhere by import path."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TypeVar

from mmrec.errors import ConfigError, nearest

Base = TypeVar("Base")


def known(base: type[Base]) -> dict[str, type[Base]]:
    """Every concrete subclass of `base` in its own package, by class name; imports each file there first.

    Classes from elsewhere have import paths: what else happens to be imported must not change what a name
    means.
    """
    package = importlib.import_module(base.__module__.rpartition(".")[0])
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    found: dict[str, type[Base]] = {}
    waiting = [base]
    while waiting:
        for subclass in waiting.pop().__subclasses__():
            waiting.append(subclass)
            if subclass.__module__.startswith(f"{package.__name__}.") and not inspect.isabstract(subclass):
                found[subclass.__name__] = subclass
    return found


def resolve(base: type[Base], name: str, where: str) -> type[Base]:
    """The class called `name`: a class name in this project, or an import path such as `package.file.Class`.

    Args:
        base: what it has to be a subclass of.
        name: class name or import path.
        where: the option that named it, for errors.

    Raises:
        ConfigError: for an unknown name (with the nearest known one), a path that cannot be imported, or
            another kind of class.
    """
    classes = known(base)
    if name in classes:
        return classes[name]
    module_name, _, class_name = name.rpartition(".")
    if not module_name:
        choices = f"{nearest(name, classes)}, or an import path"
        raise ConfigError(f"{where}: no {base.__name__} is called '{name}'{choices}")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, TypeError, ValueError) as error:  # the last two for paths that begin with a dot
        reason = f"'{module_name}' cannot be imported ({error})"
        raise ConfigError(f"{where}: {reason}; is it installed?") from error
    found = getattr(module, class_name, None)
    if found is None:
        names = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise ConfigError(f"{where}: '{module_name}' has no '{class_name}'{nearest(class_name, names)}")
    if not (inspect.isclass(found) and issubclass(found, base)):
        wanted = f"{base.__module__}.{base.__name__}"
        raise ConfigError(f"{where}: '{name}' is not a {base.__name__}; subclass {wanted}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ConfigError(f"{where}: '{name}' lacks {missing}; define it, or name one of its subclasses")
    return found
