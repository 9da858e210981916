# room: features
"""A signal while features are computed ends the run in one line."""

import os
import signal

import pytest

from tests.conftest import MakeConfig
from tests.conftest import trained as train


def test_sigterm_in_the_feature_pass_exits_with_143_and_one_line(
    make_config: MakeConfig, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "graft.features.cache.extract_missing", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    with pytest.raises(SystemExit) as exit_:
        train(make_config("features.cache=true"))
    assert exit_.value.code == 143
    assert capfd.readouterr().err == "stopped; no epoch was finished\n"
