"""Quickselect, by which k-d trees are built."""

from numba import njit

from csmoe_sampler.types import Int64


@njit(cache=True, nogil=True)
def split_at(items: Int64, middle: int) -> None:
    """Permutes distinct `items` so that the `middle` smallest come first (quickselect)."""
    low, high = 0, items.size - 1
    while low < high:
        pivot = items[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while items[i] < pivot:
                i += 1
            while items[j] > pivot:
                j -= 1
            if i <= j:
                items[i], items[j] = items[j], items[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return
