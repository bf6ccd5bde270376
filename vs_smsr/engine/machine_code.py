"""Machine code of a function, made by Numba, loaded without it, and called by Python as a function of its own.

Code is two object files: the function as Numba compiles it, and its entry (`engine.entry`).
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import itertools
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from vs_smsr.engine.entry import ARRAY, NAME, Types, check_layouts, entry, leaves, passed, table
from vs_smsr.errors import EngineError

type Function = Callable[..., Any]

FASTCALL = 0x80  # CPython's METH_FASTCALL
_LENGTH = struct.Struct("<q")
_number = itertools.count()
_kept: list[Any] = []  # code stays until the process ends


def compiled(dispatcher: Any, types: Types, *, brief: bool = False) -> bytes:
    """Code of a function for arguments of these types.

    Args:
        dispatcher: Numba's, without wrappers.
        brief: the function is over so soon that the GIL is kept.
    Raises:
        EngineError: Numba passes arguments in another way than `engine.entry`.
    """
    signature = tuple(map(_numba_type, types))
    dispatcher.compile(signature)
    made = dispatcher.overloads[signature]
    name = made.fndesc.llvm_func_name
    arguments = [str(argument.type) for argument in made.library.get_function(name).arguments]
    if arguments != ["ptr", "ptr", *(kind for text in leaves(types) for kind in passed(text))]:
        raise EngineError(
            f"cpu: this version of Numba passes {' '.join(arguments)} to {name}, which vs-smsr does not know. "
            "Use another version, or engine 'reference'."
        )
    code: bytes = made.library.serialize_using_object_code()[2][0]
    return _LENGTH.pack(len(code)) + code + _object(entry(name, types, brief=brief))


def loaded(code: bytes, types: Types) -> Function:
    """The function of code that `compiled` has made for these types, on this machine or on one like it.

    It takes just these types, arrays with NumPy's own dtype objects, and gives an integer; 0 where the function
    returns nothing. Given others, it gives NotImplemented. It raises MemoryError where the function raised something.
    """
    import llvmlite.binding as llvm

    check_layouts()
    (size,) = _LENGTH.unpack_from(code)
    library = llvm.JITLibraryBuilder()
    for part in (code[_LENGTH.size : _LENGTH.size + size], code[_LENGTH.size + size :]):
        library.add_object_img(part)
    for name, address in _runtime().items():
        library.import_symbol(name, address)
    tracker = library.add_current_process().export_symbol(NAME).link(_linker(), f"kernel {next(_number)}")
    definition = _MethodDefinition(b"kernel", tracker[NAME], FASTCALL, None)
    _kept.append((tracker, definition))
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    function: Function = make(ctypes.addressof(definition), table(types), None)
    return function


def numba_folder() -> Path:
    """Where the package is; it is not imported."""
    found = importlib.util.find_spec("numba")
    assert found is not None, "numba is required by setup.cfg"
    return Path(str(found.origin)).parent


class _MethodDefinition(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("call", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


@cache
def _machine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)


@cache
def _linker() -> Any:
    import llvmlite.binding as llvm

    return llvm.create_lljit_compiler(_machine())


@cache
def _runtime() -> dict[str, int]:
    """Addresses of Numba's functions that allocate arrays; its extension module is loaded alone, without Numba."""
    name = "_nrt_python"
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = numba_folder() / "core" / "runtime" / f"{name}{suffix}"
        if path.exists():
            loader = importlib.machinery.ExtensionFileLoader(name, str(path))
            spec = importlib.util.spec_from_loader(name, loader)
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
            return {f"NRT_{key}": address for key, address in module.c_helpers.items()}
    raise EngineError(f"cpu: Numba's {name} is not in {numba_folder()}. Install numba again.")


def _numba_type(text: str | Types) -> Any:
    from numba.core import types as numba_types

    types: Any = numba_types
    if isinstance(text, tuple):
        return types.Tuple([_numba_type(part) for part in text])
    array = ARRAY.fullmatch(text)
    if array is None:
        return getattr(types, {"bool": "boolean"}.get(text, text))
    dtype, dimensions, layout = array.groups()
    return types.Array(_numba_type(dtype), int(dimensions), layout)


def _object(text: str) -> bytes:
    """The object file of LLVM's text."""
    import llvmlite.binding as llvm

    machine, module = _machine(), llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    code: bytes = machine.emit_object(module)
    return code
