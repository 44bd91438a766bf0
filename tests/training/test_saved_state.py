"""A training state whose checksum fits, and which is none."""

import pytest
import torch

from alibi.training.saved_state import check_saved
from alibi.training.state import TrainState


def test_state_with_fields_missing_or_of_another_kind():
    """Its checksum fits; the run does not go on from what it cannot be."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2, 3))])
    good = TrainState(step=3).to_dict(optimizer.state_dict())
    assert TrainState.restore(good, optimizer).step == 3
    older = {name: value for name, value in good.items() if name not in ("skipped", "wandb_id")}
    assert TrainState.restore(older, optimizer).skipped == 0
    moments = {"state": {0: {"exp_avg": torch.zeros(7)}}, "param_groups": good["optimizer"]["param_groups"]}
    for changes, message in [
        ({"step": None}, "step is missing"),
        ({"cursor": None}, "cursor is missing"),
        ({"optimizer": None}, "optimizer is missing"),
        ({"step": "3"}, "step is 3"),
        ({"tokens": -1}, "tokens is -1"),
        ({"cursor": [1]}, r"cursor is \[1\]"),
        ({"best_val_loss": "low"}, "best_val_loss is low"),
        ({"wandb_id": 3}, "wandb_id is 3"),
        ({"later": 3}, "later is nothing that this version knows; a newer one may"),
        ({"optimizer": []}, "optimizer is"),
        ({"optimizer": {}}, "no state of 1 groups"),
        ({"optimizer": moments}, r"exp_avg of parameter 0 is \(7,\) for \(2, 3\)"),
    ]:
        saved = {name: value for name, value in (good | changes).items() if value is not None or name == "wandb_id"}
        with pytest.raises(ValueError, match=f"training state of HERE cannot be gone on from: .*{message}"):
            check_saved(saved, TrainState(), optimizer, "HERE")
