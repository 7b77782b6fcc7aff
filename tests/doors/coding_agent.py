"""A small coding agent in the place of pi: it asks a model over HTTP, runs `bash`, and keeps its conversation in a
file. What it does wrong is in its prompt."""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def main() -> None:
    state, prompt = os.environ["STATE"], sys.stdin.read()
    asked = prompt.rpartition("[What you are asked now:]")[2]
    path = sys.argv[sys.argv.index("--session") + 1]
    messages = json.loads(Path(path).read_text()) if os.path.exists(path) else []
    pictures = [Path(one[1:]).read_bytes() for one in sys.argv if one.startswith("@")]
    shown = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(one).decode()}}
        for one in pictures
    ]
    messages.append({"role": "user", "content": [{"type": "text", "text": prompt}, *shown] if shown else prompt})
    if "FLOOD" in asked:
        for _ in range(40):
            sys.stdout.write("x" * 1_000_000)
        print()
    if "SILENT" in asked:
        time.sleep(3600)
    if "DIE" in asked:
        print("out of cheese", file=sys.stderr)
        sys.exit(3)
    base = json.loads(Path(f"{state}/pi/models.json").read_text())["providers"]["roost"]["baseUrl"]
    while True:
        answer = ask(base, messages, title="TITLE" in asked, patience=2 if "IMPATIENT" in asked else None)
        messages.append(answer)
        calls = answer.get("tool_calls") or []
        for call in calls:
            given, name = json.loads(call["function"]["arguments"]), call["function"]["name"]
            said = worker(base, given["prompt"]) if name == "task" else run(given["command"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})
        Path(path).write_text(json.dumps(messages))
        if not calls:
            print(json.dumps({"type": "agent_end"}), flush=True)
            return


def run(line: str) -> str:
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    return done.stdout + done.stderr


def worker(base: str, prompt: str) -> str:
    """Let an agent of its own, with a conversation of its own, work on a task."""
    messages = [{"role": "user", "content": prompt}]
    while calls := (answer := ask(base, messages, title=False)).get("tool_calls"):
        messages.append(answer)
        for call in calls:
            said = run(json.loads(call["function"]["arguments"]).get("command", "exit 1"))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})
    return answer["content"]


def ask(base: str, messages: list, title: bool, patience: float | None = None) -> dict:
    """Ask the model. patience: seconds after which it hangs up and asks the same once more."""
    names = ("bash", "task")
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names]
    if title:
        post(base, {"model": "model", "messages": [{"role": "user", "content": "A TITLE"}]})
    body = {"model": "model", "messages": messages, "tools": tools}
    try:
        return post(base, body, patience)["choices"][0]["message"]
    except TimeoutError:
        Path("hung_up.txt").write_text("")
        return post(base, body)["choices"][0]["message"]


def post(base: str, body: dict, patience: float | None = None) -> dict:
    headers = {"authorization": f"Bearer {os.environ['GATEWAY_KEY']}", "content-type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{base}/chat/completions", json.dumps(body).encode(), headers)
    return json.load(opener.open(request, timeout=patience))


main()
