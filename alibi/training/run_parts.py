"""The parts of a run: its data, its state and its model, from its settings and the checkpoint that it continues."""

from dataclasses import asdict

from alibi.environment import has_fast_bf16
from alibi.evaluation import in_order
from alibi.model import LanguageModel
from alibi.processes import Processes
from alibi.runs import CONFIG, Checkpoint, RunFolder, earlier_runs, load_weights, run_name
from alibi.runs.fingerprint import source_sha256
from alibi.runs.origin import load_kept, weights_from
from alibi.training.from_origin import begin
from alibi.training.optimizer import build_optimizer
from alibi.training.parallel import load_moments, place
from alibi.training.run_data import RunData
from alibi.training.schedule import stable_step
from alibi.training.train_state import TrainState
from alibi.training.training_settings import RunConfig


class RunParts:
    """
    Args:
        checkpoint: to continue from; None starts a new run.
        origin: to start a new run from.

    Attributes:
        began: what was taken from the origin and what starts anew, in words; empty without one, or when continuing.
        source: the run folder that the state comes from, another one if the run branches off.
        method_source: hash of the position method's code, taken now: the file may be edited during training.
        stable_step: the step whose checkpoint is kept, so that the run can be extended; None: no such step.
        lengths: further lengths of each validation.
        notes: what a user may not expect of these settings, one sentence each.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        procs: Processes,
        data: RunData,
        checkpoint: Checkpoint | None,
        origin: Checkpoint | None = None,
    ) -> None:
        self.config, self.folder, self.procs, self.data = config, folder, procs, data
        self.order = data.order(config.train.seq_len, config.seed)
        self.model = LanguageModel(config.model, data.tokenizer.vocab_size, seed=config.seed)
        self.model.transformer.skip_far_keys = config.train.skip_far_keys
        self.method_source = source_sha256(self.model)
        self.state, self.source, self.began = TrainState(), folder, []
        kept = {}
        if checkpoint:
            load_weights(self.model, checkpoint.path)
        elif origin:
            with procs.together():
                kept = weights_from(self.model, origin)
                load_kept(self.model, origin, kept)
        place(self.model, config.train.parallel, procs)
        self.optimizer = build_optimizer(config.optimizer, self.model)
        if checkpoint:
            with procs.together():
                self.state = TrainState.from_json(checkpoint.state, checkpoint.path)
                load_moments(checkpoint.load_moments(), self.model, self.optimizer)
            self.source = RunFolder(checkpoint.run)
            if self.source.path.resolve() != folder.path.resolve():
                # A branch has a wandb run and a best checkpoint of its own.
                self.state.wandb_id, self.state.best_val_loss, self.state.best_step = None, None, 0
        elif origin:
            with procs.together():
                self.state, self.began = begin(config, origin, data.sha256["train"], self.model, self.optimizer, kept)
        self.stable_step = stable_step(config.optimizer, config.train.max_steps)
        self.lengths, note = in_order(config.train.eval_lengths)
        self.notes = ([note] if note else []) + data.notes(self.lengths)
        settings = asdict(config)
        named_by_settings = not checkpoint and folder.path.name == run_name(settings)
        for name, overrides in earlier_runs(settings).items() if named_by_settings else ():
            if ((earlier := folder.path.with_name(name)) / CONFIG).is_file():
                self.notes.append(f"{earlier} is the run of this command before a default changed; {overrides} goes on")
        if config.precision == "bf16" and not has_fast_bf16(procs.device):
            self.notes.append("this machine has no bf16 instructions; bf16 is many times slower than precision=fp32")
