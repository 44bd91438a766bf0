"""Keys and values kept while decoding, so that a new token does not cost a copy of all earlier ones.

Legend: B batch, N new keys, M keys held, H heads, K head_dim, R numbers that a position method remembers of a key.
"""

import torch
from torch import Tensor


class Growing:
    """A tensor that grows along one dimension, inside a buffer whose capacity doubles.

    N appends copy O(N) numbers in total; concatenating each time would copy O(N * N).

    Args:
        first: the initial content; it is never written to.
        dim: the dimension that grows.
    """

    def __init__(self, first: Tensor, dim: int) -> None:
        self.buffer, self.dim = first, dim % first.dim()
        self.length = first.shape[dim]

    @property
    def tensor(self) -> Tensor:
        """The content, without a copy."""
        return self.buffer.narrow(self.dim, 0, self.length)

    def append(self, new: Tensor) -> Tensor:
        """Append `new`; returns the whole content."""
        if self._writable(new):
            start, self.length = self.length, self.length + new.shape[self.dim]
            if self.length > self.buffer.shape[self.dim]:
                self._grow(start)
            self.buffer.narrow(self.dim, start, new.shape[self.dim]).copy_(new)
        else:
            self.buffer = torch.cat([self.tensor, new], dim=self.dim)
            self.length = self.buffer.shape[self.dim]
        return self.tensor

    def _writable(self, new: Tensor) -> bool:
        """Whether writing in place gives the same result as concatenating.

        Not if gradients are recorded: the backward pass needs the tensors as attention read them.
        """
        if torch.is_grad_enabled() or new.dtype != self.buffer.dtype:
            return False
        return torch.is_inference_mode_enabled() or not self.buffer.is_inference()

    def _grow(self, used: int) -> None:
        shape = list(self.buffer.shape)
        shape[self.dim] = max(self.length, 2 * shape[self.dim])
        larger = self.buffer.new_empty(shape)
        larger.narrow(self.dim, 0, used).copy_(self.buffer.narrow(self.dim, 0, used))
        self.buffer = larger


class KeyValueCache:
    """Keys (already turned) and values of every block, for decoding; filled by the stack.

    Attributes:
        consecutive: whether each position so far is one above the position before it.
    """

    def __init__(self) -> None:
        self._keys: list[Growing] = []
        self._values: list[Growing] = []
        self._content: dict[int, Growing] = {}
        self._positions: Growing | None = None
        self._padding: Growing | None = None
        self.consecutive = True

    def __len__(self) -> int:
        """Number of keys."""
        return 0 if self._positions is None else self._positions.length

    @property
    def batch_size(self) -> int | None:
        """Number of rows, or None while it is empty."""
        return self._keys[0].buffer.shape[0] if self._keys else None

    @property
    def keys(self) -> list[Tensor]:
        """(B, H, M, K) per block."""
        return [key.tensor for key in self._keys]

    @property
    def values(self) -> list[Tensor]:
        """(B, H, M, K) per block."""
        return [value.tensor for value in self._values]

    @property
    def positions(self) -> Tensor | None:
        """Of the keys, (M,) or (B, M); None while it is empty."""
        return None if self._positions is None else self._positions.tensor

    @property
    def padding_mask(self) -> Tensor | None:
        """(B, M), True where a key is padding; None if no padding mask was ever given."""
        return None if self._padding is None else self._padding.tensor

    def extend(self, block: int, key_BHNK: Tensor, value_BHNK: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values that a block computed for new tokens; returns all of the block."""
        if block == len(self._keys):
            self._keys.append(Growing(key_BHNK, dim=2))
            self._values.append(Growing(value_BHNK, dim=2))
            return key_BHNK, value_BHNK
        return self._keys[block].append(key_BHNK), self._values[block].append(value_BHNK)

    def remember_content(self, block: int, remembered_BRN: Tensor) -> Tensor:
        """Append what a block's position method remembers of new keys; returns that of all of its keys."""
        if block not in self._content:
            self._content[block] = Growing(remembered_BRN, dim=2)
            return remembered_BRN
        return self._content[block].append(remembered_BRN)

    def remember(self, positions: Tensor, padding_BN: Tensor | None, consecutive: bool, batch: int) -> None:
        """Append positions and padding of the new tokens.

        Args:
            positions: (N,) or (B, N).
            consecutive: whether they continue the positions so far, each one above the one before.
        """
        self._remember_padding(padding_BN, positions, batch)
        self.consecutive = self.consecutive and consecutive
        if self._positions is None:
            self._positions = Growing(positions, dim=-1)
            return
        if self._positions.tensor.dim() < positions.dim():
            self._positions = Growing(self._positions.tensor.expand(batch, -1), dim=-1)
        elif self._positions.tensor.dim() > positions.dim():
            positions = positions.expand(batch, -1)
        self._positions.append(positions)

    def _remember_padding(self, padding_BN: Tensor | None, positions: Tensor, batch: int) -> None:
        def none(count: int) -> Tensor:
            return torch.zeros(batch, count, dtype=torch.bool, device=positions.device)

        if self._padding is None and padding_BN is None:
            return
        if self._padding is None and len(self):
            self._padding = Growing(none(len(self)), dim=1)
        padding_BN = none(positions.shape[-1]) if padding_BN is None else padding_BN
        if self._padding is None:
            self._padding = Growing(padding_BN, dim=1)
        else:
            self._padding.append(padding_BN)
