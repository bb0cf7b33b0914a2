"""Pillow's antialiased bicubic resize, bit for bit and several times as fast, compiled by numba.

Pillow (libImaging/Resample.c) weighs pixels by 22-bit integers and rounds to 8 bits between its two passes. The same
integers are summed here, in vectors: along the height a row is contiguous anyway; along the width tiles of 16 × 16
bytes are turned first, so that 16 rows are weighed at once. Serving resizes with Pillow itself (resizing.py) and
gets the same bits. H height, W width, C channels.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from PIL import Image

from pipeline.features import resizing

BITS = 22  # Pillow's PRECISION_BITS
LANES = 64  # bytes that are weighed at once along the height
STRIP = 256  # rows
SMALL = 1 << 22  # pixels that may be held twice
TILE, WIDE = 16, 32  # rows and bytes of a tile that is turned
Taps = tuple[np.ndarray, np.ndarray]  # first pixel [N], integer weights [N, T]
Shape = tuple[int, int, int]
_INT8, _INT32 = ir.IntType(8), ir.IntType(32)


def _address(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """Of the byte at `offset` in an array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.add(builder.ptrtoint(data, offset.type), offset)


def _weigh(vectors: int) -> Callable[..., Any]:
    """Compiled: `out[o:][:n] = clip(sum of weights[w + t] * pixels[p + t * step :][:n])`, n = 16 × vectors."""

    @intrinsic
    def weigh(context, pixels, p, step, weights, w, taps, out, o):  # type: ignore[no-untyped-def]
        def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            pixels, p, step, weights, w, taps, out, o = arguments
            narrow, wide = ir.VectorType(_INT8, TILE), ir.VectorType(_INT32, TILE)
            undefined = ir.Constant(wide, ir.Undefined)

            def everywhere(value: int) -> Any:
                return ir.Constant(wide, [value] * TILE)

            def vector(base: Any, k: int) -> Any:
                return builder.inttoptr(builder.add(base, base.type(k * TILE)), narrow.as_pointer())

            start = _address(context, builder, signature.args[0], pixels, p)
            first = _address(context, builder, signature.args[3], weights, builder.mul(w, w.type(4)))
            totals = [cgutils.alloca_once(builder, wide) for _ in range(vectors)]
            for total in totals:
                builder.store(everywhere(1 << (BITS - 1)), total)
            with cgutils.for_range(builder, taps) as loop:
                row = builder.add(start, builder.mul(step, loop.index))
                place = builder.add(first, builder.mul(loop.index, loop.index.type(4)))
                weight = builder.load(builder.inttoptr(place, _INT32.as_pointer()), align=4)
                alone = builder.insert_element(undefined, weight, _INT32(0))
                factor = builder.shuffle_vector(alone, undefined, everywhere(0))
                for k, total in enumerate(totals):
                    values = builder.zext(builder.load(vector(row, k), align=1), wide)
                    builder.store(builder.add(builder.load(total), builder.mul(values, factor)), total)
            end = _address(context, builder, signature.args[6], out, o)
            for k, total in enumerate(totals):
                level = builder.ashr(builder.load(total), everywhere(BITS))
                level = builder.select(builder.icmp_signed(">", level, everywhere(0)), level, everywhere(0))
                level = builder.select(builder.icmp_signed("<", level, everywhere(255)), level, everywhere(255))
                builder.store(builder.trunc(level, narrow), vector(end, k), align=1)
            return context.get_dummy_value()

        number = types.intp
        return types.void(pixels, number, number, weights, number, number, out, number), build

    return weigh


