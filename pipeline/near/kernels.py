"""The inner loops of the search for near duplicates, compiled. Imported where they are called: numba is slow to load.

N examples, M pairs, D pixels of a grey copy, G grams in all. A text's grams are sorted and distinct:
grams[offsets[n]:offsets[n + 1]].
"""

import numba
import numpy as np

_compiled = numba.njit(cache=True, nogil=True)


@_compiled
def _bits(word: np.uint64) -> np.int64:
    """How many bits are set; LLVM makes one instruction of it."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_compiled
def close(
    hashes: np.ndarray, points: np.ndarray, masks: np.ndarray, distance: int, limit: float, state: np.ndarray, most: int
) -> np.ndarray:
    """The next pairs, about `most` of them, that agree under the last mask, under none before, and are close enough.

    Close: hashes uint64 [N] differ in `distance` bits at most, points float32 [N, any] by `limit` at most, squared.
    Both are sorted by the last mask, then by the points' first value; `state` holds the places to go on from.
    """
    found = np.empty((most, 2), np.int64)
    count, band, last, reach = 0, masks[-1], len(masks) - 1, np.sqrt(limit)
    first, second = state[0], state[1]
    while first < len(hashes) - 1 and count < most:
        mine, farthest = hashes[first], points[first, 0] + reach
        while second < len(hashes) and count < most:
            differing = mine ^ hashes[second]
            if differing & band or points[second, 0] > farthest:
                second = len(hashes)
                break
            if _bits(differing) <= distance:
                fresh = True
                for mask in masks[:last]:
                    if not differing & mask:
                        fresh = False
                        break
                if fresh and _within(points, first, second, limit):
                    found[count, 0], found[count, 1] = first, second
                    count += 1
            second += 1
        if second >= len(hashes):
            first += 1
            second = first + 1
    state[0], state[1] = first, second
    return found[:count]


@_compiled
def _within(points: np.ndarray, a: int, b: int, limit: float) -> bool:
    """Whether the squared distance of two points is `limit` at most."""
    total = np.float32(0)
    for k in range(points.shape[1]):
        total += (points[a, k] - points[b, k]) ** 2
        if total > limit:
            return False
    return True


@_compiled
def moments(flat: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the greys of `rows`, the sums and the sums of squares, int64 [N] each; flat uint8 [any, D]."""
    sums, squares = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    for n in range(len(rows)):
        total, square = np.int64(0), np.int64(0)
        for value in flat[rows[n]]:
            total += np.int64(value)
            square += np.int64(value) * np.int64(value)
        sums[n], squares[n] = total, square
    return sums, squares


@_compiled
def coarse(flat: np.ndarray, rows: np.ndarray, sums: np.ndarray, squares: np.ndarray, side: int) -> np.ndarray:
    """float32 [N, side²]: each grey, centred and of norm 1, projected on the means of side × side fields.

    A projection brings no two farther apart: pairs that it shows too far from one another are so.
    """
    size, found = flat.shape[1], np.zeros((len(rows), side * side), np.float32)
    width = int(np.sqrt(size))
    edges = np.arange(side + 1) * width // side
    for n in range(len(rows)):
        one, mean = flat[rows[n]], sums[n] / size
        norm = np.sqrt(squares[n] - sums[n] * mean)
        for down in range(side):
            for right in range(side):
                total, count = np.int32(0), (edges[down + 1] - edges[down]) * (edges[right + 1] - edges[right])
                for y in range(edges[down], edges[down + 1]):
                    for value in one[y * width + edges[right] : y * width + edges[right + 1]]:
                        total += np.int32(value)
                if count:
                    found[n, down * side + right] = (total - count * mean) / np.sqrt(count) / norm
    return found


