"""An agent of AIOS that makes each kind of system call by itself."""

import json

from cerebrum.llm.apis import llm_chat, llm_operate_file
from cerebrum.memory.apis import create_memory, delete_memory, get_memory, search_memories, update_memory
from cerebrum.storage.apis import create_dir, retrieve_file, rollback_file, share_file, write_file
from cerebrum.tool.apis import call_tool


class Calls:
    def __init__(self, agent_name):
        self.name = agent_name

    def run(self, task_input):
        return {"result": json.dumps(dict(self.work(task_input)))}

    def work(self, task):
        made = create_memory(self.name, "The sky is green.", {"tags": ["sky"]})["response"]
        yield "made", made["success"]
        update_memory(self.name, made["memory_id"], "The sky is blue.")
        yield "got", get_memory(self.name, made["memory_id"])["response"]
        yield "found", search_memories(self.name, "sky colour", 3)["response"]["search_results"]
        yield "deleted", delete_memory(self.name, made["memory_id"])["response"]["success"]
        yield "gone", get_memory(self.name, made["memory_id"])["response"]["error"]
        create_dir(self.name, "notes")
        for text in ("first words", "second words"):
            yield text, write_file(self.name, "notes/a.txt", text)["response"]["error"]
        yield "files", retrieve_file(self.name, "second", 3)["response"]["response_message"]
        yield "rolled", rollback_file(self.name, "notes/a.txt", 1)["response"]["error"]
        yield "shared", share_file(self.name, "notes/a.txt")["response"]["status_code"]
        wished = [{"name": "demo_author/arxiv", "parameters": {"query": "tools"}}]
        yield "tool", call_tool(self.name, wished)["response"]["response_message"]
        yield "none", call_tool(self.name, [{"name": "a/b", "parameters": {}}])["response"]["status_code"]
        yield "file", llm_operate_file(self.name, [{"role": "user", "content": "FILE it"}])["response"]
        yield "said", llm_chat(self.name, [{"role": "user", "content": task}])["response"]["response_message"]
