"""The correction of colours inside a patch: a membrane that is fixed at the patch's border.

Poisson image editing (Perez, Gangnet, Blake 2003) keeps the gradients of what is put in and takes the colours of what is around:
it adds the harmonic function that equals the difference of both at the border. Two things are different here, because a generated
patch and its photograph disagree about more than colour:

- the membrane is thin across the outlines of objects, so that what the sky lacks at the border does not spill over a house;
- it is tied to zero by weak springs, so that nothing carries far.

Minimised over the pixels p of the patch: sum_pq w_pq (c_p - c_q)^2 + sum_p (c_p / reach)^2, with w = 1 within an object and
`LEAK` across outlines, and c given outside of the patch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import cg, splu

from gesso.synthesis.retouching.sizes import Floats, Map

LEAK = 0.02  # how well an outline conducts, beside 1 within an object
EXACT = 30_000  # pixels up to which the equations are solved directly; beyond that, by conjugate gradients
TOLERANCE = 1e-4  # of the latter, of the right side's length
PAIRS = (
    ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
)


def membrane(patch: npt.NDArray[np.bool_], regions: Map, given: Floats, reach: float) -> Floats:
    """What is added to each pixel of a patch, so that it fits what is around it.

    Args:
        patch: (H, W): where it is looked for.
        regions: (H, W): equal within an object.
        given: (H, W, N): what it is outside of the patch; only the pixels beside the patch count.
        reach: Pixels after which the border is forgotten.

    Returns:
        (H, W, N): as given outside of the patch.
    """
    found = given.astype(np.float32, copy=True)
    if not patch.any():
        return found
    matrix, right = _equations(patch, regions, given, reach)
    if len(right) <= EXACT:
        solved = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(right)
    else:
        solved = np.stack([_iterated(matrix, right[:, n]) for n in range(right.shape[1])], axis=1)
    found[patch] = solved
    return found


def _equations(
    patch: npt.NDArray[np.bool_], regions: Map, given: Floats, reach: float
) -> tuple[Any, npt.NDArray[np.float64]]:
    """The linear equations of the pixels of the patch: a symmetric matrix (P, P), and the right side (P, N)."""
    count = int(patch.sum())
    number = np.full(patch.shape, -1, dtype=np.int64)
    number[patch] = np.arange(count)
    diagonal = np.full(count, 1.0 / reach**2)
    right = np.zeros((count, given.shape[2]))
    rows, columns, values = [], [], []
    for one, other in PAIRS:
        conductance = np.where(regions[one] == regions[other], 1.0, LEAK)
        for here, there in ((one, other), (other, one)):
            inside = patch[here]
            weight, mine = conductance[inside], number[here][inside]
            diagonal[mine] += weight  # each pixel has one neighbour on this side
            both = patch[there][inside]
            rows.append(mine[both])
            columns.append(number[there][inside][both])
            values.append(-weight[both])
            right[mine[~both]] += weight[~both, None] * given[there][inside][~both]
    places = (np.concatenate([*rows, np.arange(count)]), np.concatenate([*columns, np.arange(count)]))
    return sparse.csr_matrix((np.concatenate([*values, diagonal]), places), shape=(count, count)), right


def _iterated(matrix: Any, right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Conjugate gradients, preconditioned by the diagonal."""
    solved, _ = cg(matrix, right, rtol=TOLERANCE, maxiter=2000, M=sparse.diags(1.0 / matrix.diagonal()))
    return np.asarray(solved)
