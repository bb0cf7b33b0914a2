"""What becomes of a train batch between the copy to the device and the network: images augmented, then mixed.

B examples of this rank's part of a batch, O outputs.
"""

import numpy as np
from torch import Tensor

from pipeline import distributed
from pipeline.augmentation import mixing
from pipeline.augmentation.images import Augmenter, part
from pipeline.augmentation.settings import Images, Mixing, require_images
from pipeline.examples import ImageInputs, TextInputs


class Augmentation:
    """Of images; texts are left as they are."""

    def __init__(self, images: Images, mixed: Mixing, inputs: ImageInputs | TextInputs):
        """Raises: ConfigError where texts are to be mixed."""
        self._mixing, self._augmenter = mixed, None
        if not isinstance(inputs, ImageInputs):
            require_images(mixed, "text", "train")
            return
        self._size = inputs.height, inputs.width
        self._augmenter = Augmenter(images, *self._size, inputs.channels)

    def __call__(
        self, arrays: Tensor, targets: Tensor, random: np.random.Generator, count: int
    ) -> tuple[Tensor, Tensor]:
        """arrays uint8 [B, H, W, C] and targets float32 [B, O], the same in and out; `count`: of the global batch.

        What is off draws nothing. Where images are mixed, every rank has to come here.
        """
        if self._augmenter is None:
            return arrays, targets
        mine = distributed.part(count)
        arrays = self._augmenter.apply(arrays, part(self._augmenter.draw(random, count), mine))
        if self._mixing.on:
            mix = mixing.draw(self._mixing, random, count, *self._size)
            arrays, targets = mixing.apply(arrays, targets, mix, mine)
        return arrays, targets
