"""`itrec completion`: what bash offers at a place in the command line."""

import shutil
import subprocess
import sys

import pytest

from itrec_dist.cli.app import VERBS


@pytest.fixture(scope="module")
def script(itrec):
    pytest.importorskip(
        "shtab", reason="shtab is not installed: pip install 'itrec-dist[completion]'"
    )
    code, out, err = itrec("completion", "bash")
    assert code == 0, err
    return out


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["itrec", ""], {verb.partition(" ")[0] for verb in VERBS}),
        (["itrec", "data", ""], {"get", "make"}),
        (["itrec", "train", "--model.li"], {"--model.linear_width"}),
        (["itrec", "window", "--max_l"], {"--max_length"}),
        (["itrec", "window", "--sca"], {"--scale"}),
        (["itrec", "train", "--engine.name", "dd"], {"ddp"}),
        (["itrec", "schema", "sw"], {"sweep"}),
    ],
)
def test_bash_offers_what_fits(words, expected, script):
    asked = (
        f"{script}\nCOMP_WORDS=({' '.join(repr(w) for w in words)})\nCOMP_CWORD={len(words) - 1}\n"
    )
    asked += '_shtab_itrec itrec\nprintf "%s\\n" "${COMPREPLY[@]}"'
    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
    assert expected <= set(found.stdout.split()), found.stderr


@pytest.mark.slow
def test_zsh_gets_a_script_too(script, itrec):
    code, out, err = itrec("completion", "zsh")
    assert code == 0, err
    assert "recommend" in out


def test_a_missing_package_is_one_sentence(itrec, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, _, err = itrec("completion", "bash")
    assert code == 2
    assert "pip install 'itrec-dist[completion]'" in err
