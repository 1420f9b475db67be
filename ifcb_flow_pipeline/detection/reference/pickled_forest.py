"""A pickled IsolationForest as data: nothing that the file says is ever run.

A pickle is a program that calls what it names. Here all names but those of a forest are refused, and these stand for
classes of this module that keep what they are given and do nothing. What they were given is then looked at: arrays of
plain numbers, trees whose nodes fit each other. Neither scikit-learn nor NumPy's own unpickling takes part, so that it
does not matter which versions wrote the file, as long as the layout is known.
"""

import io
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.detection.reference.forest import Forest, ForestError

#: What unpickling raises for bytes that are none, and for calls that the classes below do not take.
_DAMAGED = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError,
            RecursionError, TypeError, ValueError)  # fmt: skip

#: Kinds of numbers that arrays of a forest hold.
_PLAIN = frozenset("biuf")


@dataclass(frozen=True, slots=True)
class PickledForest:
    """What a pickled forest says. ``names``: of its features, empty where it does not name them; ``max_samples``: rows
    that a tree was grown on; ``version``: of scikit-learn, as far as it is told.
    """

    forest: Forest
    names: tuple[str, ...]
    contamination: float | str
    max_samples: int
    max_features: int | float
    offset: float
    version: str


def read_pickled_forest(data: bytes) -> PickledForest:
    """The forest in a pickle. Raises ModelError where it holds anything else, or one whose layout is not known."""
    try:
        found = _Unpickler(io.BytesIO(data)).load()
    except ModelError:
        raise
    except _DAMAGED as error:
        raise ModelError(f"the pickle is damaged, or none ({error or type(error).__name__})") from error
    if not isinstance(found, _Forest) or "estimators_" not in found.state:
        raise ModelError(f"the pickle holds a {_name(found)}, not a fitted IsolationForest")
    version = str(found.state.get("_sklearn_version", "of before 0.18"))[:40]
    try:
        return _read(found.state, version)
    except ModelError:
        raise
    except (ForestError, *_DAMAGED) as error:
        raise ModelError(
            f"the pickle cannot be converted: the forest in it, of scikit-learn {version}, is damaged or laid out in a "
            f"way that is not known ({error!r}). Train a new model with 'ifcb-flow train --detector forest'"
        ) from error


def _read(state: Mapping[str, Any], version: str) -> PickledForest:
    trees = [_tree(each.state["tree_"]) for each in state["estimators_"]]
    n_features = int(_either(state, "n_features_in_", "n_features_"))
    columns = [np.asarray(_array(each)) for each in state["estimators_features_"]]
    if len(columns) != len(trees):
        raise ValueError(f"{len(trees)} trees, and columns of {len(columns)}")
    max_samples = int(_number(_either(state, "max_samples_", "_max_samples")))
    grown = _Grown(trees, columns, n_features, max_samples)
    contamination = _number(state.get("contamination", "auto"))
    return PickledForest(
        Forest.from_sklearn(grown),
        _names(state),
        float(contamination) if isinstance(contamination, float) else "auto",
        max_samples,
        state["max_features"] if isinstance(state["max_features"], int | float) else 1.0,
        float(_number(_either(state, "offset_", "threshold_"))),
        version,
    )


@dataclass(frozen=True, slots=True)
class _Grown:
    """What ``Forest.from_sklearn`` looks at."""

    estimators_: list[Any]
    estimators_features_: list[NDArray]
    n_features_in_: int
    max_samples_: int


@dataclass(frozen=True, slots=True)
class _Nodes:
    """The nodes of a tree, arrays of shape (nodes,)."""

    children_left: NDArray
    children_right: NDArray
    feature: NDArray
    threshold: NDArray
    n_node_samples: NDArray
    node_count: int

    @property
    def tree_(self) -> "_Nodes":
        return self


def _tree(tree: Any) -> _Nodes:
    if not isinstance(tree, _Tree):
        raise TypeError(f"a {_name(tree)} in place of a tree")
    nodes = _array(tree.state["nodes"])
    n = len(nodes)
    names = ("left_child", "right_child", "feature", "threshold", "n_node_samples")
    parts = {name: np.ascontiguousarray(nodes[name]) for name in names}
    left, right = parts["left_child"], parts["right_child"]
    if not n or left.min() < -1 or right.min() < -1 or left.max() >= n or right.max() >= n:
        raise ValueError("a tree whose nodes do not fit each other")
    return _Nodes(left, right, parts["feature"], parts["threshold"], parts["n_node_samples"], n)


def _names(state: Mapping[str, Any]) -> tuple[str, ...]:
    given = state.get("feature_names_", ())
    names = given.values() if isinstance(given, _Array) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise TypeError("names of features that are no list of texts")
    return tuple(names)


def _either(state: Mapping[str, Any], *names: str) -> Any:
    # scikit-learn has renamed some; the newest name comes first.
    for name in names:
        if name in state:
            return state[name]
    raise KeyError(names[0])


def _array(value: Any) -> NDArray:
    if not isinstance(value, _Array):
        raise TypeError(f"a {_name(value)} in place of an array")
    return value.numbers()


def _number(value: Any) -> Any:
    return value.numbers().reshape(()).item() if isinstance(value, _Array) else value


def _name(value: Any) -> str:
    kept = getattr(value, "NAME", None)
    return kept if isinstance(kept, str) else type(value).__name__


