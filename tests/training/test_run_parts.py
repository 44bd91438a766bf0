"""The training state as JSON."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from alibi.data import Cursor
from alibi.training.train_state import TrainState


def through_json(state: TrainState) -> TrainState:
    return TrainState.from_json(json.loads(json.dumps(asdict(state), allow_nan=False)), Path("HERE"))


def test_a_state_comes_back_bit_for_bit():
    state = TrainState(7, 448, Cursor(2, 5), wandb_id="abc123", micro_batch_tokens=32, skipped=1)
    assert through_json(state) == state, "before the first validation there is no loss, and no NaN in its place"
    assert state.saw_validation(0.1 + 0.2)
    assert not state.saw_validation(5e-324 + 1)
    assert through_json(state) == state
    assert (state.best_val_loss, state.best_step) == (0.30000000000000004, 7)


def test_fields_that_an_older_version_did_not_have_keep_their_first_value():
    values = asdict(TrainState(step=3))
    assert TrainState.from_json({name: values[name] for name in ("step", "tokens", "cursor")}, Path("HERE")).step == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"wandb_id": None, "imported_from": {}}, "step is missing"),
        (asdict(TrainState()) | {"later": 3}, "later is unknown to this version"),
    ],
)
def test_a_state_that_lacks_something_or_has_more_is_refused_by_name(values, message):
    with pytest.raises(ValueError, match=f"cannot resume from HERE: in its training state, {message}.*train.resume="):
        TrainState.from_json(values, Path("HERE"))
