"""JSON from strangers -> frozen dataclasses, by their type hints.

The type hints say what a field must be, and `__post_init__` of the dataclass says what its values must be.
Nothing is coerced, nothing is ignored: an unknown field is refused like a missing one.
"""

import dataclasses
import json
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def parse_json(text: bytes) -> object:
    """JSON without NaN, infinities and repeated names.

    Raises:
        ValueError: it is not such JSON; the text of the error follows "pack.json ".
    """
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON (line {error.lineno}: {error.msg})") from None


def read(kind: type[T], data: object, where: str = "") -> T:
    """`data` as the dataclass `kind`.

    Raises:
        ValueError: it is none; the sentence names the field by its path, such as "codec.hop".
    """
    result: T = _read(kind, data, where)
    return result


def _read(kind: Any, data: object, where: str) -> Any:
    origin = get_origin(kind)
    if hasattr(kind, "read_json"):
        return _checked(where, lambda: kind.read_json(data))
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, data, where)
    if origin is tuple:
        (item,) = (a for a in get_args(kind) if a is not Ellipsis)
        values = _expect(data, list, "a list", where)
        return tuple(_read(item, value, f"{where}[{i}]") for i, value in enumerate(values))
    if origin is dict:
        _, item = get_args(kind)
        table = _expect(data, dict, "an object", where)
        return {name: _read(item, value, _join(where, name)) for name, value in table.items()}
    if origin in (Union, types.UnionType):
        return _read_optional(kind, data, where)
    return _read_plain(kind, data, where)


def _read_dataclass(kind: Any, data: object, where: str) -> Any:
    table = _expect(data, dict, "an object", where)
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in table:
        if name not in fields:
            raise ValueError(f"{_join(where, name)} is a field that format 1 does not have")
    for name, field in fields.items():
        if name not in table and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{_join(where, name)} is missing")
    values = {name: _read(hints[name], value, _join(where, name)) for name, value in table.items()}
    return _checked(where, lambda: kind(**values))


def _read_optional(kind: Any, data: object, where: str) -> Any:
    (inner,) = (a for a in get_args(kind) if a is not type(None))
    return None if data is None else _read(inner, data, where)


def _read_plain(kind: type, data: object, where: str) -> Any:
    accepted = (int, float) if kind is float else kind
    # bool is an int to Python, and to nobody else.
    if not isinstance(data, accepted) or (isinstance(data, bool) and kind is not bool):
        raise ValueError(f"{where} must be {_NAMES[kind]}, not {_short(data)}")
    if isinstance(data, int | float) and not abs(data) < 2**53:  # also nan
        raise ValueError(f"{where} is {_short(data)}, which is out of all bounds")
    return kind(data)


def _expect(data: object, kind: type, name: str, where: str) -> Any:
    if not isinstance(data, kind):
        raise ValueError(f"{where or 'the whole'} must be {name}, not {_short(data)}")
    return data


def _checked(where: str, make: Any) -> Any:
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from None


def _join(where: str, name: str) -> str:
    return f"{where}.{_printable(name)}" if where else _printable(name)


def _short(data: object) -> str:
    if isinstance(data, dict | list):
        return "an object" if isinstance(data, dict) else "a list"
    try:
        return _printable(json.dumps(data))
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"


def _printable(text: str) -> str:
    """Strangers' text, short and on one line."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= 60 else clean[:57] + "..."


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("has the same name twice in one object")
    return table


def _no_constant(name: str) -> float:
    raise ValueError(f"has {name}, which is no number")
