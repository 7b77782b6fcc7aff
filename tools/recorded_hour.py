"""Record a working session for the docs: `python -m tools.recorded_hour inflection-0.5.1.tar.gz`.

A repository that others wrote is worked on in a real terminal, watched and steered from the console in a real Chromium,
followed in a second terminal, and continued by Claude Code, whose session is forked and rolled back. The models'
answers are a script of the stub provider; everything else is real: daemon, sandbox, files, questions. Each step waits
for what it should show, and fails without.
Writes the recording of the first terminal (asciicast) and the pictures into `docs/start/working-session/`, and pictures
for the console's guide into `docs/guides/console/`."""

from __future__ import annotations

import argparse
import codecs
import html
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.console.logs import as_file, turns
from tests.harness.screen import ScreenTerminal

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

OUT = Path(__file__).parents[1] / "docs/start/working-session"
GUIDE = Path(__file__).parents[1] / "docs/guides/console"
WIDE: Any = {"width": 1200, "height": 780}
PHONE: Any = {"width": 360, "height": 740}
COLUMNS, ROWS = 100, 30
OTHERS = (
    *("Translate the release notes", "Find flaky tests of October", "Review the storage layer", "Nightly report"),
    *("Move the docs to the new site", "Summarize customer mails", "Clean up feature flags", "Draft the security page"),
)
"""Titles of other sessions, for the list."""
ADA = {"NAME": "Ada", "EMAIL": "ada@example.com"}
FILE, CHECK = "inflection/__init__.py", "python3 -c \"import inflection; print(repr(inflection.camelize('', False)))\""
TESTS = "python3 -m doctest -v inflection/__init__.py | tail -3"
BAD = "        return string[0].lower() + camelize(string)[1:]"
EXAMPLE = "        'deviceType'\n"
WHY = (
    "`camelize` takes `string[0]`, and an empty text has no first character. A slice does not raise.\n\n"
    "I have changed that one line and called it again: it returns `''`.\n\n"
    + "".join(f"{number}. {text}\n" for number, text in enumerate((
        "The branch for upper case was never wrong: a regular expression accepts an empty text.",
        "Texts of one character give the same result as before.",
        "`underscore`, `dasherize` and `titleize` accept an empty text already.",
        "No caller in this package passes an empty text.",
        "The signature and the types stay as they are.",
    ), 1))
)  # fmt: skip
CODE = "import inflection; assert inflection.camelize('', False) == ''; print('fine')"
TASK = "camelize('', False) raises an IndexError. Find out why, and fix it."
STEER = "Please add it to the examples in the docstring, too."
CLEAN = "Now remove the files that git does not have."
CLAUDE = "Write check_camelize.py, which checks camelize with an empty text, and run it."
TRY = "Unpack the archive, and let camelize take dashes, too."
MORE = "And spaces."
AGAIN = "What does it make of 'a b-c'?"
MAKES = "That is what it makes of it."
TRIAL = "import inflection; print(inflection.camelize('a b-c'))"


def bash(command: str, text: str = "") -> Reply:
    return Reply(text=text, calls=(Call("Bash", {"command": command, "description": "work"}),))


def separators(old: str, new: str) -> str:
    """Return the command that changes the separators of `camelize`."""
    return f"sed -i 's/(?:^|{old})/(?:^|{new})/' {FILE} && grep -nF '(?:^|' {FILE}"


def shell(command: str, text: str = "", thinking: str = "") -> Reply:
    return Reply(text=text, thinking=thinking, calls=(Call("shell", {"command": command}),), pace=0.03, piece=6)


def edit(old: str, new: str, text: str) -> Reply:
    return Reply(text=text, calls=(Call("edit_file", {"path": FILE, "old": old, "new": new}),), pace=0.03, piece=6)


