"""Find harmful Windows programs and subcommands, in case a Windows shell runs the line."""

from __future__ import annotations

import re

from roost.policy.command.findings import Acts, Found

_PATTERNS: tuple[tuple[str, str, str], ...] = (
    (r"^(?:del|erase)\b.*\s/[sfq]", "system_destroy", "it removes files without asking"),
    (r"^(?:rd|rmdir)\b.*\s/[sq]", "system_destroy", "it removes a whole tree"),
    (r"^format\s+[a-z]:", "system_destroy", "it formats a disk"),
    (r"^(?:diskpart|vssadmin|wbadmin|bcdedit|cipher)\b", "system_destroy", "it changes disks, backups or the start-up"),
    (r"^remove-item\b.*-recurse", "system_destroy", "it removes a whole tree"),
    (r"^(?:clear|format|initialize)-(?:disk|volume|content)\b", "system_destroy", "it clears a disk or a file"),
    (r"^(?:stop|restart)-computer\b", "system_destroy", "it stops the machine"),
    (r"^(?:reg\s+add|set-itemproperty|new-itemproperty)\b.*\\run", "persistence", "it makes something run at start-up"),
    (r"^(?:schtasks|register-scheduledtask|new-service|sc)\b.*(?:create|register|new)", "persistence", "it runs later"),
    (r"^(?:runas|takeown|icacls|net\s+(?:user|localgroup)|set-executionpolicy|add-localgroupmember)\b", "privilege",
     "it changes rights or users"),
    (r"^start-process\b.*-verb\s+runas", "privilege", "it asks for more rights"),
    (r"^(?:iex|invoke-expression|cmd|wscript|cscript|mshta|rundll32|regsvr32|msbuild|installutil)\b", "inline_exec",
     "it runs what it is told"),
    (r"^(?:certutil|bitsadmin)\b.*(?:urlcache|transfer|decode)", "remote_exec", "it fetches or decodes a program"),
    (r"^(?:iwr|irm|invoke-webrequest|invoke-restmethod|start-bitstransfer)\b", "remote_exec", "it fetches something"),
    (r"^(?:invoke-command|enter-pssession|wmic|psexec)\b", "remote_exec", "it runs something on another machine"),
    (r"^(?:powershell|pwsh)\b.*\s-e(?:nc|ncodedcommand)?\s", "encoding_bypass", "the command is encoded"),
)  # fmt: skip
_COMPILED = [(re.compile(pattern), category, why) for pattern, category, why in _PATTERNS]
_FIRST = re.compile(
    r"^(?:del|erase|rd|rmdir|format|diskpart|vssadmin|wbadmin|bcdedit|cipher|reg|schtasks|sc|runas|takeown|icacls|net|iex"
    r"|cmd|wscript|cscript|mshta|rundll32|regsvr32|msbuild|installutil|certutil|bitsadmin|iwr|irm|wmic|psexec|powershell"
    r"|pwsh|[a-z]+-[a-z]+)$"
)


def judge(act: Acts, found: Found) -> None:
    if not _FIRST.match(act.name.lower()):
        return
    said = " ".join((act.name, *act.texts)).lower()
    for pattern, category, why in _COMPILED:
        if pattern.search(said):
            found.add(category, why, act)
