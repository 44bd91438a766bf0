"""The nats of every target on disk: a NumPy file beside the result, bound to its row by a hash.

<result>-L512-1a2b3c4d.npy    (N,) float32, little-endian, in text order; the hex begins the file's sha256
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from alibi.files import write_atomically
from alibi.results.result import Result

REMEDY = "Evaluate again with eval.save_nats=true."


def save_nats(result: Path, length: int, nats_N: np.ndarray) -> dict[str, Any]:
    """Write them beside a result file; returns the row's entry, {file, sha256, count}."""
    content = io.BytesIO()
    np.save(content, nats_N.astype("<f4"))
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    file = result.with_name(f"{result.stem}-L{length}-{sha256[:8]}.npy")
    write_atomically(file, content.getvalue())
    return {"file": file.name, "sha256": sha256, "count": len(nats_N)}


def has_nats(result: Path, entry: dict[str, Any]) -> bool:
    """Whether the file that a row's entry names is there and unchanged."""
    path = result.with_name(entry["file"])
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]


def load_nats(result: Result, length: int) -> np.ndarray:
    """(N,) float32: the nats of each target in text order, of the row at `length`.

    Raises:
        ValueError: the row has none, or the file is not the one that the row names.
        FileNotFoundError: the file is gone.
    """
    entry = result.rows.get(length, {}).get("nats")
    if entry is None:
        has = ", ".join(str(n) for n, row in result.rows.items() if "nats" in row) or "none"
        raise ValueError(f"{result.path}: length {length} has no nats on disk (lengths that have: {has}). {REMEDY}")
    path = result.path.with_name(entry["file"])
    if not path.exists():
        raise FileNotFoundError(f"{path} is gone, the nats of length {length}. {REMEDY}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path} is not what {result.path.name} was written with: its sha256 is another. {REMEDY}")
    nats_N = np.load(io.BytesIO(content), allow_pickle=False)
    if (nats_N.dtype, nats_N.shape) != (np.dtype("<f4"), (entry["count"],)) or len(nats_N) != result.data.tokens:
        kind = f"{nats_N.dtype} {nats_N.shape}"
        raise ValueError(f"{path} has {kind}, and the text {result.data.tokens:,} targets in float32. {REMEDY}")
    return nats_N