SCRIPT = Script(
    delay=(0.4, 1.2),
    rules=(
        Rule(when=TASK, answers=(
            Reply(text="I look for the function.", calls=(Call("grep", {"pattern": "def camelize", "path": "."}),)),
            Reply(calls=(Call("read_file", {"path": FILE, "offset": 144, "limit": 26}),)),
            shell(CHECK, "The lower-case branch looks wrong. I try it.", "string[0] of an empty text raises."),
            shell("python3 -m pip install pytest", "Yes. Before I change it I want the tests to run."),
            edit(BAD, BAD.replace("string[0]", "string[:1]"), "Then without. A slice does not raise."),
            shell(TESTS),
            Reply(text=WHY, pace=0.3, piece=4),
        )),
        Rule(when=STEER, answers=(
            edit(EXAMPLE, EXAMPLE + "        >>> camelize(\"\", False)\n        ''\n", "I add it to the examples."),
            shell(TESTS, "And run them all."),
            Reply(text="Done: the empty text is an example now, and **all examples pass**.", pace=0.03, piece=6),
        )),
        Rule(when=CLEAN, answers=(
            shell("git clean -fd", "A build left some; the rest may be yours."),
            Reply(text="They are gone.", pace=0.03, piece=6),
        )),
        Rule(when=CLAUDE, answers=(
            bash(f"echo \"{CODE}\" > check_camelize.py"),
            bash("python3 check_camelize.py"),
            Reply(text="I wrote check_camelize.py. It says: {result}"),
        )),
        Rule(when=TRY, answers=(
            bash("tar xzf .roost-agent/*/files/*-mended.tar.gz && ls", "I unpack it."),
            bash(separators("_", "[_-]"), "One pattern has the separators."),
            bash(f'echo "{TRIAL}" > trial.py && python3 trial.py', "A trial:"),
            Reply(text="`camelize` takes dashes now."),
        )),
        Rule(when=MORE, answers=(
            bash(separators("\\[_-\\]", "[_ -]")),
            Reply(text="`camelize` takes spaces now."),
        )),
        Rule(when=AGAIN, answers=(bash("python3 trial.py"), Reply(text=MAKES))),
        Rule(answers=(Reply(text=MAKES),)),  # after a reminder that Claude Code writes into its conversation
    ),
)  # fmt: skip


