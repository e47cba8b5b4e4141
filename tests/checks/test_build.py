import json
from pathlib import Path

import pytest

from lab.checks import build
from lab.evidence import log
from lab.evidence.bundle import Evidence
from lab.model import NotApplicable, Severity

FIXTURES = Path(__file__).parent.parent / "fixtures" / "build"
CORPUS = Path(__file__).parents[2] / "../shared/corpora/build"
RECIPES = Path(__file__).parents[2] / "../shared/corpora/recipes"


def found(text):
    return build.log_findings(log.read_text(text), "build.txt")


def evidence(folder, text, status=2):
    (folder / "build.txt").write_text(text)
    step = {"name": "build", "ending": "exited", "status": status, "seconds": 1.0}
    (folder / "steps.json").write_text(json.dumps([step]))
    return Evidence(folder)


def test_a_syntax_error_is_one_finding_with_file_line_target_and_proof():
    (finding,) = found(
        "  CC      fs/x.o\nfs/x.c:12:5: error: expected ';'\nfs/x.c:13:1: error: stray\n"
        "make[3]: *** [scripts/Makefile.build:244: fs/x.o] Error 1\nmake[2]: *** [scripts/Makefile.build:485: fs] Error 2\n"
    )
    assert (finding.id, finding.severity, finding.blame) == ("build.compiler", Severity.FAIL, "fs/x.o")
    assert (finding.where.first, finding.where.last) == (2, 4)
    assert finding.data["file"] == "fs/x.c"
    assert finding.data["line"] == 12
    assert finding.data["script"] == "scripts/Makefile.build:244"
    assert finding.data["errors"] == ["fs/x.c:13:1: error: stray"]


@pytest.mark.parametrize(
    ("text", "id_", "message"),
    [
        ("make: *** No rule to make target 'Image'.  Stop.\n", "build.make", "No rule to make target 'Image'.  Stop."),
        ("clang: error: bad option\nmake: *** [Makefile:3: x] Error 1\n", "build.script", "clang: error: bad option"),
        (
            "Traceback (most recent call last):\n  File \"x\"\nValueError: bad\nmake: *** [Makefile:3: x] Error 1\n",
            "build.script", "ValueError: bad",
        ),
        ("  GEN     x\ncannot open bar\nmake: *** [Makefile:3: x] Error 1\n", "build.script", "cannot open bar"),
        (
            "drivers/x/Kconfig:12: syntax error\nmake[1]: *** [scripts/kconfig/Makefile:77: oldconfig] Error 1\n",
            "build.kconfig", "drivers/x/Kconfig:12: syntax error",
        ),
        (
            "a.c:1:5: internal compiler error: Segmentation fault\nmake: *** [Makefile:3: a.o] Error 1\n",
            "build.toolchain-crash", "a.c:1:5: internal compiler error: Segmentation fault",
        ),
        (
            "Inconsistent kallsyms data\nTry make KALLSYMS_EXTRA_PASS=1 as a workaround\nmake: *** [M:3: vmlinux] Error 1\n",
            "kallsyms.inconsistent", "Inconsistent kallsyms data",
        ),
        ("  GEN     x\nmake: *** [Makefile:3: x] Error 1\n", "build.failed", "make gave up on 'x'"),
    ],
)  # fmt: skip
def test_each_kind_of_failure_has_its_id_and_its_message(text, id_, message):
    (finding,) = found(text)
    assert finding.id == id_
    assert message in finding.message


def test_undefined_references_are_one_finding_a_symbol():
    text = (
        "ld: drivers/foo.o: in function `init':\nfoo.c:12: undefined reference to `bar'\n"
        "foo.c:13: undefined reference to `bar'\nfoo.c:14: undefined reference to `baz'\nmake: *** [vmlinux] Error 1\n"
    )
    assert [finding.data["symbol"] for finding in found(text)] == ["bar", "baz"]


