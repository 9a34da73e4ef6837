"""What the contract says about what a row holds: class shares, dominant classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from csmoe_sampler.manifest.rows import SHARES, Rows, Rule, Violation
from csmoe_sampler.strata import UNKNOWN

SHARE_TOLERANCE = 1e-5


def _shares(rows: Rows) -> Iterator[Violation]:
    names = [f"landcover_{label}" for label in rows.manifest.landcover_labels]
    for name in (*names, "landcover_valid", "climate_share"):
        if name in rows.usable:
            share = rows[name]
            bad = ~((share >= 0) & (share <= 1 + SHARE_TOLERANCE))
            yield from rows.flag(name, bad, share, "a share from 0 to 1", "shares")
    shares = np.column_stack([rows[name] for name in names]).astype(np.float64)
    total = shares.sum(axis=1)
    empty = (shares == 0).all(axis=1) & ~(rows["landcover_valid"] > 0)
    bad = ~(np.abs(total - 1.0) <= SHARE_TOLERANCE) & ~empty & ~np.isnan(total)
    yield from rows.flag(names[0], bad, total, "1", "sum of the class shares")


def _dominant(rows: Rows) -> Iterator[Violation]:
    labels = [*rows.manifest.landcover_labels, UNKNOWN]
    shares = np.nan_to_num(rows.manifest.landcover_shares(), nan=-1.0)
    shares = np.column_stack([shares, np.zeros(rows.num_rows, np.float32)])
    texts, codes = rows.coded("landcover")
    named = np.array([labels.index(text) if text in labels else -1 for text in texts], np.int64)[codes]
    own = np.take_along_axis(shares, named[:, None], axis=1)[:, 0]
    bad = (named < 0) | (own != shares.max(axis=1))
    expected = np.array(labels)[shares.argmax(axis=1)]
    yield from rows.flag("landcover", bad, rows["landcover"], expected, "class of the largest share")


def _descriptors(rows: Rows) -> Iterator[Violation]:
    known = rows.among("climate", [*rows.metadata["legends"]["climate"]["labels"], UNKNOWN])
    yield from rows.flag("climate", ~known, rows["climate"], "a class of the climate legend", "climate")
    num_classes = len(rows.manifest.landcover_labels)
    entropy = rows["landcover_entropy"]
    bits = np.log2(max(num_classes, 1)) + SHARE_TOLERANCE
    bad = ~((entropy >= 0) & (entropy <= bits))
    yield from rows.flag("landcover_entropy", bad, entropy, f"0 to {bits:.4g} bits", "entropy of the shares")
    classes = rows["landcover_classes"]
    bad = (classes < 0) | (classes > num_classes)
    yield from rows.flag("landcover_classes", bad, classes, f"0 to {num_classes}", "number of classes present")


DESCRIPTOR_RULES = (
    Rule(_shares, (SHARES, "landcover_valid")),
    Rule(_dominant, (SHARES, "landcover")),
    Rule(_descriptors, ("climate", "landcover_entropy", "landcover_classes")),
)
