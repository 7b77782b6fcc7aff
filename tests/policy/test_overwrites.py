"""Behind a wall, in a folder of the user's: what overwrites a file that git lacks is asked about, edits of files that
git has are not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.policy.test_ordinary import judged

from roost.policy.command.analysis import analyse

OVERWRITES = [
    "sort -o F F",
    "sort F -oF",
    "sort --output=F F",
    "sort -uo F F",
    "shuf -o F F",
    "uniq a F",
    "xxd a F",
    "xxd -r a F",
    "split a F",
    "split -l 10 a part/F",
    "csplit -f F a 1",
    "git rm -f F",
    "git mv -f a F",
    "git checkout F",
    "git checkout HEAD F",
    "git restore F",
    "git diff --output=F",
    "tee F < a",
    "cp a F",
    "cp -t part part/a F",
    "mv a F",
    "install -m 600 a F",
    "ln -sf a F",
    "dd if=a of=F",
    "truncate -s 0 F",
    "rsync a F",
    "tar xf a.tar",
    "tar -xzf a.tgz -C part",
    "tar cf F a",
    "unzip -o a.zip",
    "openssl rand -out F 8",
    "find . -name x -fprint F",
    "sponge F < a",
    "iconv -o F a",
    "awk '{ print > \"F\" }' a",
    "sed 'w F' a",
    "cat a > F",
    "cat a >| F",
    "env sort -o F F",
    "cd part && sort -o ../F a",
]
EDITS = [
    "sed -i s/a/b/ F",
    "sed -i.bak -e s/a/b/ F",
    "sed -ni p F",
    "perl -pi.bak x.pl F",
    "yq -i .a=1 F",
    "dos2unix F",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("user").resolve()
    for name in ("a", "kept", "changed", "part/a"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("one\n")
    os.utime(root / "kept", (1_700_000_000, 1_700_000_000))
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for order in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *order], check=True)
    for name in ("lone", "loneaa", "part/loneaa", "part/F", "part/lone", "changed", "lone00"):
        (root / name).write_text("of the user\n")
    return root


def asked(text: str, root: Path, name: str, *, private: bool = False) -> str | None:
    verdict = judged(text.replace("F", name), root, private=private)
    return verdict.reason if verdict.decision != "allow" else None


@pytest.mark.parametrize("text", OVERWRITES)
def test_to_overwrite_a_file_that_git_lacks_is_asked_about(text: str, root: Path) -> None:
    assert "which is not in version control" in (asked(text, root, "lone") or "nothing")
    assert asked(text, root, "lone", private=True) is None


@pytest.mark.parametrize("text", EDITS)
def test_an_edit_is_asked_about_where_git_has_no_version_at_all(text: str, root: Path) -> None:
    assert "which is not in version control" in (asked(text, root, "lone") or "nothing")
    assert asked(text, root, "kept") is None
    assert asked(text, root, "changed") is None


@pytest.mark.parametrize("text", ["sort -o F F", "uniq a F", "xxd a F", "cp a F", "git rm -f F", "cat a > F", "tee F"])
def test_a_file_that_git_has_as_it_is_may_be_overwritten(text: str, root: Path) -> None:
    assert asked(text, root, "kept") is None
    assert asked(text, root, "changed") is not None


@pytest.mark.parametrize(
    "text",
    ["sort F", "uniq F", "xxd -l 9 F",
      "xxd F", "git rm --cached F", "git checkout -b F", "tar tf F", "tar xf F -C fresh", "cp -n a F", "uniq -f 1 F",
     "sed s/a/b/ F", "gcc -o prog a.c", "pytest --junitxml=report.xml", "unzip -l F", "split a fresh"],
)  # fmt: skip
def test_what_overwrites_nothing_is_not_asked_about(text: str, root: Path) -> None:
    assert asked(text, root, "lone") is None


def test_a_descriptor_is_no_file_that_is_overwritten() -> None:
    for line in ("ls 2>&1", "make >out.txt 2>&1", "echo problem >&2", "make 2>&1 | cat > out.txt"):
        assert not {"1", "2"} & set(analyse(line).loses), line
    assert analyse("ls >& 1.txt").loses == ("1.txt",)
    assert analyse("ls > 1").loses == analyse("ls &> 1").loses == ("1",)
