"""FFCV's raw format under the same work as benchmarks/loader.py, in an interpreter that has ffcv.

Arguments: an array of images, the file to write, a batch's size, mean and deviation as JSON. Each number of epochs on
stdin is answered by the CPU seconds that they took.
"""

import json
import sys
import time

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter


class Images:
    def __init__(self, path: str):
        self.images = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        return np.ascontiguousarray(self.images[row]), 0


def loader(path: str, batch: int, side: int, mean: list[float], std: list[float]) -> Loader:
    scale = NormalizeImage(255 * np.array(mean), 255 * np.array(std), np.float32)
    decoder = RandomResizedCropRGBImageDecoder((side, side))
    steps = [decoder, RandomHorizontalFlip(), scale, ToTensor(), ToTorchImage(convert_back_int16=False)]
    options = {"num_workers": 1, "order": OrderOption.RANDOM, "os_cache": True, "drop_last": False}
    return Loader(path, batch_size=batch, pipelines={"image": steps, "label": None}, **options)


def main() -> None:
    array, path, batch, scaling = sys.argv[1:]
    images = Images(array)
    side = images.images.shape[1]
    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    DatasetWriter(path, fields, num_workers=1).from_indexed_dataset(images)
    reading = loader(path, int(batch), side, *json.loads(scaling))
    for found in reading:  # compiles
        assert found[0].dtype.is_floating_point and found[0].shape[1:] == (3, side, side)
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.process_time()
        for _ in range(int(line)):
            for _ in reading:
                pass
        print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    main()