class Recorded(ScreenTerminal):
    """A shell on a terminal whose output is kept with its times."""

    def __init__(self, work: Path, env: dict[str, str]) -> None:
        begin = (
            "import os, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])"
        )
        self.times: list[tuple[float, int]] = []
        super().__init__(
            lambda slave: subprocess.Popen(
                [sys.executable, "-c", begin], stdin=slave, stdout=slave, stderr=slave, cwd=work, env=env
            ),
            columns=COLUMNS,
            rows=ROWS,
        )

    def pump(self, timeout: float = 0.0) -> None:
        before = len(self.raw)
        super().pump(timeout)
        if len(self.raw) > before:
            self.times.append((time.monotonic(), len(self.raw)))

    def rest(self, seconds: float) -> None:
        """Let a person read."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.pump(min(left, 0.05))
            time.sleep(min(left, 0.01))

    def say(self, text: str, *, key: str = "\r") -> None:
        """Type as a person does, and press Enter."""
        self.rest(0.8)
        for letter in text:
            self.type(letter)
            self.rest(random.uniform(0.02, 0.09))
        self.rest(0.5)
        self.type(key)

    def save(self, path: Path) -> None:
        """Write the recording as asciicast 2."""
        head = {"version": 2, "width": COLUMNS, "height": ROWS, "idle_time_limit": 2, "title": "A working session"}
        decoder, at, rows = codecs.getincrementaldecoder("utf-8")("replace"), 0, [json.dumps(head)]
        for when, end in self.times:
            rows.append(json.dumps([round(when - self.times[0][0], 3), "o", decoder.decode(self.raw[at:end])]))
            at = end
        path.write_text("\n".join(rows) + "\n")


def picture(terminal: ScreenTerminal, browser: Any, path: Path) -> None:
    """Write a picture of the screen."""
    body = "\n".join("".join(cells(terminal, row)) for row in range(ROWS))
    style = "margin:0;padding:12px;background:#101418;color:#d8dee4;font:15px/19px 'DejaVu Sans Mono',monospace;"
    page = browser.new_page(viewport={"width": COLUMNS * 9 + 50, "height": ROWS * 19 + 24}, device_scale_factor=1)
    page.set_content(f'<body style="margin:0;background:#101418"><pre style="{style}width:max-content">{body}</pre>')
    page.screenshot(path=str(path), full_page=True)
    page.close()


COLOURS = {
    "red": "#f0716f",
    "green": "#6fcf7f",
    "brown": "#dcb35c",
    "blue": "#6ea8fe",
    "magenta": "#c792ea",
    "cyan": "#5fc8d8",
}


def cells(terminal: ScreenTerminal, row: int) -> Iterator[str]:
    for column in range(COLUMNS):
        cell = terminal.emulator.style(row, column)
        front, back = (COLOURS.get(name, f"#{name}" if len(name) == 6 else "") for name in (cell.fg, cell.bg))
        if cell.reverse:
            front, back = back or "#101418", front or "#d8dee4"
        dim = "color:#8b949e;" if cell.fg in ("brightblack", "black") else ""
        style = f"{dim}{f'color:{front};' if front else ''}{f'background:{back};' if back else ''}"
        style += "font-weight:bold;" * cell.bold
        text = html.escape(cell.data)
        yield f'<span style="{style}">{text}</span>' if style else text


def unpack(archive: Path, place: Path, env: dict[str, str]) -> Path:
    """Unpack the repository, and give it a history. What a build left is not in it."""
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    work = (place / archive.name.removesuffix(".tar.gz")).rename(place / "inflection")
    (work / ".git/info").mkdir(parents=True, exist_ok=True)
    commit = ["-c", "user.name=Upstream", "-c", "user.email=up@example.com", "commit", "-qm", "Release 0.5.1"]
    (work / "notes.txt").write_text("What I want to do next.\n")
    left = ["reset", "-q", "--", "*.egg-info", "*__pycache__*", "notes.txt"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], left, commit):
        subprocess.run(["git", *words], cwd=work, env=env, check=True)
    return work


@contextmanager
def daemon(env: dict[str, str], work: Path) -> Generator[str]:
    """Run the daemon of the home. Gives its address."""
    process = subprocess.Popen(["roost", "up", "--port", "0"], env=env, cwd=work, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        yield re.findall(r"http://[\d.:]+", line)[0]
    finally:
        process.terminate()
        process.wait(60)


class Play:
    """The session, scene by scene."""

    def __init__(self, first: Recorded, second: Recorded, page: Any, browser: Any, url: str, home: Path) -> None:
        self.first, self.second, self.page, self.browser = first, second, page, browser
        self.url, self.home = url, home

    def get(self, path: str, data: bytes | None = None) -> Any:
        """Return what the daemon answers. data: what is posted."""
        token = (self.home / "token").read_text().strip()
        head = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(self.url + path, data, head)
        return json.load(urllib.request.urlopen(request, timeout=30))

    def events(self, session: str, kind: str) -> list[Any]:
        entries = self.get(f"/sessions/{session}/events?limit=1000")["events"]
        return [one["event"] for one in entries if one["event"]["type"] == kind]

    def newest(self) -> str:
        return self.get("/sessions")["sessions"][0]["id"]

    def both(self, seconds: float) -> None:
        """Let time pass in the terminals and in the browser."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.first.rest(0.05)
            self.second.rest(0.02)
            self.page.wait_for_timeout(20)

    def shot(self, name: str) -> None:
        self.both(1.0)
        self.page.screenshot(path=str(OUT / f"{name}.png"))

    def guide(self, name: str) -> None:
        self.both(1.0)
        self.page.screenshot(path=str(GUIDE / f"{name}.png"))

    def frame(self, name: str) -> None:
        self.both(0.5)
        picture(self.first, self.browser, OUT / f"{name}.png")

    def task(self) -> str:
        """The terminal: a task, a question that is answered with no, and why."""
        self.first.say("roost")
        self.first.expect("? for keys")
        self.first.rest(1.5)
        self.first.say(TASK)
        self.first.expect("Esc stops the turn", 75)
        self.first.rest(2.5)
        self.frame("first-question")
        self.first.type("y")
        self.first.expect("pip install", 75)
        self.first.until(lambda: "Esc stops the turn" in "\n".join(self.first.emulator.shown), "no question", 60)
        self.first.rest(2.5)
        session = self.newest()
        self.frame("question")
        self.first.type("n")
        self.first.expect("why not?")
        self.first.say("no installs in this repository; call it with python3")
        self.first.expect("rejected")
        return session

    def steered(self, session: str) -> None:
        """The console and a second terminal follow; the console steers while the answer streams."""
        self.second.say("roost attach")
        self.page.goto(f"{self.url}/#/sessions")
        self.page.get_by_label("Token").fill((self.home / "token").read_text().strip())
        self.page.get_by_role("button", name="Sign in").click()
        self.page.locator(f'a[href="#/s/{session}"]').click()
        self.first.expect("takes string[0]", 75)
        self.page.get_by_label("Message", exact=True).press_sequentially(STEER, delay=45)
        self.page.get_by_role("button", name="Send").click()
        self.first.expect("all examples pass", 75)
        self.second.expect("all examples pass", 60)
        self.shot("console")
        self.frame("steered")

    def approved(self, session: str) -> None:
        """The terminal asks; the console answers; the terminals say so."""
        self.first.say(CLEAN)
        self.first.expect("Esc stops the turn", 75)
        question = self.page.locator("[aria-label^='Question']")
        question.wait_for()
        self.shot("console-question")
        self.guided(session)
        question.wait_for()
        question.get_by_role("button", name="Yes").click()
        self.first.expect("They are gone.", 75)
        self.second.expect("They are gone.", 60)
        self.frame("answered-elsewhere")
        self.page.goto(f"{self.url}/#/s/{session}/timeline")
        self.shot("timeline")
        self.page.emulate_media(color_scheme="dark")
        self.guide("timeline")
        self.page.emulate_media(color_scheme="light")
        self.first.say("/diff")
        self.first.rest(3.0)
        self.frame("diff")
        self.first.say("/quit")
        self.first.expect("is kept")

    def guided(self, session: str) -> None:
        """Make the pictures of the console's guide while a call waits."""
        self.guide("session")
        self.page.goto(f"{self.url}/#/sessions")
        self.page.get_by_text(OTHERS[0]).wait_for()
        self.guide("sessions")
        self.page.set_viewport_size(PHONE)
        self.page.goto(f"{self.url}/#/s/{session}")
        self.page.locator("[aria-label^='Question']").wait_for()
        self.guide("phone")
        self.page.set_viewport_size(WIDE)

    def continued(self) -> str:
        """Claude Code goes on in the same folder, as a session."""
        self.first.say(f'roost run --with claude-code "{CLAUDE}"')
        self.first.expect("It says: fine", 120)
        self.first.expect("3 steps", 120)
        session = self.newest()
        self.frame("claude-code")
        return session

    def ended(self) -> None:
        """Wait for the shell's prompt below the command."""
        lines = self.first.emulator
        self.first.rest(1.0)
        self.first.until(lambda: "\n".join(lines.shown).rstrip().endswith("\n$"), "no prompt", 120)

    def apart(self) -> tuple[str, str]:
        """Claude Code tries something in a folder of the session's own, which is forked and rolled back."""
        terminal = self.first
        terminal.say("clear; git commit -qam 'Accept an empty text' && git archive -o mended.tar.gz HEAD; echo")
        self.ended()
        terminal.say(f'roost run --with claude-code --private -a mended.tar.gz "{TRY}"')
        terminal.expect("takes dashes now", 120)
        terminal.expect(": 4 steps, ", 120)
        session = self.newest()
        name = session[-8:]
        self.ended()
        terminal.say(f"roost checkpoint {name} dashes")
        self.ended()
        self.frame("apart")
        terminal.say(f'clear; roost run -s {name} "{MORE}"')
        terminal.expect("takes spaces now", 120)
        self.ended()
        self.page.goto(f"{self.url}/#/s/{session}/files")
        self.page.locator("details.change[open]").filter(has_text=FILE).wait_for()
        self.shot("files-before")
        terminal.say(f"roost checkpoint {name} spaces")
        self.ended()
        terminal.say(f"roost fork {name} --at spaces --title 'dashes and spaces'")
        self.ended()
        terminal.say(f"roost rollback {name} --to dashes")
        self.ended()
        terminal.say(f'roost run -s {name} "{AGAIN}"')
        self.ended()
        fork = next(one["id"] for one in self.get("/sessions")["sessions"] if one["title"] == "dashes and spaces")
        terminal.say(f'roost run -s {fork[-8:]} "{AGAIN}"')
        terminal.until(lambda: terminal.emulator.text.count(MAKES) == 2, "no second answer", 120)
        self.ended()
        self.frame("forked")
        self.page.reload()
        self.page.get_by_text("0 added").wait_for()
        self.page.evaluate("document.activeElement.blur()")
        self.shot("files-after")
        return session, fork


