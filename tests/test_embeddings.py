"""Blocks of embeddings: rows taken by position or by a mask, and blocks joined."""

import numpy as np
import pandas as pd
import pytest

from fusionbook.core import InputError, assert_array
from fusionbook.embeddings import EmbeddingBlocks, join_blocks


@pytest.fixture
def blocks():
    return EmbeddingBlocks(
        {"A": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "B": [[7.0], [8.0], [9.0]]}, ["C", "CC", "CCC"]
    )


def test_rows_are_taken_by_position(blocks):
    taken = blocks.take([2, 0, 0])
    assert taken.smiles == ("CCC", "C", "C")
    assert_array(taken.concatenate(), [[5, 6, 9], [1, 2, 7], [1, 2, 7]])
    assert blocks.take([-1]).smiles == ("CCC",)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_rows_are_taken_by_a_mask(blocks, kind):
    taken = blocks.take(kind([True, False, True]))
    assert taken.smiles == ("C", "CCC")
    assert_array(taken.concatenate(), [[1, 2, 7], [5, 6, 9]])
    assert blocks.take(kind([False] * 3)).concatenate().shape == (0, 3)


@pytest.mark.parametrize("rows", [[], range(0), np.array([], dtype=np.int64)])
def test_no_row_at_all(blocks, rows):
    assert blocks.take(rows).concatenate().shape == (0, 3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([True, False], r"`rows` must have shape \(3,\); got \(2,\)"),
        ([[True, False, True]], r"`rows` must have shape \(3,\)"),
        ([0.5], "whole numbers"),
        (["C"], "whole numbers"),
        (1, "whole numbers"),
    ],
)
def test_rows_that_cannot_be_taken(blocks, rows, message):
    with pytest.raises(InputError, match=message):
        blocks.take(rows)


@pytest.mark.parametrize("text", ["CCO", b"CCO"])
def test_one_text_is_not_three_molecules(text):
    with pytest.raises(InputError, match=r"`smiles` must be several SMILES; got one text"):
        EmbeddingBlocks({"A": np.zeros((3, 1))}, text)


def test_columns_know_their_block(blocks):
    assert_array(blocks.block_of, [0, 0, 1])


def test_blocks_of_one_name_are_not_joined(blocks):
    with pytest.raises(InputError, match="two blocks are named 'B'; rename one"):
        join_blocks(blocks, blocks.only(["B"]))


def test_repeated_molecules_join_only_in_the_same_order():
    one, other = (EmbeddingBlocks({name: [[1.0], [2.0], [3.0]]}, ["C", "CC", "C"]) for name in "AB")
    assert join_blocks(one, other).names == ["A", "B"]
    with pytest.raises(InputError, match="a SMILES is repeated and the molecules stand in different orders"):
        join_blocks(one, other.take([1, 0, 2]))
