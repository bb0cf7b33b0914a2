"""The inner loop of features/vectors.py, compiled: skip-gram with negative sampling over words and their parts.

V words, P rows of parts (words first), D values of a vector.
"""

import math

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _drawn(state: np.ndarray) -> np.uint64:
    """The next number of xorshift64*, Vigna, arXiv 1402.6246."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return (x * np.uint64(2685821657736338717)) >> np.uint64(33)


@numba.njit(cache=True, nogil=True)
def _kept(ids: np.ndarray, start: int, end: int, keep: np.ndarray, state: np.ndarray, out: np.ndarray) -> int:
    """Writes to `out` the words of a text that are known and not passed over for being frequent; how many they are."""
    count = 0
    for place in range(start, end):
        word = ids[place]
        if keep[word] * 2147483648.0 > _drawn(state):
            out[count] = word
            count += 1
    return count


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _learn(hidden: np.ndarray, row: np.ndarray, label: float, rate: float, change: np.ndarray) -> float:
    """One step of logistic regression on `row` [D]; adds what `hidden` is to change by, and returns the loss."""
    score = np.float32(0)
    for k in range(hidden.size):
        score += hidden[k] * row[k]
    answer: float = 1 / (1 + np.exp(-score))
    step = np.float32(rate * (label - answer))
    for k in range(hidden.size):
        change[k] += step * row[k]
        row[k] += step * hidden[k]
    right: float = answer if label else 1 - answer
    return -math.log(max(right, 1e-12))


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def learn(
    ids: np.ndarray,  # int, flat
    offsets: np.ndarray,  # int64 [n + 1]
    keep: np.ndarray,  # float64 [V], chance that a word is read
    parts: np.ndarray,  # int32, flat: the rows of each word
    borders: np.ndarray,  # int64 [V + 1]
    noise: np.ndarray,  # int32: words as often as they are drawn
    rows: np.ndarray,  # float32 [P, D], changed
    answers: np.ndarray,  # float32 [V, D], changed
    window: int,
    negatives: int,
    rates: np.ndarray,  # float64 [2], at the first and the last token
    state: np.ndarray,  # uint64 [1], changed
) -> tuple[float, int]:
    """Reads the texts once; the sum of the losses and their number."""
    dimension = rows.shape[1]
    hidden, change = np.empty(dimension, np.float32), np.empty(dimension, np.float32)
    longest = 0
    for text in range(offsets.size - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    words = np.empty(longest, np.int64)
    loss, pairs = 0.0, 0
    for text in range(offsets.size - 1):
        share = offsets[text] / max(1, offsets[-1])
        rate = rates[0] + (rates[1] - rates[0]) * share
        count = _kept(ids, offsets[text], offsets[text + 1], keep, state, words)
        for place in range(count):
            own = parts[borders[words[place]] : borders[words[place] + 1]]
            reach = 1 + int(_drawn(state) % np.uint64(window))
            for near in range(max(0, place - reach), min(count, place + reach + 1)):
                if near == place:
                    continue
                hidden[:] = 0
                change[:] = 0
                for part in own:
                    for k in range(dimension):
                        hidden[k] += rows[part, k]
                for k in range(dimension):
                    hidden[k] /= own.size
                wanted = words[near]
                loss += _learn(hidden, answers[wanted], 1.0, rate, change)
                for _ in range(negatives):
                    other = noise[int(_drawn(state) % np.uint64(noise.size))]
                    if other != wanted:
                        loss += _learn(hidden, answers[other], 0.0, rate, change)
                pairs += 1
                for part in own:
                    for k in range(dimension):
                        rows[part, k] += change[k]
    return loss, pairs
