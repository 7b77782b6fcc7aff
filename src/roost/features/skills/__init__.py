"""Agent Skills: instructions for special tasks, which a model reads when a task needs them."""

TOOLS = ("use_skill", "read_skill_file", "copy_skill")