@_compiled
def correlations(
    flat: np.ndarray, rows: np.ndarray, sums: np.ndarray, squares: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """float64 [M]: Pearson's correlation of the two greys of each pair, from whole numbers."""
    found, size = np.empty(len(pairs), np.float64), flat.shape[1]
    for m in range(len(pairs)):
        a, b = pairs[m, 0], pairs[m, 1]
        one, other, product = flat[rows[a]], flat[rows[b]], np.int64(0)
        for d in range(size):
            product += np.int32(one[d]) * np.int32(other[d])
        both = np.float64(size * product - sums[a] * sums[b])
        spread = np.float64(size * squares[a] - sums[a] ** 2) * np.float64(size * squares[b] - sums[b] ** 2)
        found[m] = both / np.sqrt(spread)
    return found


@_compiled
def grams(characters: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each text's distinct runs of three characters as numbers, and their offsets; characters uint32, flat.

    A text of fewer than three is its own only one, marked by the bit above a run's 63.
    """
    found = np.empty(len(characters) + len(offsets), np.uint64)
    ends, count = np.zeros(len(offsets), np.int64), 0
    for n in range(len(offsets) - 1):
        first, last, start = offsets[n], offsets[n + 1], count
        if last - first < 3:
            key = np.uint64(1) << np.uint64(63) | np.uint64(last - first) << np.uint64(60)
            for k in range(first, last):
                key |= np.uint64(characters[k]) << np.uint64(21 * (k - first))
            found[count] = key
            count += 1
        else:
            runs = np.empty(last - first - 2, np.uint64)
            for k in range(first, last - 2):
                key = np.uint64(characters[k]) << np.uint64(42)
                key |= np.uint64(characters[k + 1]) << np.uint64(21)
                runs[k - first] = key | np.uint64(characters[k + 2])
            runs.sort()
            for k in range(len(runs)):
                if k == 0 or runs[k] != runs[k - 1]:
                    found[count] = runs[k]
                    count += 1
        ends[n + 1] = ends[n] + count - start
    return found[:count].copy(), ends


@_compiled
def sort_each(members: np.ndarray, offsets: np.ndarray) -> None:
    """Sorts each set in place."""
    for n in range(len(offsets) - 1):
        members[offsets[n] : offsets[n + 1]].sort()


@_compiled
def _common(one: np.ndarray, other: np.ndarray) -> int:
    """How many members two sorted sets share."""
    i, j, both = 0, 0, 0
    while i < len(one) and j < len(other):
        if one[i] == other[j]:
            both += 1
            i += 1
            j += 1
        elif one[i] < other[j]:
            i += 1
        else:
            j += 1
    return both


@_compiled
def similar(
    members: np.ndarray, offsets: np.ndarray, pairs: np.ndarray, numerator: int, denominator: int
) -> np.ndarray:
    """bool [M]: whether the two sets of each pair have a Jaccard similarity of numerator / denominator at least."""
    found = np.empty(len(pairs), np.bool_)
    for m in range(len(pairs)):
        one = members[offsets[pairs[m, 0]] : offsets[pairs[m, 0] + 1]]
        other = members[offsets[pairs[m, 1]] : offsets[pairs[m, 1] + 1]]
        both = _common(one, other)
        found[m] = both * denominator >= numerator * (len(one) + len(other) - both)
    return found


@_compiled
def joined(
    ranks: np.ndarray, offsets: np.ndarray, order: np.ndarray, numerator: int, denominator: int, lists: np.ndarray
) -> np.ndarray:
    """int64 [M, 2]: all pairs of sets with a Jaccard similarity of numerator / denominator at least.

    ranks: sets as numbers, the rarest member the least; order: the sets, the smallest first; lists: where the list
    of each member's sets begins, int64, one more than there are members. See `texts.exact` for why it is complete.
    """
    entries, first, end = np.empty(lists[-1], np.int64), lists[:-1].copy(), lists[:-1].copy()
    seen, pairs, count = np.full(len(order), -1, np.int64), np.empty((1024, 2), np.int64), 0
    for a in order:
        mine = ranks[offsets[a] : offsets[a + 1]]
        size = len(mine)
        shortest = -(-numerator * size // denominator)
        for member in mine[: size - shortest + 1]:
            while first[member] < end[member]:  # later sets are larger yet: what is too small now stays so
                b = entries[first[member]]
                if offsets[b + 1] - offsets[b] >= shortest:
                    break
                first[member] += 1
            for place in range(first[member], end[member]):
                b = entries[place]
                if seen[b] == a:
                    continue
                seen[b] = a
                other = ranks[offsets[b] : offsets[b + 1]]
                both = _common(mine, other)
                if both * denominator >= numerator * (size + len(other) - both):
                    if count == len(pairs):
                        pairs = np.concatenate((pairs, np.empty_like(pairs)))
                    pairs[count, 0], pairs[count, 1] = min(a, b), max(a, b)
                    count += 1
            entries[end[member]] = a
            end[member] += 1
    return pairs[:count]


@_compiled
def prefixes(ranks: np.ndarray, offsets: np.ndarray, members: int, numerator: int, denominator: int) -> np.ndarray:
    """`lists` for `joined`: how many sets hold a member in their prefix, added up, int64 [members + 1]."""
    lists = np.zeros(members + 1, np.int64)
    for n in range(len(offsets) - 1):
        size = offsets[n + 1] - offsets[n]
        shortest = -(-numerator * size // denominator)
        for member in ranks[offsets[n] : offsets[n] + size - shortest + 1]:
            lists[member + 1] += 1
    return np.cumsum(lists)


@_compiled
def signatures(members: np.ndarray, offsets: np.ndarray, factors: np.ndarray, bands: int) -> np.ndarray:
    """uint64 [N, bands]: one number for each band of MinHash values, each the least of the hashed members.

    factors: odd numbers, uint64 [bands · rows].
    """
    rows = len(factors) // bands
    found = np.empty((len(offsets) - 1, bands), np.uint64)
    least = np.empty(len(factors), np.uint64)
    for n in range(len(offsets) - 1):
        least[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
        for member in members[offsets[n] : offsets[n + 1]]:
            word = (member ^ (member >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
            word ^= word >> np.uint64(29)
            for k in range(len(factors)):
                value = word * factors[k]
                value ^= value >> np.uint64(32)
                least[k] = min(least[k], value)
        for band in range(bands):
            word = np.uint64(band)
            for value in least[band * rows : (band + 1) * rows]:
                word = (word ^ value) * np.uint64(0x9E3779B97F4A7C15)
                word ^= word >> np.uint64(31)
            found[n, band] = word
    return found


@_compiled
def together(keys: np.ndarray, order: np.ndarray, band: int, state: np.ndarray, most: int) -> np.ndarray:
    """The next pairs, about `most` of them, that agree in this band and in none before it, int64 [M, 2].

    keys uint64 [N, bands]; `order` sorts them by this band; `state` holds the places in it to go on from, and moves.
    """
    found, count = np.empty((most, 2), np.int64), 0
    first, second = state[0], state[1]
    while first < len(order) - 1 and count < most:
        a = order[first]
        while second < len(order) and count < most:
            b = order[second]
            if keys[a, band] != keys[b, band]:
                second = len(order)
                break
            fresh = True
            for before in range(band):
                if keys[a, before] == keys[b, before]:
                    fresh = False
                    break
            if fresh:
                found[count, 0], found[count, 1] = min(a, b), max(a, b)
                count += 1
            second += 1
        if second >= len(order):
            first += 1
            second = first + 1
    state[0], state[1] = first, second
    return found[:count]
