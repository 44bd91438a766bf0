import numpy as np
import pytest

from alibi.evaluation.measures import segments as module
from alibi.evaluation.measures.segments import SEGMENTS, TARGETS, choose_segments


def documents(number, length):
    return [[f"a{n}" for _ in range(length)] for n in range(number)]


def test_segments_have_their_own_article_before_them_and_another_in_place_of_it(articles):
    tokens, _ = articles(*documents(12, 1000))
    chosen, ids, ends = choose_segments(tokens, 256), tokens.targets(0, len(tokens)), tokens.document_ends()
    assert len(chosen.first_S) == SEGMENTS
    assert (np.diff(chosen.first_S) >= TARGETS).all(), "in text order, and apart"
    assert len(set(chosen.article_S)) == 12, "spread over the text"
    assert chosen.group_targets.sum() == SEGMENTS * TARGETS
    for first, other in zip(chosen.first_S, chosen.other_S, strict=True):
        assert len(set(ids[first - 254 : first + TARGETS])) == 1
        assert len(set(ids[other + 1 : other + 256])) == 1
        assert ids[other + 1] != ids[first]
        assert np.searchsorted(ends, other, side="right") != np.searchsorted(ends, first, side="right")


def test_the_same_text_has_the_same_segments_and_another_has_others(articles):
    same = [choose_segments(articles(*documents(4, 2000), name=name)[0], 64) for name in ("one", "two")]
    assert same[0].sha256 == same[1].sha256
    changed = documents(4, 2000)
    changed[3][-1] = "else"
    other = choose_segments(articles(*changed, name="three")[0], 64)
    assert other.sha256 != same[0].sha256
    assert (other.first_S != same[0].first_S).any()


def test_too_short_articles_are_refused_with_what_can_be_had(articles):
    tokens, _ = articles(*documents(5, 1000))
    for lead in (0, 32):
        with pytest.raises(ValueError, match=r"0 segments of 16 targets .* and 0 of its 5 articles") as refused:
            choose_segments(tokens, 2048, lead)
        possible = int(str(refused.value).split("eval.reach=")[1].split()[0])
        assert len(choose_segments(tokens, possible, lead).first_S) == SEGMENTS
        with pytest.raises(ValueError, match=f"With eval.reach={possible} there are enough"):
            choose_segments(tokens, possible + 1, lead)
        with pytest.raises(ValueError, match="Choose a text of more or longer articles"):
            choose_segments(tokens, 2048, lead, least=possible + 1)


def test_one_long_article_alone_has_no_other(articles):
    tokens, _ = articles(*documents(1, 9000), ["a", "b"])
    with pytest.raises(ValueError, match=r"and two such articles\. Choose a text of more"):
        choose_segments(tokens, 64)


def test_the_processes_share_the_segments(articles):
    """Each scores its own batches, and the sum is that of one process."""
    tokens, _ = articles(*documents(6, 1000))
    chosen = choose_segments(tokens, 64)

    class Share:
        device = "cpu"

        def __init__(self, rank, number):
            self.share = rank, number

        def gather(self, value):
            return [value]

    def scored(rank, number):
        def inputs_of(place):
            stop = chosen.first_S[place] + TARGETS
            return tokens.inputs(stop - 64, stop)

        def scorer(inputs, targets, first):
            return (inputs[:, first:] + targets).double()

        return module.score_segments(inputs_of, tokens, chosen, scorer, 512, Share(rank, number))

    np.testing.assert_array_equal(sum(scored(rank, 3) for rank in range(3)), scored(0, 1))
