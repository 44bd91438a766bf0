"""The torture of scripts/torture.py, shortened: real kills of real processes, and a control."""

import shutil

import pytest
import torture


def test_killed_again_and_again_a_run_ends_as_one_left_alone(tmp_path, monkeypatch, capsys):
    options = ["--methods", "t5", "--tokenizers", "byte", "--kills", "4"]
    monkeypatch.setattr("sys.argv", ["torture.py", "--out", str(tmp_path / "out"), *options])
    with pytest.raises(SystemExit) as end:
        torture.main()
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "4 kills" in printed
    assert "0 inside a checkpoint write" not in printed
    assert "0 differences" in printed

    trial = torture.Trial(tmp_path / "out", "t5", "byte")
    assert trial.differences() == []
    other = tmp_path / "out" / "t5-byte" / "alone" / "run" / "checkpoints"
    pointers = [name for name in ("last", "best") if (other / name).readlink() == (other / "last").readlink()]
    shutil.copy(other / "step-00000021" / "model.safetensors", other / "last" / "model.safetensors")
    assert trial.differences() == [f"t5-byte: {p}/model.safetensors differs" for p in pointers]
