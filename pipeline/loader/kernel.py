"""Compiled kernels that read images where they lie and write them, cropped, resized and turned, into a batch.

A source image is the address of uint8 [H, W, C] in memory, mapped or not, so that shards, ragged stores and plain
arrays are read by the same code; who calls keeps the arrays alive. Nothing here knows of files or of randomness.
B examples of a batch, H and W a source's height and width, Y and X those of the output, C channels.

The resize is the triangle filter of torchvision (`antialias=True`): bilinear where a box is enlarged, widened by the
scale where it is reduced. It is separable: each source row is filtered along its columns once and kept in a ring of
rows that fits the first cache; rows are then mixed, which is the part that vectorises.
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray
from numba.core import cgutils, types
from numba.extending import intrinsic

PAD = 4
"""Floats behind each row of scratch: a pixel of three channels is read and written as four."""


def _pointer(typingctx: Any, address: Any) -> Any:
    """A pointer to the bytes at an address."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uintp), code


_bytes_at: Any = intrinsic(_pointer)


def _mixed(typingctx: Any, out: Any, one: Any, other: Any, weight: Any) -> Any:
    """Four floats at `out` = those at `one` + weight · (those at `other` - those at `one`); arguments are addresses."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        four = ir.VectorType(ir.FloatType(), 4)
        to, a, b = (builder.inttoptr(address, four.as_pointer()) for address in arguments[:3])
        first, second = builder.load(a, align=4), builder.load(b, align=4)
        spread = builder.insert_element(ir.Constant(four, ir.Undefined), arguments[3], ir.Constant(ir.IntType(32), 0))
        spread = builder.shuffle_vector(spread, spread, ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4))
        change = builder.fmul(builder.fsub(second, first, flags=("contract",)), spread, flags=("contract",))
        builder.store(builder.fadd(first, change, flags=("contract",)), to, align=4)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.float32), code


_mix_pixels: Any = intrinsic(_mixed)


@numba.njit(cache=True, nogil=True)
def cut(sizes: Any, shapes: Any, corners: Any, smallest: float, largest: float, ratio: float, boxes: Any) -> None:
    """Fills `boxes`, int64 [B, 4], from draws in 0..1: `shapes` [B, attempts, 2] and `corners` [B, 2].

    The first shape that fits is taken; where none does, the largest centred one within the ratio.
    """
    for b in range(len(sizes)):
        height, width = sizes[b]
        box = boxes[b]
        box[2] = min(height, int(np.rint(width * ratio)))
        box[3] = min(width, int(np.rint(height * ratio)))
        box[0], box[1] = (height - box[2]) // 2, (width - box[3]) // 2
        for attempt in range(shapes.shape[1]):
            area = height * width * (smallest + (largest - smallest) * shapes[b, attempt, 0])
            wider = math.exp(math.log(ratio) * (2 * shapes[b, attempt, 1] - 1))
            tall, wide = int(np.rint(math.sqrt(area / wider))), int(np.rint(math.sqrt(area * wider)))
            if 0 < tall <= height and 0 < wide <= width:
                box[0], box[1] = int(corners[b, 0] * (height - tall + 1)), int(corners[b, 1] * (width - wide + 1))
                box[2], box[3] = tall, wide
                break


@numba.njit(cache=True, nogil=True)
def _reach(length: int, count: int) -> int:
    """The most source pixels that one output pixel reads where `length` of them become `count`."""
    return 2 if length <= count else 2 * int(np.ceil(length / count)) + 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _pairs(
    start: int, length: int, count: int, shift: int, limit: int, turned: bool, one: Any, other: Any, weights: Any
) -> None:
    """One axis of an enlarged box: output pixel o lies `weights[o]` of the way from pixel `one[o]` to `other[o]`.

    Both are clipped to the image: an edge repeats.
    """
    scale = length / count
    for o in range(count):
        place = max(scale * ((count - 1 - o if turned else o) + 0.5) - 0.5, 0.0)
        before = int(place)
        weights[o] = place - before
        one[o] = min(max(start + before + shift, 0), limit - 1)
        other[o] = min(max(start + min(before + 1, length - 1) + shift, 0), limit - 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _widths(
    start: int, length: int, count: int, shift: int, limit: int, turned: bool, places: Any, weights: Any, taps: Any
) -> None:
    """One axis of any box: output pixel o reads `taps[o]` pixels at `places[o]` with `weights[o]`, clipped as above."""
    scale = length / count
    support = max(scale, 1.0)
    for o in range(count):
        centre = scale * ((count - 1 - o if turned else o) + 0.5)
        first = max(int(centre - support + 0.5), 0)
        taps[o] = min(int(centre + support + 0.5), length) - first
        total = 0.0
        for k in range(taps[o]):
            weight = max(0.0, 1.0 - abs((first + k - centre + 0.5) / support))
            weights[o, k] = weight
            total += weight
        for k in range(taps[o]):
            weights[o, k] /= total
            places[o, k] = min(max(start + first + k + shift, 0), limit - 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _scaled(row: Any, low: int, high: int, scale: Any, bias: Any, floats: Any) -> None:
    """Values low..high of a source row as floats, scaled."""
    pixels, scales, biases, into = row[low:high], scale[low:high], bias[low:high], floats[low:high]
    for i in range(pixels.shape[0]):
        into[i] = np.float32(pixels[i]) * scales[i] + biases[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _pair_columns(floats: Any, channels: int, one: Any, other: Any, weights: Any, out: Any) -> None:
    """A row [W · C] filtered along its columns into [X · C + PAD], two source pixels for each of the output."""
    count = one.shape[0]
    if channels == 3:
        source, to = np.uintp(floats.ctypes.data), np.uintp(out.ctypes.data)
        for x in range(count):
            _mix_pixels(to, source + np.uintp(12 * one[x]), source + np.uintp(12 * other[x]), weights[x])
            to += np.uintp(12)
    elif channels == 1:
        for x in range(count):
            value = floats[np.uintp(one[x])]
            out[x] = value + (floats[np.uintp(other[x])] - value) * weights[x]
    else:
        for x in range(count):
            for c in range(channels):
                value = floats[one[x] * channels + c]
                out[x * channels + c] = value + (floats[other[x] * channels + c] - value) * weights[x]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _wide_columns(floats: Any, channels: int, places: Any, weights: Any, taps: Any, out: Any) -> None:
    """The same with as many source pixels for each of the output as `taps` says."""
    for x in range(places.shape[0]):
        for c in range(channels):
            total = np.float32(0)
            for k in range(taps[x]):
                total += floats[places[x, k] * channels + c] * weights[x, k]
            out[x * channels + c] = total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mix_rows(one: Any, other: Any, weight: Any, out: Any) -> None:
    """Two filtered rows into a row of the batch; a row of uint8 takes the whole part."""
    for i in range(out.shape[0]):
        out[i] = one[i] + (other[i] - one[i]) * weight


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _enlarge(pixels: Any, box: Any, shift: Any, turned: Any, scaling: Any, floats: Any, ring: Any, out: Any) -> None:
    """One box of `pixels`, uint8 [H, W · C], into `out`, [Y, X · C], where neither side of it is shorter."""
    scales, biases, channels = scaling
    height, width = out.shape[0], out.shape[1] // channels
    one, other, across = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(width, np.float32)
    upper, lower, down = np.empty(height, np.int64), np.empty(height, np.int64), np.empty(height, np.float32)
    _pairs(box[0], box[2], height, shift[0], pixels.shape[0], turned[0], upper, lower, down)
    _pairs(box[1], box[3], width, shift[1], pixels.shape[1] // channels, turned[1], one, other, across)
    low, high = channels * min(one[0], one[width - 1]), channels * (1 + max(other[0], other[width - 1]))
    held = np.full(2, -1)
    for y in range(height):
        first, second = upper[y], lower[y]
        slot = 1 if held[1] == first or held[0] == second else 0
        for row, place in ((first, slot), (second, slot if first == second else 1 - slot)):
            if held[place] != row:
                _scaled(pixels[row], low, high, scales, biases, floats)
                _pair_columns(floats, channels, one, other, across, ring[place])
                held[place] = row
        _mix_rows(ring[slot], ring[slot if first == second else 1 - slot], down[y], out[y])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _reduce(pixels: Any, box: Any, shift: Any, turned: Any, scaling: Any, floats: Any, ring: Any, out: Any) -> None:
    """The same for any box; the ring has a slot for each row that one row of the output may need."""
    scales, biases, channels = scaling
    height, width, slots = out.shape[0], out.shape[1] // channels, ring.shape[0]
    reach = _reach(box[3], width)
    across, light, reads = (
        np.empty((width, reach), np.int64),
        np.empty((width, reach), np.float32),
        np.empty(width, np.int64),
    )
    down, heavy, taps = (
        np.empty((height, slots), np.int64),
        np.empty((height, slots), np.float32),
        np.empty(height, np.int64),
    )
    _widths(box[0], box[2], height, shift[0], pixels.shape[0], turned[0], down, heavy, taps)
    _widths(box[1], box[3], width, shift[1], pixels.shape[1] // channels, turned[1], across, light, reads)
    ends = (across[0, 0], across[0, reads[0] - 1], across[width - 1, 0], across[width - 1, reads[width - 1] - 1])
    low, high = channels * min(ends), channels * (1 + max(ends))
    held, total = np.full(slots, -1), np.empty(out.shape[1], np.float32)
    for y in range(height):
        total[:] = 0
        for k in range(taps[y]):
            row = down[y, k]
            slot = row % slots
            if held[slot] != row:
                _scaled(pixels[row], low, high, scales, biases, floats)
                _wide_columns(floats, channels, across, light, reads, ring[slot])
                held[slot] = row
            _add_row(ring[slot], heavy[y, k], total)
        out[y, :] = total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_row(row: Any, weight: Any, total: Any) -> None:
    for i in range(total.shape[0]):
        total[i] += row[i] * weight


@numba.njit(cache=True, nogil=True, error_model="numpy")
def resize(sources: Any, sizes: Any, boxes: Any, shifts: Any, turned: Any, scale: Any, bias: Any, out: Any) -> None:
    """Fills `out`, uint8 or float32 [B, Y, X, C], with each source's box, resized to it and turned.

    `sources` uintp [B] are addresses, `sizes` int64 [B, 2] heights and widths, `boxes` int64 [B, 4] top, left, height
    and width, `shifts` int64 [B, 2] rows and columns that the image is moved by before it is cut, `turned` bool [B, 2]
    upside down and left to right. A value is read as value · scale[c] + bias[c], both float32 [C]; for uint8 a bias of
    0.5 rounds it.
    """
    count, height, width, channels = out.shape
    rows, widest = 2, 1
    for b in range(count):
        rows, widest = max(rows, _reach(boxes[b, 2], height)), max(widest, sizes[b, 1])
    floats = np.empty(widest * channels + PAD, np.float32)
    ring = np.empty((rows, width * channels + PAD), np.float32)
    scales, biases = np.empty(widest * channels, np.float32), np.empty(widest * channels, np.float32)
    for i in range(widest * channels):
        scales[i], biases[i] = scale[i % channels], bias[i % channels]
    for b in range(count):
        pixels = carray(_bytes_at(sources[b]), (sizes[b, 0], sizes[b, 1] * channels), np.uint8)
        box, into = boxes[b], out[b].reshape(height, width * channels)
        if box[2] <= height and box[3] <= width:
            _enlarge(pixels, box, shifts[b], turned[b], (scales, biases, channels), floats, ring, into)
        else:
            _reduce(pixels, box, shifts[b], turned[b], (scales, biases, channels), floats, ring, into)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def move(sources: Any, shifts: Any, turned: Any, out: Any) -> None:
    """Fills `out`, uint8 [B, Y, X, C], with sources of its own size, shifted and turned; an edge repeats.

    The arguments are those of `resize`.
    """
    count, height, width, channels = out.shape
    for b in range(count):
        pixels = carray(_bytes_at(sources[b]), (height, width * channels), np.uint8)
        into = out[b].reshape(height, width * channels)
        down, right = shifts[b, 0], min(max(shifts[b, 1], -width), width)
        for y in range(height):
            from_top = height - 1 - y if turned[b, 0] else y
            row = pixels[min(max(from_top + down, 0), height - 1)]
            if turned[b, 1]:
                _turned_row(row, right, channels, into[y])
            else:
                _moved_row(row, right, channels, into[y])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _moved_row(row: Any, right: int, channels: int, out: Any) -> None:
    """Pixel x of the row from pixel x + right, clipped; [W · C], |right| ≤ W."""
    size, off = row.shape[0], abs(right) * channels
    if right >= 0:
        kept, read, lacking, edge = out[: size - off], row[off:], out[size - off :], row[size - channels :]
    else:
        kept, read, lacking, edge = out[off:], row[: size - off], out[:off], row[:channels]
    for i in range(kept.shape[0]):
        kept[i] = read[i]
    for i in range(lacking.shape[0]):
        lacking[i] = edge[i % channels]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _turned_row(row: Any, right: int, channels: int, out: Any) -> None:
    """The same, then from right to left."""
    size, off = row.shape[0], abs(right) * channels
    if right >= 0:
        kept, read, lacking, edge = out[off:], row[off:], out[:off], row[size - channels :]
    else:
        kept, read, lacking, edge = out[: size - off], row[: size - off], out[size - off :], row[:channels]
    count = kept.shape[0] // channels
    if channels == 1:
        for i in range(count):
            kept[i] = read[count - 1 - i]
    elif channels == 3:
        for i in range(count):
            to, at = 3 * i, 3 * (count - 1 - i)
            kept[to], kept[to + 1], kept[to + 2] = read[at], read[at + 1], read[at + 2]
    else:
        for i in range(count * channels):
            kept[i] = read[(count - 1 - i // channels) * channels + i % channels]
    for i in range(lacking.shape[0]):
        lacking[i] = edge[i % channels]
