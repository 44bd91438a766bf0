"""The torture of scripts/torture.py, shortened: real kills of real processes, and a control."""

import shutil

import pytest
import torture


def test_killed_again_and_again_a_run_ends_as_one_left_alone(tmp_path, monkeypatch, capsys):
    options = ["--methods", "t5", "--tokenizers", "byte", "--kills", "6"]
    monkeypatch.setattr("sys.argv", ["torture.py", "--out", str(tmp_path / "out"), *options])
    with pytest.raises(SystemExit) as end:
        torture.main()
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "6 kills" in printed
    assert "0 inside a checkpoint write" not in printed
    assert "0 differences" in printed

    trial = torture.Trial(tmp_path / "out", "t5", "byte")
    assert trial.differences() == []
    other = tmp_path / "out" / "t5-byte" / "alone" / "run" / "checkpoints"
    shutil.copy(other / "step-00000021" / "model.safetensors", other / "last" / "model.safetensors")
    assert trial.differences() == ["t5-byte: last/model.safetensors differs"]