def _turn(back: bool) -> Callable[..., Any]:
    """Compiled: transposes a tile of 16 rows of 32 bytes, one every `step`, to 32 rows of 16 without gaps, or back."""

    @intrinsic
    def turn(context, wide, w, step, narrow, n):  # type: ignore[no-untyped-def]
        def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            wide, w, step, narrow, n = arguments
            half, whole, order = (ir.VectorType(kind, size) for kind, size in ((_INT8, 16), (_INT8, 32), (_INT32, 32)))
            both = ir.Constant(order, list(range(32)))
            # within each half, since that is what one instruction does
            low, high = (
                ir.Constant(order, [lane + start + k // 2 + 32 * (k % 2) for lane in (0, 16) for k in range(16)])
                for start in (0, 8)
            )
            halves = [ir.Constant(ir.VectorType(_INT32, 16), list(range(lane, lane + 16))) for lane in (0, 16)]
            rows = _address(context, builder, signature.args[0], wide, w)
            columns = _address(context, builder, signature.args[3], narrow, n)

            def row(k: int) -> Any:
                return builder.inttoptr(builder.add(rows, builder.mul(step, step.type(k))), whole.as_pointer())

            def column(k: int) -> Any:
                return builder.inttoptr(builder.add(columns, columns.type(k * TILE)), half.as_pointer())

            if back:
                pairs = [[builder.load(column(k + lane), align=1) for lane in (0, 16)] for k in range(TILE)]
                tile = [builder.shuffle_vector(*pair, both) for pair in pairs]
            else:
                tile = [builder.load(row(k), align=1) for k in range(TILE)]
            for _ in range(4):  # each round interleaves the first eight with the last; log2(16) rounds transpose
                tile = [builder.shuffle_vector(tile[k], tile[k + 8], mask) for k in range(8) for mask in (low, high)]
            for k, turned in enumerate(tile):
                if back:
                    builder.store(turned, row(k), align=1)
                for lane in () if back else (0, 1):
                    part = builder.shuffle_vector(turned, turned, halves[lane])
                    builder.store(part, column(k + 16 * lane), align=1)
            return context.get_dummy_value()

        return types.void(wide, types.intp, types.intp, narrow, types.intp), build

    return turn


_weigh_row: Any = _weigh(LANES // TILE)
_weigh_grey: Any = _weigh(1)
_weigh_rgb: Any = _weigh(3)
_to_columns: Any = _turn(back=False)
_to_rows: Any = _turn(back=True)


@numba.njit(cache=True, nogil=True)
def _taps(length: int, low: float, extent: float, out: int) -> Taps:
    """Pillow's precompute_coeffs and normalize_coeffs_8bpc, with zeros up to one number of taps: no branch to guess."""
    scale = extent / out
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    longest = min(int(2 * support) + 1, length)
    firsts, weights = np.empty(out, np.int64), np.zeros((out, longest), np.int32)
    exact = np.empty(longest)
    for k in range(out):
        centre = low + (k + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        count = min(int(centre + support + 0.5), length) - first
        total = 0.0
        for t in range(count):
            x = abs((t + first - centre + 0.5) * (1.0 / stretch))
            if x < 1.0:
                weight = (1.5 * x - 2.5) * x * x + 1
            elif x < 2.0:
                weight = (((x - 5) * x + 8) * x - 4) * -0.5
            else:
                weight = 0.0
            exact[t] = weight
            total += weight
        firsts[k] = min(first, length - longest)
        for t in range(count):
            share = exact[t] / total if total != 0.0 else exact[t]
            weights[k, first - firsts[k] + t] = int(share * (1 << BITS) + (-0.5 if share < 0 else 0.5))
    return firsts, weights


@numba.njit(cache=True, nogil=True)
def _across(source: np.ndarray, start: int, shape: Shape, taps: Taps, target: np.ndarray) -> None:
    """Weighs along the width. source: (rows, pixels, channels) from byte `start` on; target: uint8 [rows, bytes]."""
    rows, width, channels = shape
    firsts, weights = taps
    count = weights.shape[1]
    step, pixel = width * channels, channels * TILE
    turned = np.empty(step * TILE, np.uint8)
    done = np.empty((len(firsts) * channels + WIDE) * TILE, np.uint8)
    for y in range(0, rows, TILE):
        y = min(y, rows - TILE)
        for x in range(0, step, WIDE):
            x = min(x, step - WIDE)
            _to_columns(source, start + y * step + x, step, turned, x * TILE)
        for k in range(len(firsts)):
            place, w = firsts[k] * pixel, k * count
            if channels == 3:
                _weigh_rgb(turned, place, pixel, weights, w, count, done, k * pixel)
            else:
                _weigh_grey(turned, place, pixel, weights, w, count, done, k * pixel)
        for x in range(0, len(firsts) * channels, WIDE):
            _to_rows(target, y * target.shape[1] + x, target.shape[1], done, x * TILE)


@numba.njit(cache=True, nogil=True)
def _down(source: np.ndarray, step: int, taps: Taps, target: np.ndarray) -> None:
    """Weighs along the height: rows of `step` bytes, at least LANES, to rows of as many."""
    firsts, weights = taps
    count = weights.shape[1]
    for k in range(len(firsts)):
        for x in range(0, step, LANES):
            x = min(x, step - LANES)
            place, w = firsts[k] * step + x, k * count
            _weigh_row(source, place, step, weights, w, count, target, k * step + x)


@numba.njit(cache=True, nogil=True)
def _resize(pixels: np.ndarray, across: Taps, down: Taps, across_first: bool) -> np.ndarray:
    """uint8 [H, at least W * C]. pixels: contiguous, at least TILE rows of at least LANES bytes."""
    _, columns, channels = pixels.shape
    height, length, step = len(down[0]), len(across[0]) * channels, columns * channels
    wide = max((length + WIDE - 1) // WIDE * WIDE, LANES)
    if across_first:
        firsts, weights = down
        rows = max(firsts[-1] + weights.shape[1] - firsts[0], TILE)
        first = min(firsts[0], len(pixels) - rows)
        between = np.empty((rows, wide), np.uint8)
        _across(pixels, first * step, (rows, columns, channels), across, between)
        done = np.empty((height, wide), np.uint8)
        _down(between, wide, (firsts - first, weights), done)
    else:
        rows = max(height, TILE)
        between = np.empty((rows, step), np.uint8)
        _down(pixels, step, down, between)
        done = np.empty((rows, wide), np.uint8)
        _across(between, 0, (rows, columns, channels), across, done)
    return done


def _copied(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, C], a large one by strips: np.asarray needs as much again while it copies."""
    if image.width * image.height <= SMALL:
        return np.asarray(image).reshape(image.height, image.width, -1)
    out = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    for top in range(0, image.height, STRIP):
        bottom = min(top + STRIP, image.height)
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        out[top:bottom] = strip.reshape(out[top:bottom].shape)
    return out


@lru_cache(maxsize=64)
def _known(length: int, low: float, extent: float, out: int) -> Taps:
    """Cameras and collections have few sizes."""
    return _taps(length, low, extent, out)


def resize(image: Image.Image | np.ndarray, to: resizing.Frame) -> np.ndarray:
    """uint8 [H, W, C], from mode L or RGB or uint8 [H, W, C]: what resizing.resize gives."""
    pixels = np.ascontiguousarray(image if isinstance(image, np.ndarray) else _copied(image))
    rows, columns, channels = pixels.shape
    if rows < TILE or columns * channels < LANES:  # the kernel reads whole tiles
        small, pixels = pixels, np.zeros((max(rows, TILE), max(columns, LANES), channels), np.uint8)
        pixels[:rows, :columns] = small
    left, top, right, bottom = (np.float32(edge) for edge in (to.left, to.top, to.right, to.bottom))  # as Pillow has it
    across = _known(columns, float(left), float(right - left), to.width)
    down = _known(rows, float(top), float(bottom - top), to.height)
    done = _resize(pixels, across, down, resizing.across_first(columns, rows, to))
    return done[: to.height, : to.width * channels].reshape(to.height, to.width, channels)