def test_a_fault_that_two_runs_of_make_repeat_is_told_once():
    text = "a.c:1:1: error: x\nmake: *** [Makefile:3: a.o] Error 1\n"
    assert len(found(text * 2)) == 1


def test_undefined_symbols_blame_the_module():
    told = build.log_findings(log.read(FIXTURES / "undefined_after_trim.txt"), "build.txt")
    assert {finding.id for finding in told} == {"modpost.undefined"}
    assert (told[0].blame, told[0].data["symbol"]) == ("drivers/input/joydev.ko", "input_register_handler")


def test_warnings_and_a_finished_build_give_nothing():
    text = (
        "a.c:1:1: warning: unused variable 'x'\nx.o: warning: objtool: y\nerror: a probe says so\n  LD      vmlinux\n"
    )
    assert found(text) == ()


def test_what_the_machine_did_is_not_told_as_a_compile_error():
    text = "a.c:1:1: fatal error: error writing to /tmp/x.s: No space left on device\nmake: *** [Makefile:3: a.o] Error 1\n"
    assert found(text) == ()


def test_a_failed_step_whose_log_says_nothing_still_yields_the_last_lines(tmp_path):
    (finding,) = build.check(evidence(tmp_path, "  CC      a.o\n  CC      b.o\n"))
    assert finding.id == "build.failed"
    assert finding.data["excerpt"] == ["  CC      a.o", "  CC      b.o"]


def test_a_good_build_gives_nothing(tmp_path):
    assert list(build.check(evidence(tmp_path, "  CC      a.o\n", status=0))) == []


def test_undefined_symbols_are_left_to_modpost_s_own_check(tmp_path):
    text = (FIXTURES / "undefined_after_trim.txt").read_text()
    assert list(build.check(evidence(tmp_path, text))) == []


def test_no_log_is_not_applicable(tmp_path):
    (tmp_path / "config.txt").write_text("CONFIG_X=y\n")
    (answer,) = build.check(Evidence(tmp_path))
    assert isinstance(answer, NotApplicable)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of build logs is not here")
@pytest.mark.parametrize("number", range(1, 19, 2))
def test_the_first_finding_of_a_known_log_has_its_file_target_script_and_message(number):
    name = f"kbuild_{number:03}.txt"
    expected = json.loads((CORPUS / "expected.json").read_text())[name][0]
    told = build.log_findings(log.read(CORPUS / name), name)
    first = told[0]
    for sentence in expected["error_summary"].split(". module "):
        assert any(sentence in finding.message for finding in told)
    if "src_file" in expected:
        assert expected["src_file"] in (first.data["file"], first.data.get("source"))
    if "target" in expected:
        assert first.data["target"] == expected["target"]
    if "script" in expected:
        assert first.data["script"] == expected["script"]


@pytest.mark.skipif(not RECIPES.is_dir(), reason="the corpus of recipes is not here")
@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("6.1-trim-good.txt", set()),
        ("6.1-lto-objtool.txt", set()),
        ("6.1-trim-undefined.txt", {"modpost.undefined"}),
        ("6.1-kallsyms-2a.txt", {"kallsyms.inconsistent"}),
        ("6.1-kallsyms-2b.txt", {"kallsyms.inconsistent"}),
    ],
)
def test_the_recipes_logs_give_their_fault_and_no_other(name, ids):
    assert {finding.id for finding in build.log_findings(log.read(RECIPES / name), name)} == ids


@pytest.mark.parametrize(
    ("message", "told"), [("can't find static_call_key symbol: __SCK__WARN_trap", True), ("oops", False)]
)
def test_a_key_that_objtool_cannot_find_tells_of_a_missing_module_option(message, told):
    text = (
        f"fs/autofs/autofs4.o: error: objtool: static_call: {message}\n"
        "make[5]: *** [/src/scripts/Makefile.build:513: fs/autofs/autofs4.o] Error 255\n"
    )
    (found,) = build.log_findings(log.read_text(text), "build.txt")
    assert found.id == "objtool.error"
    assert any("--module" in reason for reason in found.because) is told
