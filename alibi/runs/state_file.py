"""training_state.pt: read without running anything in it, and without taking more memory than its bytes.

It is a zip archive of a pickle and of the tensors' numbers. torch loads it weights-only; before that
the archive must be one that torch.save writes (nothing compressed, nothing hidden from one of the two
readers), and the pickle may name tensors and ordered dictionaries only. After it no tensor may be
larger than the file, for a view can show one number a billion times.
"""

import os
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path

import torch

from alibi.foreign import check_file

MOST_PICKLE_BYTES, MOST_RECORDS, MOST_VALUES = 2**22, 2**17, 2**17
STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
MAY_NAME = {f"torch {name}Storage" for name in STORAGES}
MAY_NAME |= {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"}
# What builds an object otherwise than by calling one of these names.
NO_OPCODES = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BUILD"}
END_RECORD, LOCATOR, END_RECORD_64 = (b"PK\5\6", 22), (b"PK\6\7", 20), (b"PK\6\6", 56)


def read_state(path: Path) -> dict:
    """The state: numbers, strings, tensors and containers of them.

    Raises:
        ValueError: with the reason why it is none, in a few words.
        OSError: it cannot be read.
    """
    size = check_file(path)
    _check_pickle(_pickle_of(path, size))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"torch refuses it: {str(error).splitlines()[0][:120]}") from error
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}")
    _check_values(state, size)
    return state


def _pickle_of(path: Path, size: int) -> bytes:
    """The archive's pickle, after its directory was found to fit the file."""
    _check_end(path, size)
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            if len(records) > MOST_RECORDS or min(r.header_offset for r in records) != 0:
                raise ValueError("its archive begins with something else, or has too many records")
            if any(r.compress_type != zipfile.ZIP_STORED or r.compress_size != r.file_size for r in records):
                raise ValueError("its archive is compressed")
            if (total := sum(r.file_size for r in records)) > size:
                raise ValueError(f"its archive states {total:,} bytes in a file of {size:,}")
            (data,) = [r for r in records if r.filename.endswith("/data.pkl")]
            if data.file_size > MOST_PICKLE_BYTES:
                raise ValueError(f"its pickle has {data.file_size:,} bytes")
            return archive.read(data)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error, EOFError) as error:
        raise ValueError(f"no sound archive: {error}") from error


def _check_end(path: Path, size: int) -> None:
    """The directory is where the end of the file says, so that Python's reader and torch's read the same one."""
    with open(path, "rb") as file:
        file.seek(max(0, size - 22 - 20))
        tail = file.read()
        mark, length = END_RECORD
        if tail[-length : -length + 4] != mark or tail[-2:] != b"\0\0":
            raise ValueError("no sound archive: it does not end with its directory")
        mark, length = LOCATOR
        if tail[:4] == mark:
            mark, record = END_RECORD_64
            (place,) = struct.unpack("<Q", tail[8:16])
            if place != size - 22 - length - record:
                raise ValueError("no sound archive: its directory is not where it is stated")
            file.seek(place, os.SEEK_SET)
            if file.read(4) != mark:
                raise ValueError("no sound archive: its directory is not where it is stated")


def _check_pickle(data: bytes) -> None:
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in NO_OPCODES or (opcode.name == "GLOBAL" and argument not in MAY_NAME):
                raise ValueError(f"its pickle asks for {str(argument)[:60] if argument else opcode.name}")
    except (ValueError, OverflowError, IndexError, struct.error) as error:
        raise ValueError(str(error).splitlines()[0][:120]) from error


def _check_values(state: dict, size: int) -> None:
    """Each value as often as it is met: what is shared a billion times is a billion values to whoever copies it."""
    values, total, met = [state], 0, 0
    while values:
        value = values.pop()
        met += 1
        if isinstance(value, torch.Tensor):
            total += value.numel() * value.element_size()
        elif isinstance(value, dict):
            values += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            values += value
        elif value is not None and not isinstance(value, (bool, int, float, str)):
            raise ValueError(f"it holds a {type(value).__name__}")
        if met + len(values) > MOST_VALUES or total > size:
            raise ValueError(f"it holds more than its {size:,} bytes can")
