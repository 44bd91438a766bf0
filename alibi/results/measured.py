"""What was measured: results that share it may be compared, and a result file is named after it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measured:
    """
    Attributes:
        split: of the text.
        sha256: of the text, or of the part of it that was scored.
        protocol: nonoverlapping, or stride-256.
        precision: fp32 or bf16.
        scorer: full, or cached: through the key/value cache.
        name: of the text. Two names for the same text measure the same.
    """

    split: str
    sha256: str
    protocol: str
    precision: str
    scorer: str
    name: str = field(compare=False)

    def file_name(self, checkpoint: str, own_sha256: str | None) -> str:
        """step-00001000-wikitext103-validation-nonoverlapping.json.

        Args:
            checkpoint: name of its folder.
            own_sha256: of the run's own text of this split, whole. Any other text, and a part, is named with eight
                digits of its hash.
        """
        text = self.name if self.sha256 == own_sha256 else f"{self.name}-{self.sha256[:8]}"
        precision = "" if self.precision == "fp32" else f"-{self.precision}"
        scorer = "" if self.scorer == "full" else f"-{self.scorer}"
        return f"{checkpoint}-{text}-{self.split}-{self.protocol}{precision}{scorer}.json"

    def in_words(self) -> dict[str, str]:
        """What two results must share to be compared, by the words of a refusal."""
        return {
            "split": self.split,
            "text or part of it (sha256)": self.sha256[:16],
            "protocol": self.protocol,
            "precision": self.precision,
            "scorer": self.scorer,
        }


def protocol_name(stride: int | None) -> str:
    return "nonoverlapping" if stride is None else f"stride-{stride}"