class _Kept:
    """What stands for an object: it keeps its state, and nothing else comes of it."""

    NAME: ClassVar[str] = "object"
    __slots__ = ("state",)

    state: dict[str, Any]

    def __new__(cls, *_: Any) -> "_Kept":
        self = object.__new__(cls)
        self.state = {}
        return self

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"the state of a {self.NAME} is no dictionary")
        self.state = state


class _Forest(_Kept):
    NAME = "IsolationForest"
    __slots__ = ()


class _Estimator(_Kept):
    NAME = "ExtraTreeRegressor"
    __slots__ = ()


class _Tree(_Kept):
    NAME = "Tree"
    __slots__ = ()


class _Dtype:
    """What stands for a NumPy type: numbers, or records of numbers."""

    NAME = "dtype"
    __slots__ = ("code", "state")

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code if isinstance(code, str) else ""
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, tuple) else ()

    def made(self) -> np.dtype:
        """The type. Raises ValueError for any but plain numbers and records of such."""
        order = self.state[1] if len(self.state) > 1 and self.state[1] in ("<", ">") else "="
        fields = self.state[4] if len(self.state) > 5 else None
        if self.code.startswith("V") and isinstance(fields, dict):
            return self._record(fields)
        kind = np.dtype(self.code).newbyteorder(order) if self.code[:1] in _PLAIN else None
        if kind is None:
            raise ValueError(f"an array of {self.code[:20]!r}")
        return kind

    def _record(self, fields: dict[Any, Any]) -> np.dtype:
        names = [name for name in self.state[3] if isinstance(name, str)]
        formats = [fields[name][0].made() for name in names]
        offsets = [int(fields[name][1]) for name in names]
        # NumPy refuses fields that lie outside of a record.
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": int(self.state[5])})

    @property
    def holds_objects(self) -> bool:
        return self.code.startswith("O")


class _Array:
    """What stands for a NumPy array, or for a number as NumPy has it."""

    NAME = "array"
    __slots__ = ("content", "dtype", "fortran", "shape")

    def __init__(self, *_: Any) -> None:
        self.shape: Any = ()
        self.dtype: Any = None
        self.fortran: Any = False
        self.content: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.content = state

    def numbers(self) -> NDArray:
        """The array. Raises TypeError or ValueError where it is none of plain numbers that fill its shape."""
        if not isinstance(self.dtype, _Dtype) or not isinstance(self.content, bytes | bytearray):
            raise TypeError("an array without numbers")
        made = self.dtype.made()
        shape = tuple(int(n) for n in self.shape)
        if any(n < 0 for n in shape) or made.itemsize * math.prod(shape) != len(self.content):
            raise ValueError(f"an array whose {len(self.content)} bytes do not fill its shape")
        return np.frombuffer(self.content, made).reshape(shape, order="F" if self.fortran else "C")

    def values(self) -> list[Any]:
        """The values of an array of Python's objects, which are only kept."""
        if isinstance(self.dtype, _Dtype) and self.dtype.holds_objects and isinstance(self.content, list):
            return self.content
        raise ValueError("an array without texts")


class _Buffer(_Array):
    """An array by its bytes, as pickles of protocol 5 have it."""

    __slots__ = ()

    def __init__(self, content: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> None:
        self.content, self.dtype, self.shape, self.fortran = content, dtype, shape, order == "F"


class _Scalar(_Array):
    """A single number, as NumPy pickles it."""

    __slots__ = ()

    def __init__(self, dtype: Any, content: Any = b"") -> None:
        self.content, self.dtype, self.shape, self.fortran = content, dtype, (), False


class _Bytes:
    """Makes bytes of a text, as pickles of protocols 0 to 2 have them."""

    __slots__ = ()

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes as {encoding!r}")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("bytes have no state")


class _Object:
    """The class of all objects, which pickles of protocols 0 and 1 name."""

    NAME = "object"
    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("an object of no kind")


class _Made:
    """Makes an object without state, as pickles of protocols 0 and 1 do."""

    __slots__ = ()

    def __new__(cls, made: Any, *_: Any) -> Any:
        if not (isinstance(made, type) and issubclass(made, _Kept)):
            raise pickle.UnpicklingError("an object of another kind")
        return made()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("an object of no kind")


_NUMPY = {
    ("multiarray", "_reconstruct"): _Array,
    ("multiarray", "scalar"): _Scalar,
    ("numeric", "_frombuffer"): _Buffer,
}

#: All that a pickle may name, as module and name.
_ALLOWED: Mapping[tuple[str, str], type] = {
    **{(module, "IsolationForest"): _Forest for module in ("sklearn.ensemble._iforest", "sklearn.ensemble.iforest")},
    **{(module, "ExtraTreeRegressor"): _Estimator for module in ("sklearn.tree._classes", "sklearn.tree.tree")},
    ("sklearn.tree._tree", "Tree"): _Tree,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Object,
    # Called numpy.core before version 2.
    **{(f"numpy.{core}.{module}", name): each for core in ("core", "_core") for (module, name), each in _NUMPY.items()},
    ("_codecs", "encode"): _Bytes,
    **{(module, "_reconstructor"): _Made for module in ("copy_reg", "copyreg")},
    **{(module, "object"): _Object for module in ("__builtin__", "builtins")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> type:
        """What stands for a name. Raises ModelError for any that a forest does not need."""
        found = _ALLOWED.get((module_name, global_name))
        if found is None:
            raise ModelError(
                f"the pickle names {module_name}.{global_name}, which no forest needs: it holds something else, or is "
                "of a version that is not known; nothing of it was run. Train a new model"
            )
        return found