def checked(play: Play, work: Path, first: str, claude: str) -> None:
    """Check what the pictures cannot show: the files, and the logs."""
    answers = [(one["decision"], one.get("source")) for one in play.events(first, "approval.resolved")]
    assert answers == [("approve", "terminal"), ("reject", "terminal"), ("approve", "console")], answers
    assert len(play.events(first, "turn.completed")) == 2  # the message from the console steered the first turn
    source = (work / FILE).read_text()
    assert "string[:1].lower()" in source
    assert 'camelize("", False)' in source
    assert not (work / "notes.txt").exists()
    assert all(one["thread"] for one in play.events(claude, "coding_agent.prompted"))
    assert [one.get("outcome", "answered") for one in play.events(claude, "turn.completed")] == ["answered"]


def parted(play: Play, home: Path, session: str, fork: str) -> None:
    """Check that the fork has the files and the conversation that the rollback took from its source."""
    kept, taken = (home / "workspaces" / one / FILE for one in (session, fork))
    assert "[_-]" in kept.read_text()
    assert "[_ -]" in taken.read_text()
    (back,) = play.events(session, "session.rolled_back")
    assert back["files"], back
    threads = {one["thread"] for name in (session, fork) for one in play.events(name, "coding_agent.prompted")}
    assert len(threads) == 1, threads


