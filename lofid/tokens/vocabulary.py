"""A vocabulary: named blocks of token ids, and a hash that tells two vocabularies apart."""

import hashlib
import json
from collections.abc import Sequence


class Vocabulary:
    """Token ids in consecutive named blocks.

    ``blocks`` maps a block's name to the names of its tokens; ids are given in order. Weights carry
    :attr:`hash`, so that a model is never fed tokens of a vocabulary that it was not trained on.
    """

    def __init__(self, name: str, blocks: Sequence[tuple[str, Sequence[str]]]) -> None:
        self.name = name
        self.tokens: list[str] = []
        self._ranges: dict[str, range] = {}
        for block, members in blocks:
            first = len(self.tokens)
            self.tokens.extend(f"{block}:{member}" for member in members)
            self._ranges[block] = range(first, len(self.tokens))
        digest = hashlib.sha256(json.dumps([name, self.tokens]).encode())
        self.hash = digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.tokens)

    def block(self, name: str) -> range:
        """The ids of a block; raises KeyError for an unknown one."""
        return self._ranges[name]
