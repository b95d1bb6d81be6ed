"""Pickles of PyTorch files, read by a machine that can only build tensors and plain containers.

A pickle is a program. Here it runs on a machine of its own: the instructions are those of ``pickletools``, and the only
names that it knows are in the tables below. Nothing is ever imported or called that a file asks for; a file that asks
for another name is refused by that name, before anything is built of it.

``weights_only`` of ``torch.load`` is also safe, but refuses every Lightning checkpoint for the names of its callbacks
and hyperparameters, which nobody needs here, and reads discriminators and optimisers into memory.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from sundae.convert.tensors import Refused, Storage, Stored

MAX_INSTRUCTIONS = 5_000_000  # those of real checkpoints are below a million
MAX_PICKLE = 256 << 20  # bytes; those of real checkpoints are below 20 MB

STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGES.values()}
INERT_MODULES = ("pytorch_lightning", "lightning", "lightning_fabric", "omegaconf")
BUILTINS = ("builtins", "__builtin__")
INERT = {  # names that checkpoints carry beside the weights; each becomes an Unknown
    *(("argparse", "Namespace"), ("types", "SimpleNamespace"), ("typing", "Any"), ("torch", "device")),
    *(("pathlib", name) for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath")),
    *(("numpy", name) for name in ("dtype", "ndarray")),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *(
        (module, name)
        for module in BUILTINS
        for name in ("int", "long", "float", "complex", "bool", "str", "bytes")
    ),
    *((module, name) for module in BUILTINS for name in ("list", "dict", "tuple", "slice", "object")),
}


class Unknown:
    """Stands where a checkpoint has an object that is no tensor and no plain value; holds nothing."""


@dataclass(frozen=True, eq=False)
class Named:
    """A name that a pickle may use: a dtype, or what calling it builds."""

    call: Callable[..., Any] | None  # of the machine and the pickle's arguments
    dtype: torch.dtype | None = None


FindStorage = Callable[[Any], Storage]


def read_pickle(file: BinaryIO, find_storage: FindStorage) -> Any:
    """The value of one pickle, from the file's position to the pickle's end.

    Args:
        file: where the pickle lies; what follows it is left alone.
        find_storage: from a tensor's persistent id to the storage that it names.

    Returns:
        dicts, lists, tuples, numbers, strings and bytes; :class:`Stored` for tensors; dtypes; :class:`Unknown`.

    Raises:
        Refused: if it asks for a name outside the tables, or is no such pickle.
    """
    machine = Machine(find_storage)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > MAX_INSTRUCTIONS:
                raise Refused("expected a pickle of a checkpoint, got one without end")
            machine.step(opcode.name, argument)
        return machine.result()
    except Refused:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # the bytes come from anybody: whatever they make of the stack is the file's fault
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise Refused(
            f"expected a pickle of tensors and plain containers, got a damaged one ({reason})"
        ) from None


MARK = object()


class Machine:
    """The stack machine of the pickle protocols 0 to 5, without the instructions that reach outside."""

    def __init__(self, find_storage: FindStorage):
        self.find_storage = find_storage
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.items = 0  # put into dicts so far

    def result(self) -> Any:
        (value,) = self.stack
        return value

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction; raises Refused for one that is not known."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in PUTS:
            self.memo[argument] = self.stack[-1]
        elif name in GETS:
            self.stack.append(self.memo[argument])
        elif name not in IGNORED:
            do = getattr(self, f"do_{name.lower()}", None)
            if do is None:
                raise Refused(
                    f"expected a pickle of tensors and plain containers, got the instruction {name}"
                )
            do(argument)

    def pop_mark(self) -> list[Any]:
        """What lies above the last mark; both go."""
        place = next((i for i in reversed(range(len(self.stack))) if self.stack[i] is MARK), None)
        if place is None:
            raise IndexError("no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    # -- containers

    def do_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def do_mark(self, _: Any) -> None:
        self.stack.append(MARK)

    def do_pop(self, _: Any) -> None:
        self.stack.pop()

    def do_pop_mark(self, _: Any) -> None:
        self.pop_mark()

    def do_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def do_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_mark()))

    def do_tuple1(self, _: Any) -> None:
        self.take_tuple(1)

    def do_tuple2(self, _: Any) -> None:
        self.take_tuple(2)

    def do_tuple3(self, _: Any) -> None:
        self.take_tuple(3)

    def take_tuple(self, size: int) -> None:
        items = tuple(self.stack[-size:])
        if len(items) < size:
            raise IndexError("stack too short")
        del self.stack[-size:]
        self.stack.append(items)

    def do_list(self, _: Any) -> None:
        self.stack.append(self.pop_mark())

    do_frozenset = do_list

    def do_append(self, _: Any) -> None:
        item = self.stack.pop()
        self.extend([item])

    def do_appends(self, _: Any) -> None:
        self.extend(self.pop_mark())

    do_additems = do_appends

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, Unknown):
            target.extend(items)

    def do_dict(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.fill(items)

    def do_setitem(self, _: Any) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        self.fill(items)

    def do_setitems(self, _: Any) -> None:
        self.fill(self.pop_mark())

    def fill(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dict on top."""
        target = self.stack[-1]
        self.items += len(items)
        if self.items > MAX_INSTRUCTIONS:  # pairs can be used again and again
            raise Refused("expected a pickle of a checkpoint, got one without end")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (str, bytes, int, float, Named, Unknown, type(None))):
                raise Refused(f"expected plain dictionary keys, got a {type(key).__name__}")
            if not isinstance(target, Unknown):
                target[key] = value

    # -- names and objects

    def do_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(named(module, name))

    def do_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Refused("expected a module and a name in a pickle, got something else")
        self.stack.append(named(module, name))

    def do_reduce(self, _: Any) -> None:
        arguments, what = self.stack.pop(), self.stack.pop()
        self.stack.append(self.call(what, arguments))

    do_newobj = do_reduce

    def do_newobj_ex(self, _: Any) -> None:
        self.stack.pop()
        self.do_reduce(_)

    def call(self, what: Any, arguments: Any) -> Any:
        if isinstance(what, Unknown):
            return Unknown()
        if not isinstance(what, Named) or what.call is None or not isinstance(arguments, tuple):
            raise Refused(
                "expected a pickle of tensors and plain containers, got one that calls something else"
            )
        return what.call(self, *arguments)

    def do_build(self, _: Any) -> None:
        """The state of an object: dtypes and dicts need none, and an Unknown holds none."""
        self.stack.pop()

    def do_binpersid(self, _: Any) -> None:
        self.stack.append(self.find_storage(self.stack.pop()))


VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}
PUTS, GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
IGNORED = {"PROTO", "FRAME", "STOP"}


# -- names -----------------------------------------------------------------------------------------------------


def named(module: str, name: str) -> Any:
    """What a pickle may use under a name.

    Raises:
        Refused: naming module and class, if it may not.
    """
    if (module, name) in NAMES:
        return NAMES[module, name]
    if module.partition(".")[0] in INERT_MODULES or (module, name) in INERT:
        return Unknown()
    raise Refused(
        f"expected a checkpoint of tensors and plain values, got one that asks for {module}.{name}; nothing of it was run"
    )


def make_tensor(_: Machine, storage: Any, first: Any, shape: Any, stride: Any, *__: Any) -> Stored:
    numbers = (first, *shape, *stride)
    if not isinstance(storage, Storage) or not all(type(number) is int for number in numbers):
        raise Refused("expected a tensor of a storage, an offset, a shape and strides, got something else")
    return Stored(storage, tuple(shape), tuple(stride), first)


def make_parameter(_: Machine, tensor: Any, *__: Any) -> Stored:
    if not isinstance(tensor, Stored):
        raise Refused("expected a parameter of a tensor, got something else")
    return tensor


def make_dict(machine: Machine, *arguments: Any) -> dict[Any, Any]:
    """An OrderedDict, defaultdict or Counter: from pairs if they come first, and else empty."""
    pairs = arguments[0] if arguments and isinstance(arguments[0], (list, tuple)) else ()
    machine.stack.append({})
    for pair in pairs:
        machine.fill(list(pair[:2]))
    return machine.stack.pop()


def make_bytes(_: Machine, text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("expected bytes as latin1 text, got something else")
    return text.encode("latin1")


def make_sequence(_: Machine, items: Any = ()) -> Any:
    """A set or a torch.Size: the list or tuple that it is made of."""
    if not isinstance(items, (list, tuple)):
        raise Refused("expected a set of a list, got something else")
    return items


NAMES = {
    **{("torch", name): Named(None, dtype) for name, dtype in (*STORAGES.items(), *DTYPES.items())},
    ("torch._utils", "_rebuild_tensor"): Named(make_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Named(make_tensor),
    ("torch._utils", "_rebuild_parameter"): Named(make_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Named(make_parameter),
    ("torch", "Size"): Named(make_sequence),
    ("collections", "OrderedDict"): Named(make_dict),
    ("collections", "defaultdict"): Named(make_dict),
    ("collections", "Counter"): Named(make_dict),
    ("_codecs", "encode"): Named(make_bytes),
    **{(module, name): Named(make_sequence) for module in BUILTINS for name in ("set", "frozenset")},
}
