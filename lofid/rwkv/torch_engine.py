"""The torch engine: the readable reference model, played as it is, for who wants to compare."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.reference import Rwkv6
from lofid.rwkv.state import ModelState
from lofid.rwkv.weights import Tensors, check_tensors


class TorchEngine:
    """One model in plain torch; see :class:`lofid.rwkv.engine.Engine` for the contract.

    ``tensors`` are float32 under their official names and stay float32. ``device`` is the GPU that
    torch finds, or the CPU, unless it is given. Raises :class:`~lofid.errors.LofidError` for
    tensors that are missing, unknown or of a wrong shape.
    """

    def __init__(
        self, config: RwkvConfig, tensors: Tensors, device: torch.device | None = None
    ) -> None:
        check_tensors(config, tensors, "the model")
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.name = f"torch-{self._device.type}"
        self._config = config
        with torch.random.fork_rng(devices=[]):  # the weights drawn first are all replaced
            self._model = Rwkv6(config)
        self._model.load_state_dict({name: torch.tensor(x) for name, x in tensors.items()})
        self._model.to(self._device).eval()

    @property
    def config(self) -> RwkvConfig:
        """The shape of the model."""
        return self._config

    def forward(self, tokens: Sequence[int], state: ModelState) -> NDArray[np.float32]:
        """Advance ``state`` in place over ``tokens``; the logits [vocabulary] after the last.

        Raises ValueError for no token, an id outside the vocabulary, or a state of another model.
        """
        logits: NDArray[np.float32] = self._advance([tokens], [state])[0]
        return logits

    def forward_batch(
        self, tokens: Sequence[int], states: Sequence[ModelState]
    ) -> NDArray[np.float32]:
        """Advance each of B ``states`` in place over its own token; the logits [B, vocabulary].

        They are those of :meth:`forward` but for their last digits. Raises ValueError as it does.
        """
        return self._advance([[token] for token in tokens], states)

    def _advance(
        self, texts: Sequence[Sequence[int]], states: Sequence[ModelState]
    ) -> NDArray[np.float32]:
        config = self._config
        for text in texts:
            if not len(text) or min(text) < 0 or max(text) >= config.vocabulary:
                raise ValueError(f"token ids must lie in 0..{config.vocabulary - 1}")
        if any(state.wkv.shape[:2] != (config.layers, config.heads) for state in states):
            raise ValueError("the state belongs to a model of another shape")
        of_part = list(zip(*(state.parts for state in states), strict=True))
        with torch.inference_mode():
            att, ffn, wkv = (
                torch.from_numpy(np.stack(arrays, 1)).to(self._device) for arrays in of_part
            )
            tokens = torch.tensor(texts, device=self._device)
            logits, after = self._model(tokens, (att, ffn, wkv))
            for arrays, tensor in zip(of_part, after, strict=True):
                for array, part in zip(arrays, tensor.cpu().unbind(1), strict=True):
                    array[:] = part.numpy()
            last: NDArray[np.float32] = logits[:, -1].cpu().numpy()
        return last
