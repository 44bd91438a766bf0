"""The parts of a run: made from its settings, its text, and the checkpoint that it continues."""

from alibi.data import TrainingOrder
from alibi.evaluation import in_order
from alibi.model import LanguageModel
from alibi.processes import Processes
from alibi.runs import Checkpoint, RunFolder, load_weights
from alibi.runs.fingerprint import source_sha256
from alibi.training.optimizer import build_optimizer
from alibi.training.parallel import load_moments, place
from alibi.training.run_texts import RunTexts
from alibi.training.train_state import TrainState
from alibi.training.training_settings import RunConfig


class RunParts:
    """
    Args:
        checkpoint: to continue from; None starts a new run.

    Attributes:
        source: the run folder that the state comes from, another one if the run branches off.
        method_source: hash of the position method's code, taken now: the file may be edited during training.
        lengths: further lengths of each validation.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, procs: Processes, texts: RunTexts, checkpoint: Checkpoint | None
    ) -> None:
        self.config, self.folder, self.procs, self.texts = config, folder, procs, texts
        self.order = TrainingOrder(texts.train, config.train.seq_len, config.seed)
        self.model = LanguageModel(config.model, texts.tokenizer.vocab_size, seed=config.seed)
        self.model.transformer.skip_far_keys = config.train.skip_far_keys
        self.method_source = source_sha256(self.model)
        self.state, self.source = TrainState(), folder
        if checkpoint:
            load_weights(self.model, checkpoint.path)
        place(self.model, config.train.parallel, procs)
        self.optimizer = build_optimizer(config.optimizer, self.model)
        if checkpoint:
            with procs.together():
                self.state = TrainState.from_json(checkpoint.state, checkpoint.path)
                load_moments(checkpoint.load_moments(), self.model, self.optimizer)
            self.source = RunFolder(checkpoint.run)
            if self.source.path.resolve() != folder.path.resolve():
                self.state.branch_off()
        self.lengths, self.note = in_order(config.train.eval_lengths)
