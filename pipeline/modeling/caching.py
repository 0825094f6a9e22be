"""The cache of keys and values while answers are drawn: it grows in place, and rows can leave it."""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

GROWTH = 64  # tokens; transformers' own cache copies all keys and values for every token


def sampling_cache(decoder: Any) -> DynamicCache:
    """Return an empty cache for a decoder; layers of a special kind (sliding windows, recurrent states) are its own."""
    cache = DynamicCache(config=decoder.config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, [rows, heads, tokens, size]: views of tensors with room for more tokens."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Prepare an empty cache for states of these shapes."""
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.rooms = self.keys, self.values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add the states of new tokens; return those of all tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if end > self.rooms[0].shape[2]:
            self.rooms = _with_room(self.keys, end + GROWTH), _with_room(self.values, end + GROWTH)
        for room, states in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, start:end] = states
        self.keys, self.values = (room[:, :, :end] for room in self.rooms)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows of these indices."""
        if self.get_seq_length():
            self.rooms = self.rooms[0][beam_idx], self.rooms[1][beam_idx]
            self.keys, self.values = (room[:, :, : self.keys.shape[2]] for room in self.rooms)


def _with_room(states: Tensor, tokens: int) -> Tensor:
    """Return a copy of states with room for so many tokens."""
    room = states.new_empty(*states.shape[:2], tokens, states.shape[3])
    room[:, :, : states.shape[2]] = states
    return room
