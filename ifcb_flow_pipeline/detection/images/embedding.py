"""Images as a ready network sees them: numbers that carry classes of plankton from one instrument to another.

The network is EfficientNet-lite0 without its last layer, trained on photographs, never on plankton; it is made once
(``store.backbone``) and run by onnxruntime, which the extra ``taxa`` installs. It hardly sees optics, as images are
shrunk for it.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import Image
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.images.definitions import BACKGROUND_LEVEL, MIN_BACKGROUND, MIN_SIDE_PX

SIDE_PX: Final = 112
"""Images are brought to squares of this side."""

N_NUMBERS: Final = 1280
"""Numbers of an image."""

#: Grey values that the network was trained with, as their middle and scale.
_MIDDLE, _SCALE = 127.0, 128.0

#: Images that are looked at together: more take memory, and are no faster.
_AT_ONCE = 32

#: How many of the most varying directions are kept; with more, classes of another instrument are told no better.
_DIRECTIONS = 128


class Backbone:
    """The network, from the bytes of its file. Raises ModelError, naming the remedy, where it cannot be used."""

    def __init__(self, network: bytes, n_threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError("onnxruntime is not installed: pip install 'ifcb-flow-pipeline[taxa]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        try:
            self._session: Any = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
            shapes = [
                (each.name, each.shape[1:]) for each in (*self._session.get_inputs(), *self._session.get_outputs())
            ]
        except Exception as error:  # onnxruntime's errors have no common base
            raise ModelError(
                f"the network cannot be read ({error}): make it anew with 'ifcb-flow taxa make'"
            ) from error
        if shapes != [("image", [1, SIDE_PX, SIDE_PX]), ("embedding", [N_NUMBERS])]:
            raise ModelError("the network is another one: make it anew with 'ifcb-flow taxa make'")

    def embed(self, images: Sequence[Image]) -> NDArray[np.float64]:
        """N_NUMBERS numbers of each of n images, (height, width) uint8: shape (n, N_NUMBERS); NaN where an image is too
        small for features.
        """
        found = np.full((len(images), N_NUMBERS), np.nan)
        large = np.array([i for i, image in enumerate(images) if min(image.shape) >= MIN_SIDE_PX], np.int64)
        for first in range(0, len(large), _AT_ONCE):
            chosen = large[first : first + _AT_ONCE]
            squares = np.array([square(images[i]) for i in chosen])
            found[chosen] = self._session.run(None, {"image": (squares[:, None] - _MIDDLE) / _SCALE})[0]
        return found


def square(image: Image) -> NDArray[np.float32]:
    """An image at the common background, in the middle of a square of it, shape (SIDE_PX, SIDE_PX), grey values."""
    from PIL import Image as Pillow

    ring = np.concatenate([image[:2].ravel(), image[-2:].ravel(), image[2:-2, :2].ravel(), image[2:-2, -2:].ravel()])
    background = float(np.median(ring))
    height, width = image.shape
    side = max(height, width)
    canvas = np.full((side, side), background, np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = image
    canvas *= BACKGROUND_LEVEL / max(background, MIN_BACKGROUND)
    return np.asarray(Pillow.fromarray(canvas).resize((SIDE_PX, SIDE_PX), Pillow.Resampling.BILINEAR))


class EmbeddingSpace:
    """The directions in which embeddings vary most. Learned: ``centre_`` (N_NUMBERS,), ``directions_`` (N_NUMBERS, k),
    scaled so that coordinates vary by 1 on average.
    """

    centre_: NDArray[np.float64]
    directions_: NDArray[np.float64]

    def fit(self, values: NDArray[np.float64]) -> "EmbeddingSpace":
        """``values``: shape (n, N_NUMBERS), without NaN."""
        from sklearn.decomposition import PCA

        found: Any = PCA(min(_DIRECTIONS, *values.shape), random_state=0).fit(values)
        scale = float(np.sqrt(found.explained_variance_).mean())
        # As a file keeps them, so that a model is the same before and after it is written.
        self.centre_ = found.mean_.astype(np.float32).astype(np.float64)
        self.directions_ = (found.components_.T / max(scale, 1e-9)).astype(np.float32).astype(np.float64)
        return self

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates, shape (n, k); NaN where an image has none."""
        return (values - self.centre_) @ self.directions_
