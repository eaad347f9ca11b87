"""As much of ``dataclasses`` as the agent uses, at a tenth of the price.

The standard library's module imports ``inspect`` and compiles five methods for each class when it is defined: a quarter
of the agent's whole CPU time, mostly for classes that a host has nothing for. Here ``__init__`` is compiled when the
first object is made, and the rest is shared. ``records`` takes this one inside the bundle only; the controller's
``hostaudit_agent`` has real dataclasses, which msgspec and type checkers understand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING: Any = type("MISSING", (), {"__slots__": ()})()


class Field:
    """How a field begins."""

    __slots__ = ("default", "default_factory", "name")

    def __init__(self, default: Any, default_factory: Any, name: str = "") -> None:
        self.default, self.default_factory, self.name = default, default_factory, name


def field(*, default: Any = MISSING, default_factory: Any = MISSING) -> Any:
    """Return a field that has a default of its own."""
    return Field(default, default_factory)


def dataclass(cls: type) -> type:
    """Give a class its fields: those of its bases, then its own annotations in their order."""
    known: dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        known.update(getattr(base, "__dataclass_fields__", {}))
    for name in cls.__dict__.get("__annotations__", ()):  # noqa: RUF063 - its module is what this one does without
        default = cls.__dict__.get(name, MISSING)
        if type(default) is Field:
            delattr(cls, name)
            default.name = name
            known[name] = default
        else:
            known[name] = Field(default, MISSING, name)

    def first(self: Any, *values: Any, **named: Any) -> None:
        init = cls.__init__ = _init(known)  # type: ignore[misc]
        init(self, *values, **named)

    cls.__dataclass_fields__ = known  # type: ignore[attr-defined]
    cls.__init__ = first  # type: ignore[misc]
    cls.__eq__ = _equal  # type: ignore[method-assign,assignment]
    cls.__hash__ = None  # type: ignore[assignment]
    cls.__repr__ = _shown  # type: ignore[method-assign,assignment]
    return cls


def fields(kind: Any) -> tuple[Field, ...]:
    """Return the fields of a class or of an object."""
    return tuple(kind.__dataclass_fields__.values())


def replace(value: Any, **changes: Any) -> Any:
    """Return a copy with some fields changed."""
    return type(value)(**{**{name: getattr(value, name) for name in value.__dataclass_fields__}, **changes})


def _init(known: dict[str, Field]) -> Callable[..., None]:
    """Compile ``__init__``."""
    space: dict[str, Any] = {"_MISSING": MISSING}
    arguments, lines = ["self"], []
    for name, one in known.items():
        value = name
        if one.default_factory is not MISSING:
            space["_make_" + name] = one.default_factory
            arguments.append(f"{name}=_MISSING")
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        elif one.default is not MISSING:
            space["_default_" + name] = one.default
            arguments.append(f"{name}=_default_{name}")
        else:
            arguments.append(name)
        lines.append(f"    self.{name} = {value}")
    exec(f"def __init__({', '.join(arguments)}):\n" + ("\n".join(lines) or "    pass"), space)  # noqa: S102 - of our own names
    made: Callable[..., None] = space["__init__"]
    return made


def _equal(self: Any, other: Any) -> Any:
    return vars(self) == vars(other) if type(other) is type(self) else NotImplemented


def _shown(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
