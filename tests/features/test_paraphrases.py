import sys
import threading

import pytest

from pipeline.errors import DataError
from pipeline.features import paraphrases
from pipeline.features.paraphrases import Config

ANSWER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"texts": [asked["text"] + str(k) for k in range(asked["copies"])]}))
"""


def ask(tmp_path, script, texts=("好", "坏 ", "房"), **more):
    path = tmp_path / "own.py"
    path.write_text(script, "utf-8")
    config = Config(command=(sys.executable, str(path)), **{"patience": 20.0, **more})
    return list(paraphrases.ask(list(texts), config, tmp_path))


def test_every_text_is_answered_in_order(tmp_path):
    assert ask(tmp_path, ANSWER) == [("好0",), ("坏 0",), ("房0",)]
    assert ask(tmp_path, ANSWER, copies=2)[1] == ("坏 0", "坏 1")
    none = "import sys\nfor line in sys.stdin: print('{\"texts\": [null]}')"
    assert ask(tmp_path, none) == [("",)] * 3
    assert ask(tmp_path, "import sys; sys.stdin.read()", texts=[]) == []


def test_a_command_that_answers_at_the_end_alone_does_not_stand_still(tmp_path):
    """More than the pipes hold, read before anything is written."""
    script = "import json, sys\nlines = sys.stdin.readlines()\n" + ANSWER.replace("in sys.stdin", "in lines")
    texts = [f"{k} " + "长" * 500 for k in range(2000)]
    assert ask(tmp_path, script, texts) == [(f"{text}0",) for text in texts]


READ = "import sys\nsys.stdin.read()\n"
ONE = 'print(\'{"texts": ["a"]}\')\n'
FAULTS = {
    "dies": ("import sys\n" + ONE + "sys.exit('no model')", r"ended with 1 after 1 lines \(no model\)"),
    "too few": (READ, r"ended with 0 after 0 lines; expected 3, one a text \(line 1 is for '好'\)"),
    "too many": (ANSWER + ONE, "line 4 is one too many"),
    "a fault at the end": (ANSWER + "sys.exit(3)", "ended with 3; expected 0"),
    "no JSON": (READ + "print('hello')", "line 1 is 'hello'; expected a JSON object"),
    "no object": (READ + "print('[1]')", r"line 1 is '\[1\]'; expected a JSON object"),
    "no text": (READ + "print('{\"texts\": [1]}')", "with 1 texts"),
    "other copies": (READ + 'print(\'{"texts": ["a", "b"]}\')', "with 1 texts"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_command_is_named(tmp_path, fault):
    script, message = FAULTS[fault]
    with pytest.raises(DataError, match=r"^features\.paraphrases\.command .*own\.py: .*" + message):
        ask(tmp_path, script)


def test_a_command_that_hangs_is_ended(tmp_path):
    before = threading.active_count()
    script = 'import sys, time\nprint(\'{"texts": ["a"]}\', flush=True)\ntime.sleep(1000)'
    with pytest.raises(DataError, match=r"no line 2 for 0\.5 s; .*patience"):
        ask(tmp_path, script, patience=0.5)
    with pytest.raises(DataError, match=r"no line 1 for 0\.5 s"):
        ask(tmp_path, "import time; time.sleep(1000)", [f"{k}" * 100_000 for k in range(10)], patience=0.5)
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(5)
    assert threading.active_count() <= before


def test_a_command_that_is_not_there_and_no_shell(tmp_path):
    with pytest.raises(DataError, match="No such file or directory; expected a program"):
        list(paraphrases.ask(["好"], Config(command=("no-such-program",)), tmp_path))
    with pytest.raises(DataError, match="No such file or directory"):
        list(paraphrases.ask(["好"], Config(command=("true; true",)), tmp_path))
