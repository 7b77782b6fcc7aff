"""A graph of LangGraph with tools."""

import time
from pathlib import Path

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt


@tool
def look(what: str) -> str:
    """Look at something."""
    with Path("looked.txt").open("a") as file:
        file.write(f"{what}\n")
    return f"seen {what}"


@tool
def pay(amount: int) -> str:
    """Pay an amount."""
    with Path("paid.txt").open("a") as file:
        file.write(f"{amount}\n")
    time.sleep(0.05)  # long enough for a kill
    return f"paid {amount}"


def build():
    model = ChatOpenAI(model="gpt-4o-mini").bind_tools([look, pay])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([look, pay]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()


def build_with(checkpointer):
    """The same graph with a checkpointer, which is the session's log."""
    model = ChatOpenAI(model="gpt-4o-mini").bind_tools([look, pay])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([look, pay]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=checkpointer)


def asking():
    """A graph that asks a person before it answers. Its own saver is replaced by the log's."""

    def ask(state):
        answer = interrupt({"question": "May I?", "text": state["messages"][-1].content})
        return {"messages": [("ai", f"THE PERSON SAID {answer!r}, AFTER {len(state['messages'])} MESSAGES")]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [ChatOpenAI(model="gpt-4o-mini").invoke(state["messages"])]})
    graph.add_node("ask", ask)
    graph.add_edge(START, "model")
    graph.add_edge("model", "ask")
    return graph.compile(checkpointer=InMemorySaver())