def main() -> None:
    parser = argparse.ArgumentParser(prog="recorded_hour", description="Record a working session for the docs.")
    parser.add_argument("repository", type=Path, help="an sdist of inflection 0.5.1")
    archive = parser.parse_args().repository.resolve()
    from playwright.sync_api import sync_playwright

    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ada"
        place.mkdir()
        env = {"HOME": str(place), "PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": "$ "}
        env |= {"PAGER": "less", "LESS": "-R", "XTERM_VERSION": "XTerm(390)", "OPENAI_API_KEY": "stub"}
        stub = stack.enter_context(ProviderServer(SCRIPT))
        env["OPENAI_BASE_URL"] = stub.url
        env |= {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in ADA.items()}
        work = unpack(archive, place, env)
        url = stack.enter_context(daemon(env, work))
        first, second = Recorded(work, env), Recorded(work, env)
        stack.callback(first.close)
        stack.callback(second.close)
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport=WIDE)
        page.set_default_timeout(120_000)
        page.on("dialog", lambda dialog: dialog.accept())
        play = Play(first, second, page, browser, url, place / ".roost")
        for number, title in enumerate(OTHERS):
            words = urllib.parse.urlencode({"format": "roost", "title": title})
            play.get(f"/import?{words}", as_file(turns(4 + number % 3)))
        try:
            session = play.task()
            play.steered(session)
            play.approved(session)
            claude = play.continued()
            checked(play, work, session, claude)
            parted(play, place / ".roost", *play.apart())
        finally:
            first.save(OUT / "session.cast")
        assert not stub.stats.violations, stub.stats.reasons


if __name__ == "__main__":
    main()
