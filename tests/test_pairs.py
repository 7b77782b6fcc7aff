from __future__ import annotations

import itertools

import pytest

from tests.pairs import pairwise


@pytest.mark.parametrize("sizes", [(2, 2), (17, 3, 3), (3, 4, 2, 5), (1, 2, 3)])
def test_every_two_values_meet(sizes: tuple[int, ...]) -> None:
    factors = [[(which, value) for value in range(size)] for which, size in enumerate(sizes)]
    cases = pairwise(*factors)
    met = {pair for case in cases for pair in itertools.combinations(case, 2)}
    assert met == {pair for one, two in itertools.combinations(factors, 2) for pair in itertools.product(one, two)}
    assert len(cases) <= len(set(itertools.product(*factors)))
    assert cases == pairwise(*factors)


def test_three_factors_are_thinned_to_the_product_of_the_two_largest() -> None:
    assert len(pairwise(range(17), range(3), range(3))) <= 17 * 3 + 2
