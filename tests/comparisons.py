"""Comparisons of result files made by hand."""

import itertools

from studies import HARM, LENGTHS, make_file

from alibi.analysis import compare
from alibi.results import load_results


def compared(paths):
    """The comparison of result files."""
    return compare(load_results(paths))


def make_study(root, methods=tuple(HARM), seeds=(0, 1), strides=(None, 16), lengths=LENGTHS):
    """The comparison of files of every method and seed by every protocol."""
    cases = itertools.product(strides, methods, seeds)
    return compared([make_file(root, method, seed, stride=stride, lengths=lengths) for stride, method, seed in cases])
